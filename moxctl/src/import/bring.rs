//! From the reader to the account, mailbox by mailbox.

use std::{
    thread,
    time::{Duration, Instant},
};

use ipc_proto::{
    reader::{FromReader, SourceMailbox, ToReader},
    transfer::{ImportReply, ImportRequest, ImportTarget, Imported, KEYS, Mail},
};

use super::{
    blocks::Account,
    child::{self, Reader, Said},
    options::Common,
    progress::Progress,
    report::{Counts, Report},
};
use crate::{control, failure::Failure, output::Output};

/// Lines about single messages that are kept for the report.
const MAX_LINES: usize = 100;

/// What comes between the reader and the account.
#[derive(Debug)]
pub(super) struct Bringer {
    account: Account,
    skip_duplicates: bool,
    again: bool,
    pace: Option<Pace>,
    progress: Progress,
    mailboxes: Vec<Counts>,
    /// What was told before any mailbox was.
    nowhere: Counts,
    lines: Vec<String>,
}

/// What the reader of one source may have done on the way.
pub(super) trait Source {
    /// Where a mailbox goes; `None`: nowhere.
    fn target(&mut self, mailbox: &SourceMailbox) -> Option<ImportTarget>;
    /// These files are wanted.
    fn want(&mut self, numbers: Vec<u32>) -> Result<(), Failure>;
}

/// Why a source was not read to its end.
#[derive(Debug)]
pub(super) enum Ended {
    /// It says so; another connection may help.
    Source { again: bool, why: String },
    /// Something else.
    Failure(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Bringer {
    pub(super) fn new(account: Account, common: &Common, output: &Output) -> Self {
        Self {
            account,
            skip_duplicates: common.skip_duplicates,
            again: common.again,
            pace: common.rate.map(|kib| Pace::new(u64::from(kib) * 1024)),
            progress: Progress::new(output),
            mailboxes: Vec::new(),
            nowhere: Counts::default(),
            lines: Vec::new(),
        }
    }

    /// A target with what the command line says.
    pub(super) fn target(&self, mailbox: String, source: &str) -> ImportTarget {
        ImportTarget {
            mailbox,
            source: import_lib::name::source(source),
            special_use: None,
            subscribed: false,
            uids: None,
            skip_duplicates: self.skip_duplicates,
            again: self.again,
        }
    }

    /// Brings all that the reader tells.
    pub(super) fn read(&mut self, reader: &mut Reader, source: &mut dyn Source) -> Result<(), Ended> {
        let teller = reader.teller();
        loop {
            let value = match reader.next()? {
                Said::Octets(octets) => {
                    self.account.octets(octets)?;
                    self.progress.octets(octets.len());
                    if let Some(pace) = &mut self.pace {
                        pace.keep(octets.len());
                    }
                    continue;
                }
                Said::Value(value) => value,
            };
            match value {
                FromReader::Totals { messages, octets } => self.progress.expect(messages, octets),
                FromReader::Mailbox(mailbox) => {
                    self.account.settle()?;
                    self.count();
                    match source.target(&mailbox) {
                        Some(target) => {
                            self.begin(target, &mailbox, &teller)?;
                            teller.tell(&ToReader::Read)?;
                        }
                        None => teller.tell(&ToReader::Skip)?,
                    }
                }
                FromReader::Mail(mail) => self.mail(&mail)?,
                FromReader::Known(known) => {
                    self.mailbox().known += known;
                    self.progress.messages(known);
                }
                FromReader::Want(numbers) => source.want(numbers)?,
                FromReader::Left { what, why } => self.left(&what, &why),
                FromReader::Subscribed(names) => self.subscribe(names)?,
                FromReader::Done => {
                    self.account.settle()?;
                    self.count();
                    return Ok(());
                }
                FromReader::Failed { again, why } => {
                    self.account.settle()?;
                    self.count();
                    return Err(Ended::Source { again, why });
                }
                FromReader::Ready => return Err(child::broken().into()),
            }
        }
    }

    fn mail(&mut self, mail: &Mail) -> Result<(), Failure> {
        self.account.value(mail)?;
        match mail {
            Mail::Begin(_) => {}
            Mail::Gone => self.left("a message", "it was not there any more when it was read"),
            Mail::End => {
                self.account.ended()?;
                self.progress.messages(1);
            }
        }
        self.count();
        Ok(())
    }

    fn begin(
        &mut self,
        target: ImportTarget,
        mailbox: &SourceMailbox,
        teller: &child::Teller,
    ) -> Result<(), Failure> {
        let name = target.mailbox.clone();
        self.progress.mailbox(&name);
        let target = ImportTarget {
            uids: target.uids.or(mailbox.uids),
            special_use: target.special_use.or_else(|| mailbox.special_use.clone()),
            ..target
        };
        let keeps_uids = match self.account.ask(ImportRequest::Begin(target))? {
            ImportReply::Ready { keeps_uids } => keeps_uids,
            ImportReply::Known(_) | ImportReply::Filed(_) | ImportReply::Done => {
                return Err(control::odd_answer());
            }
        };
        // The same mailbox once more, after the connection ended: the counts go on.
        if self.mailboxes.last().is_none_or(|last| last.mailbox != name) {
            self.mailboxes.push(Counts { mailbox: name, keeps_uids, ..Counts::default() });
        }
        let mut after = None;
        loop {
            let keys = match self.account.ask(ImportRequest::Known { after })? {
                ImportReply::Known(keys) => keys,
                ImportReply::Ready { .. } | ImportReply::Filed(_) | ImportReply::Done => {
                    return Err(control::odd_answer());
                }
            };
            let more = keys.len() >= KEYS;
            after = keys.last().copied();
            teller.tell(&ToReader::Known(keys))?;
            if !more {
                return Ok(());
            }
        }
    }

    /// Subscribes to names that are mailboxes' or not.
    pub(super) fn subscribe(&mut self, names: Vec<String>) -> Result<(), Failure> {
        if names.is_empty() {
            return Ok(());
        }
        match self.account.ask(ImportRequest::Subscribe(names))? {
            ImportReply::Done => Ok(()),
            ImportReply::Ready { .. } | ImportReply::Known(_) | ImportReply::Filed(_) => {
                Err(control::odd_answer())
            }
        }
    }

    /// Messages that came or were known, so far.
    pub(super) fn brought(&self) -> u64 {
        self.mailboxes.iter().map(|counts| counts.imported + counts.duplicates + counts.too_large).sum()
    }

    /// What is expected is told once more.
    pub(super) fn connected(&mut self) {
        self.progress.start_over();
    }

    /// Something could not be brought.
    pub(super) fn left(&mut self, what: &str, why: &str) {
        let counts = self.mailbox();
        counts.left += 1;
        let line = format!("{}: {what}: {why}", counts.mailbox);
        if self.lines.len() < MAX_LINES {
            self.lines.push(line);
        }
    }

    fn mailbox(&mut self) -> &mut Counts {
        self.mailboxes.last_mut().unwrap_or(&mut self.nowhere)
    }

    /// Counts what became of messages meanwhile: all are of the last mailbox.
    fn count(&mut self) {
        while let Some(filed) = self.account.filed() {
            let counts = self.mailbox();
            match filed {
                Imported::Filed => counts.imported += 1,
                Imported::Renumbered => {
                    counts.imported += 1;
                    counts.renumbered += u64::from(counts.keeps_uids);
                }
                Imported::Known => counts.known += 1,
                Imported::Duplicate => counts.duplicates += 1,
                Imported::TooLarge => counts.too_large += 1,
            }
        }
    }

    /// What came.
    pub(super) fn finish(mut self, account: String) -> Report {
        self.count();
        self.progress.end();
        Report { account, mailboxes: self.mailboxes, left: self.lines }
    }
}

/// So many octets in a second.
#[derive(Debug)]
struct Pace {
    rate: u64,
    since: Instant,
    octets: u64,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { rate, since: Instant::now(), octets: 0 }
    }

    /// Waits until so many more octets are due. Who waited for the source for long does not make up for it.
    fn keep(&mut self, octets: usize) {
        self.octets += octets as u64;
        let due = Duration::from_secs_f64(self.octets as f64 / self.rate as f64);
        let elapsed = self.since.elapsed();
        if let Some(early) = due.checked_sub(elapsed) {
            thread::sleep(early);
        } else if elapsed - due > Duration::from_secs(1) {
            *self = Self::new(self.rate);
        }
    }
}
