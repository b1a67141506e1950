//! Between MAIL and the end of the data.

use ipc_proto::{
    authd::RecipientQuery,
    delivery::MAX_RECIPIENTS,
    submission::{Sender, SubmissionRefusal, Ungranted},
};
use mail_lib::address::Address;

use super::{Envelope, Greeting, Session, State, Step, out_of_order};
use crate::{
    close::Close,
    command::{Command, CommandError, Kind, Mail, Rcpt, TooFarAhead, is_verb},
    data::{Data, Fault},
    line::{Line, split_line},
    reply::Reply,
    simulate::{self, Simulated, Stage},
    verdict::{MessageVerdict, RecipientVerdict, SenderVerdict, held_too_long},
};

/// Pipelined RCPT commands that are checked at the same time.
const RECIPIENT_BATCH: usize = 64;

/// Recipients of a message from the null reverse-path: a bounce goes to one (RFC 5321 §4.5.5).
const NULL_SENDER_RECIPIENTS: usize = 1;

/// One of the RCPT commands that are under way, in order.
#[derive(Debug)]
pub(super) enum Slot {
    /// No command, whatever comes of the others.
    Malformed(Reply),
    /// Judged here.
    Done(Reply),
    /// It is asked about; the address as given, `None` for `<postmaster>`.
    Asked(Option<Address>),
}

impl Session {
    /// The answer to [`Step::CheckSender`].
    pub fn sender_checked(&mut self, verdict: SenderVerdict) {
        match std::mem::replace(&mut self.state, State::Connected) {
            State::CheckingSender(envelope) => {
                self.say(&verdict.reply());
                self.state = match verdict {
                    SenderVerdict::Judged(Sender::Ok) => State::Envelope(envelope),
                    SenderVerdict::Judged(Sender::NotYours | Sender::Ungranted(_))
                    | SenderVerdict::Failed => {
                        self.end_transaction(false);
                        State::Ready(envelope.greeting)
                    }
                };
                if verdict == SenderVerdict::Judged(Sender::Ungranted(Ungranted::NotLoggedIn)) {
                    self.log_out();
                }
            }
            other => self.state = other,
        }
    }

    /// The answers to [`Step::Check`], in its order; missing ones are failures.
    pub fn checked(&mut self, verdicts: Vec<RecipientVerdict>) {
        match std::mem::replace(&mut self.state, State::Connected) {
            State::Checking(envelope, slots) => self.settle(envelope, slots, verdicts),
            other => self.state = other,
        }
    }

    /// The answer to [`Step::Deliver`].
    pub fn finish(&mut self, verdict: &MessageVerdict) {
        match std::mem::replace(&mut self.state, State::Connected) {
            State::Delivering(greeting) => {
                self.state = State::Ready(greeting);
                self.say(&verdict.reply());
                self.slow |= verdict.reply().code() >= 500;
                let over = SubmissionRefusal::Ungranted(Ungranted::NotLoggedIn);
                if *verdict == MessageVerdict::NotSubmitted(over) {
                    self.log_out();
                }
                self.end_transaction(matches!(verdict, MessageVerdict::Kept(_)));
            }
            other => self.state = other,
        }
    }

    /// A transaction is over.
    pub(super) fn end_transaction(&mut self, kept: bool) {
        if kept {
            self.tally.messages += 1;
            self.tally.idle_commands = 0;
        } else {
            self.tally.failed_transactions += 1;
        }
    }

    /// A transaction that a command cut off.
    pub(super) fn abandon(&mut self, state: &State) {
        if let State::Envelope(envelope) = state {
            self.slow |= envelope.recipients.is_empty() && self.tally.unknown_recipients > 0;
            self.end_transaction(false);
        }
    }

    /// What an address asks for at this stage, where that is done.
    fn simulated(&self, address: Option<&Address>, stage: Stage) -> Option<Simulated> {
        let address = address.filter(|_| self.limits.simulate_failures)?;
        Simulated::asked_for(address, stage)
    }

    /// MAIL.
    pub(super) fn begin(&mut self, greeting: Greeting, mail: Mail) -> Step {
        let hold = mail.hold.map_or(Ok(None), |hold| hold.until(self.now));
        let refused = match (hold, self.simulated(mail.from.as_ref(), Stage::Mail)) {
            (_, Some(Simulated::Timeout)) => {
                self.end_transaction(false);
                self.state = State::Silent(Box::new(State::Ready(greeting)));
                return Step::Stall;
            }
            (_, Some(Simulated::Code(code))) => Err(simulate::reply(code)),
            _ if mail.size.is_some_and(|size| size > self.limits.message_size) => {
                Err(Fault::TooLarge.reply())
            }
            (Err(TooFarAhead), None) => Err(held_too_long()),
            (Ok(hold), None) => Ok(hold),
        };
        let hold = match refused {
            Ok(hold) => hold,
            Err(reply) => {
                self.end_transaction(false);
                self.say(&reply);
                self.state = State::Ready(greeting);
                return Step::Read;
            }
        };
        let tls = self.tls.clone();
        let envelope = Box::new(Envelope { greeting, mail, recipients: Vec::new(), tls, hold });
        match self.kind() {
            Kind::Incoming => {
                self.say(&SenderVerdict::Judged(Sender::Ok).reply());
                self.state = State::Envelope(envelope);
                Step::Read
            }
            Kind::Submission => {
                let from = envelope.mail.from.clone();
                self.state = State::CheckingSender(envelope);
                Step::CheckSender(from)
            }
        }
    }

    /// RCPT, and with it all RCPTs that are known to follow: they are asked about at the same time.
    pub(super) fn take_recipients(&mut self, envelope: Box<Envelope>, input: &[u8]) -> (usize, Step) {
        let (mut used, mut slots, mut queries) = (0, Vec::new(), Vec::new());
        while slots.len() < RECIPIENT_BATCH
            && let Line::Complete(line, octets) = split_line(input.get(used..).unwrap_or_default())
            && is_verb(line, b"RCPT")
        {
            let most = most_recipients(&envelope);
            if !queries.is_empty() && envelope.recipients.len() + queries.len() >= most {
                // Whether there is room for it depends on the answers.
                break;
            }
            let slot = match admissible(&envelope, line, self.kind()) {
                Ok(to) => match self.simulated(to.as_ref(), Stage::Rcpt) {
                    Some(Simulated::Code(code)) => Slot::Done(simulate::reply(code)),
                    // First those before it.
                    Some(Simulated::Timeout) if !slots.is_empty() => break,
                    Some(Simulated::Timeout) => {
                        self.count_recipient();
                        self.state = State::Silent(Box::new(State::Envelope(envelope)));
                        return (used + octets, Step::Stall);
                    }
                    None => {
                        queries.push(to.clone().map_or(RecipientQuery::Postmaster, RecipientQuery::Address));
                        Slot::Asked(to)
                    }
                },
                Err(slot) => slot,
            };
            used += octets;
            self.count_recipient();
            slots.push(slot);
        }
        if queries.is_empty() {
            self.settle(envelope, slots, Vec::new());
            return (used, Step::Read);
        }
        let from = envelope.mail.from.clone();
        self.state = State::Checking(envelope, slots);
        (used, Step::Check(queries, from))
    }

    fn count_recipient(&mut self) {
        self.tally.commands = self.tally.commands.saturating_add(1);
    }

    /// Answers RCPTs in their order.
    fn settle(&mut self, mut envelope: Box<Envelope>, slots: Vec<Slot>, verdicts: Vec<RecipientVerdict>) {
        let mut verdicts = verdicts.into_iter();
        let mut logged_out = false;
        for slot in slots {
            let reply = match slot {
                // The transaction is over.
                Slot::Done(_) | Slot::Asked(_) if logged_out => {
                    self.tally.idle_commands = self.tally.idle_commands.saturating_add(1);
                    out_of_order(self.has_to_log_in())
                }
                Slot::Malformed(reply) | Slot::Done(reply) => {
                    self.tally.idle_commands = self.tally.idle_commands.saturating_add(1);
                    reply
                }
                Slot::Asked(to) => {
                    let verdict = verdicts.next().unwrap_or(RecipientVerdict::Failed);
                    let reply = verdict.reply(self.kind());
                    match verdict {
                        RecipientVerdict::Local(address) => {
                            self.tally.local_recipients = self.tally.local_recipients.saturating_add(1);
                            envelope.recipients.push(to.unwrap_or(address));
                        }
                        RecipientVerdict::Unknown | RecipientVerdict::NotLocal => {
                            self.tally.unknown_recipients = self.tally.unknown_recipients.saturating_add(1);
                        }
                        RecipientVerdict::Ungranted(Ungranted::NotLoggedIn) => {
                            logged_out = true;
                            self.log_out();
                            self.end_transaction(false);
                        }
                        RecipientVerdict::Ungranted(Ungranted::TryLater)
                        | RecipientVerdict::Disabled
                        | RecipientVerdict::MembersOnly
                        | RecipientVerdict::Full
                        | RecipientVerdict::Failed => {}
                    }
                    reply
                }
            };
            self.say(&reply);
            if let Step::Close(_) = self.patience(Step::Read) {
                return;
            }
        }
        if logged_out {
            self.state = State::Ready(envelope.greeting);
        } else {
            self.state = State::Envelope(envelope);
        }
    }

    pub(super) fn take_data(
        &mut self,
        envelope: Box<Envelope>,
        mut data: Data,
        input: &[u8],
        message: &mut Vec<u8>,
    ) -> (usize, Step) {
        let (used, ended) = data.feed(input, message);
        if !ended {
            self.state = State::Data(envelope, data);
            return (used, Step::Read);
        }
        let Some(fault) = data.fault() else { return (used, self.take_whole(envelope)) };
        self.slow = true;
        self.end_transaction(false);
        if fault.is_smuggling() {
            self.end(Close::Smuggling(fault));
        } else {
            self.say(&fault.reply());
            self.state = State::Ready(envelope.greeting.clone());
        }
        (used, Step::Discard(envelope, fault))
    }

    /// A message without fault.
    fn take_whole(&mut self, envelope: Box<Envelope>) -> Step {
        let addresses = envelope.mail.from.iter().chain(&envelope.recipients);
        let simulated = addresses.filter_map(|address| self.simulated(Some(address), Stage::Data)).next();
        let ready = State::Ready(envelope.greeting.clone());
        let Some(simulated) = simulated else {
            self.state = State::Delivering(envelope.greeting.clone());
            return Step::Deliver(envelope);
        };
        self.end_transaction(false);
        match simulated {
            Simulated::Code(code) => {
                self.say(&simulate::reply(code));
                self.state = ready;
                Step::Discard(envelope, Fault::Simulated(code))
            }
            Simulated::Timeout => {
                self.state = State::Silent(Box::new(ready));
                Step::Discard(envelope, Fault::Simulated(simulate::SILENCE))
            }
        }
    }
}

fn most_recipients(envelope: &Envelope) -> usize {
    if envelope.mail.from.is_some() { MAX_RECIPIENTS } else { NULL_SENDER_RECIPIENTS }
}

/// What can be said of a recipient without asking.
fn admissible(envelope: &Envelope, line: &[u8], kind: Kind) -> Result<Option<Address>, Slot> {
    let Rcpt { to, ascii } = match Command::parse(line, kind) {
        Ok(Command::Rcpt(rcpt)) => rcpt,
        Ok(_) => return Err(Slot::Malformed(CommandError::Unknown.reply())),
        Err(error) => return Err(Slot::Malformed(error.reply())),
    };
    if !ascii && !envelope.mail.utf8 {
        return Err(Slot::Done(CommandError::NeedsUtf8.reply()));
    }
    if envelope.recipients.len() >= most_recipients(envelope) {
        return Err(Slot::Done(Reply::new(452, "4.5.3", "too many recipients")));
    }
    Ok(to)
}
