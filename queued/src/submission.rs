//! Messages of those who logged in: submitd names a connection, authd said whose it is.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, atomic::Ordering},
};

use ipc_proto::{
    AccountId, ChannelId, ConnectionId, DeliveryId,
    authd::{AuthdToQueued, Owner, QueuedToAuthd, Recipient, RecipientQuery},
    delivery::{Deliver, MAX_RECIPIENTS, Outcome},
    grant::{AuthdQueued, Noted},
    stream::{End, Responder, serve},
    submission::{
        MAX_HOLD, QueuedToSubmitd, Sender, SubmissionRefusal, SubmitdQueued, SubmitdToQueued, Submitted,
        Ungranted,
    },
    types::{Run, Timestamp},
};
use mail_lib::{
    address::Address,
    header::{OriginError, format_date, origin},
};

use crate::{
    body::Body,
    change::{Change, Changed},
    grants::News,
    limits::{Charge, Limits},
    queue::{Envelope, Millis, millis},
    service::{Refusal, Service, Shared, check, open_spool},
    spool::ChannelNumber,
};

impl Service {
    /// Takes a channel on which one start of authd tells who may submit.
    pub fn notices(&self, run: Run, stream: UnixStream) -> std::io::Result<()> {
        let shared = Arc::clone(&self.0);
        let notices = shared.grants.notices(run);
        shared.owners.notices(notices);
        let serving = serve::<AuthdQueued>(stream, move |notice, _, responder| {
            match shared.grants.note(notices, notice, (shared.clock)()) {
                News::Grants => {}
                News::Complete => shared.owners.told(notices),
                News::Directory => shared.owners.forget(),
                // Dropped: authd does not take it for noted.
                News::NoRoom => return tracing::warn!("no room for more logins of submission"),
            }
            responder.reply(&Noted, Vec::new());
        })?;
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let end = serving.await;
            shared.owners.notices_ended(notices);
            if let End::Violation(violation) = end {
                shared.switchboard.violation(ChannelId::AuthdQueued, None, violation);
            }
        });
        Ok(())
    }

    /// Takes a channel from one start of submitd and serves it in a task of its own.
    pub fn submitd(&self, run: Run, stream: UnixStream) -> std::io::Result<()> {
        let shared = Arc::clone(&self.0);
        let channel = shared.submitted.channel();
        let serving = serve::<SubmitdQueued>(stream, move |request, fds, responder| {
            tokio::spawn(answer(Arc::clone(&shared), (run, channel), request, fds, responder));
        })?;
        let shared = Arc::clone(&self.0);
        shared.grants.channel(run);
        tokio::spawn(async move {
            let end = serving.await;
            shared.submitted.channel_ended(channel);
            shared.grants.channel_ended(run, end);
            match end {
                End::Closed => {}
                End::Violation(violation) => {
                    shared.switchboard.violation(ChannelId::SubmitdQueued, None, violation);
                }
            }
        });
        Ok(())
    }
}

async fn answer(
    shared: Arc<Shared>,
    (run, channel): (Run, ChannelNumber),
    request: SubmitdToQueued,
    fds: Vec<OwnedFd>,
    responder: Responder<SubmitdQueued>,
) {
    let _busy = shared.busy();
    let reply = match request {
        SubmitdToQueued::Sender(connection, address) => {
            QueuedToSubmitd::Sender(shared.sender(run, connection, address).await)
        }
        SubmitdToQueued::Recipients(connection, queries) if queries.len() <= MAX_RECIPIENTS => {
            QueuedToSubmitd::Recipients(shared.recipients(run, connection, queries).await)
        }
        SubmitdToQueued::Recipients(connection, queries) => {
            refuse(&shared, connection, &Refusal::Recipients(queries.len()))
        }
        SubmitdToQueued::Spool => match open_spool(&shared, &shared.submitted, channel).await {
            Some((number, writer)) => {
                return responder.reply(&QueuedToSubmitd::Spool(number), vec![writer]);
            }
            None => QueuedToSubmitd::NoSpool,
        },
        SubmitdToQueued::Submit(submit) => match check(&shared, &shared.submitted, &submit.deliver, fds) {
            Ok(_) if !are_received(&submit.deliver.trace) => {
                refuse(&shared, submit.deliver.connection, &Refusal::NotReceived)
            }
            Ok(body) => QueuedToSubmitd::Submitted(shared.submit(run, submit, body).await),
            Err(error) => refuse(&shared, submit.deliver.connection, &error),
        },
        SubmitdToQueued::Forget(number) => {
            shared.submitted.forget(number);
            QueuedToSubmitd::Forgotten
        }
    };
    responder.reply(&reply, Vec::new());
}

/// Nothing but Received fields: a From above the message would be taken for its author, and only the message's own is judged.
fn are_received(trace: &[u8]) -> bool {
    const NAME: &[u8] = b"Received:";
    trace.split_inclusive(|octet| *octet == b'\n').all(|line| {
        matches!(line.first(), Some(b' ' | b'\t'))
            || line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME))
    })
}

fn refuse(shared: &Shared, connection: ConnectionId, error: &Refusal) -> QueuedToSubmitd {
    tracing::warn!(%connection, "refused a request from submitd: {error}");
    shared.switchboard.refused(ChannelId::SubmitdQueued, error.kind());
    QueuedToSubmitd::Refused
}

/// authd cannot say now.
const LATER: SubmissionRefusal = SubmissionRefusal::Ungranted(Ungranted::TryLater);

impl Shared {
    async fn sender(&self, run: Run, connection: ConnectionId, address: Option<Address>) -> Sender {
        let account = match self.grants.account(run, connection).await {
            Ok(account) => account,
            Err(ungranted) => return Sender::Ungranted(ungranted),
        };
        // The null reverse-path: mail programs send receipts with it (RFC 8098 §3); From has to be theirs all the same.
        let Some(address) = address else { return Sender::Ok };
        match self.may_send(account, vec![address]).await.as_deref() {
            Some([true]) => Sender::Ok,
            Some(_) => Sender::NotYours,
            None => Sender::Ungranted(Ungranted::TryLater),
        }
    }

    async fn recipients(
        &self,
        run: Run,
        connection: ConnectionId,
        queries: Vec<RecipientQuery>,
    ) -> Result<Vec<Recipient>, Ungranted> {
        let account = self.grants.account(run, connection).await?;
        self.what_are(account, queries).await.ok_or(Ungranted::TryLater)
    }

    /// One answer per address; `None`: authd cannot say now.
    async fn may_send(&self, account: AccountId, addresses: Vec<Address>) -> Option<Vec<bool>> {
        let count = addresses.len();
        match self.authd.call(&QueuedToAuthd::MaySend(account, addresses), Vec::new()).await {
            Ok((AuthdToQueued::MaySend(may), _)) if may.len() == count => return Some(may),
            Ok(_) => tracing::error!("authd answered another question than who may send"),
            Err(error) => tracing::warn!("authd does not say who may send: {error}"),
        }
        None
    }

    /// Likewise.
    async fn what_are(&self, account: AccountId, queries: Vec<RecipientQuery>) -> Option<Vec<Recipient>> {
        let count = queries.len();
        match self.authd.call(&QueuedToAuthd::Recipients(account, queries), Vec::new()).await {
            Ok((AuthdToQueued::Recipients(found), _)) if found.len() == count => return Some(found),
            Ok(_) => tracing::error!("authd answered another question than what the recipients are"),
            Err(error) => tracing::warn!("authd does not say what the recipients are: {error}"),
        }
        None
    }

    async fn submit(&self, run: Run, submit: ipc_proto::submission::Submit, body: Body) -> Submitted {
        let (id, connection) = (submit.deliver.id, submit.deliver.connection);
        match self.try_submit(run, submit, body).await {
            Ok(submitted) => submitted,
            Err(refusal) => {
                tracing::info!(mail = %id, %connection, ?refusal, "submission refused");
                Submitted::Refused(refusal)
            }
        }
    }

    async fn try_submit(
        &self,
        run: Run,
        submit: ipc_proto::submission::Submit,
        body: Body,
    ) -> Result<Submitted, SubmissionRefusal> {
        let Deliver { id, connection, reverse_path, recipients, mut trace, received, size: _, spool: _ } =
            submit.deliver;
        if self.stopping.load(Ordering::Relaxed) {
            return Err(LATER);
        }
        let account = self.grants.account(run, connection).await.map_err(SubmissionRefusal::Ungranted)?;
        let hold = self.hold(submit.hold)?;
        let added = self.judge(account, reverse_path.as_ref(), &body).await?;
        trace.extend_from_slice(added.fields(id, received, &self.hostname).as_bytes());
        let owners = self.local_owners(account, reverse_path.as_ref(), &recipients).await?;
        let envelope = Envelope { id, connection, reverse_path, trace, received };
        let refund = self.charge(account, id, &recipients).await?;
        let outcomes = self.deliver_to(&envelope, &recipients, &owners, body, hold).await;
        if !outcomes.iter().any(|outcome| matches!(outcome, Outcome::Filed | Outcome::Stored))
            && let Err(error) = self.disk.change(refund).await
        {
            tracing::warn!(mail = %id, "a message that was not kept stays counted: {error}");
        }
        Ok(Submitted::Delivered(outcomes))
    }

    /// What lies ahead of now.
    fn hold(&self, until: Option<Timestamp>) -> Result<Option<Millis>, SubmissionRefusal> {
        let now = (self.clock)();
        let until = until.map(millis).filter(|until| *until > now);
        let longest = now.saturating_add(i64::from(MAX_HOLD) * 1000);
        if until.is_some_and(|until| until > longest) { Err(SubmissionRefusal::Hold) } else { Ok(until) }
    }

    /// Counts a message, and says how that is taken back.
    async fn charge(
        &self,
        account: AccountId,
        id: DeliveryId,
        recipients: &[Address],
    ) -> Result<Change, SubmissionRefusal> {
        let settings = self.settings.now();
        let limits = Limits {
            messages: settings.submission_messages,
            new_recipients: settings.submission_new_recipients,
        };
        let charge = Charge::new(account, id, recipients, limits, (self.clock)());
        let refund = Change::Refund { account, key: charge.key };
        match self.disk.change(Change::Charge(charge)).await {
            Ok(Changed::Made) => Ok(refund),
            Ok(Changed::Exceeds(refusal)) => Err(refusal),
            Err(error) => {
                tracing::error!(mail = %id, "cannot count a message: {error}");
                Err(LATER)
            }
        }
    }

    /// Whether the account may send this: MAIL FROM, From and Sender. What its header lacks.
    async fn judge(
        &self,
        account: AccountId,
        reverse_path: Option<&Address>,
        body: &Body,
    ) -> Result<Added, SubmissionRefusal> {
        let section = body.header_section(&self.disk).await.map_err(|error| {
            tracing::error!("cannot read a message's header: {error}");
            LATER
        })?;
        let origin = origin(&section.ok_or(SubmissionRefusal::Header)?).map_err(|error| match error {
            OriginError::Header => SubmissionRefusal::Header,
            OriginError::Originator => SubmissionRefusal::From,
        })?;
        let path = reverse_path.map(|address| (address, SubmissionRefusal::SenderNotYours));
        let named = [Some(&origin.from), origin.sender.as_ref()].into_iter().flatten();
        let named = named.map(|address| (address, SubmissionRefusal::FromNotYours));
        let (addresses, refusals): (Vec<_>, Vec<_>) = path.into_iter().chain(named).unzip();
        let may = self.may_send(account, addresses.into_iter().cloned().collect()).await.ok_or(LATER)?;
        match may.into_iter().zip(refusals).find(|(may, _)| !may) {
            Some((_, refusal)) => Err(refusal),
            None => Ok(Added { date: !origin.has_date, message_id: !origin.has_message_id }),
        }
    }

    /// Whose the recipients are; all of them local.
    async fn local_owners(
        &self,
        account: AccountId,
        from: Option<&Address>,
        recipients: &[Address],
    ) -> Result<Vec<Owner>, SubmissionRefusal> {
        let addresses: Vec<_> = recipients.iter().collect();
        let owners = self.owners_of(&addresses, from).await.ok_or(LATER)?;
        let unknown = owners.iter().zip(recipients).filter(|(owner, _)| **owner == Owner::Nobody);
        let unknown: Vec<_> = unknown.map(|(_, address)| RecipientQuery::Address(address.clone())).collect();
        if !unknown.is_empty()
            && self.what_are(account, unknown).await.ok_or(LATER)?.contains(&Recipient::NotLocal)
        {
            return Err(SubmissionRefusal::NotLocal);
        }
        Ok(owners)
    }
}

/// Fields that a message needs and lacks (RFC 6409 §8). They stand above it: its own octets stay as they were.
#[derive(Debug, Clone, Copy)]
struct Added {
    date: bool,
    message_id: bool,
}

impl Added {
    fn fields(self, id: DeliveryId, received: Timestamp, hostname: &str) -> String {
        let mut fields = String::new();
        if self.date {
            fields.push_str(&format!("Date: {}\r\n", format_date(received.seconds)));
        }
        if self.message_id {
            fields.push_str(&format!("Message-ID: <{id}@{hostname}>\r\n"));
        }
        fields
    }
}
