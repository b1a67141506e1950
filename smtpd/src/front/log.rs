//! What the log says of messages.

use ipc_proto::DeliveryId;
use tokio::time::Instant;

use super::{connection::milliseconds, conversation::Conversation, role::Role, shown::Shown};
use crate::{Envelope, Fault, Greeting, RecipientVerdict};

/// What the log says of a message.
pub(super) struct Judged {
    pub(super) id: DeliveryId,
    pub(super) greeting: Greeting,
    pub(super) tls: bool,
    pub(super) from: String,
    pub(super) recipients: usize,
    pub(super) size: u64,
    pub(super) accepted: bool,
    pub(super) code: u16,
    pub(super) began: Instant,
}

impl<R: Role> Conversation<'_, R> {
    /// After the reply: a client that waits does not wait for the log too.
    pub(super) fn log_message(&mut self) {
        let Some(judged) = self.judged.take() else { return };
        tracing::info!(
            connection = %self.client.place.id(),
            mail = %judged.id,
            client = %self.client.ip(),
            helo = %Shown(judged.greeting.name()),
            tls = judged.tls,
            from = %Shown(judged.from),
            recipients = judged.recipients,
            size = judged.size,
            code = judged.code,
            duration_ms = milliseconds(judged.began),
            "message {}",
            if judged.accepted { "accepted" } else { "refused" },
        );
    }

    pub(super) fn log_fault(&self, envelope: &Envelope, fault: Fault) {
        let from = envelope.mail.from.as_ref().map_or_else(|| "<>".to_owned(), ToString::to_string);
        tracing::info!(
            connection = %self.client.place.id(),
            client = %self.client.ip(),
            helo = %Shown(envelope.greeting.name()),
            tls = envelope.tls.is_some(),
            from = %Shown(from),
            recipients = envelope.recipients.len(),
            code = fault.reply().code(),
            duration_ms = self.message_began.map_or(0, milliseconds),
            why = %fault,
            "message refused",
        );
    }

    pub(super) fn note_refused(&self, verdicts: &[RecipientVerdict]) {
        let refused =
            verdicts.iter().filter(|verdict| !matches!(verdict, RecipientVerdict::Local(_))).count();
        if refused > 0 {
            tracing::debug!(connection = %self.client.place.id(), refused, "recipients refused");
        }
    }
}
