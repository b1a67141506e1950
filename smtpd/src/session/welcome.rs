//! The answer to EHLO.

use ipc_proto::{delivery::MAX_RECIPIENTS, submission::MAX_HOLD};

use super::{Session, TlsOffer, auth::Submitter};
use crate::reply::Reply;

impl Session {
    /// What this server can do, there where the client is now.
    pub(super) fn welcome(&mut self) {
        let start_tls = self.tls.is_none() && self.offer == TlsOffer::StartTls && !self.is_logged_in();
        let lines = [
            Some(self.limits.hostname.clone()),
            Some("PIPELINING".to_owned()),
            Some(format!("SIZE {}", self.limits.message_size)),
            start_tls.then(|| "STARTTLS".to_owned()),
            self.submitter.as_ref().and_then(Submitter::announcement),
            self.submitter.as_ref().map(|_| self.future_release()),
            Some("ENHANCEDSTATUSCODES".to_owned()),
            Some("8BITMIME".to_owned()),
            Some("SMTPUTF8".to_owned()),
        ];
        for line in lines.into_iter().flatten() {
            Reply::new(250, "", line).write_line('-', &mut self.replies);
        }
        // RFC 9422.
        Reply::new(250, "", format!("LIMITS RCPTMAX={MAX_RECIPIENTS}")).write_to(&mut self.replies);
    }

    /// The longest time, in seconds and as a moment (RFC 4865 §3).
    fn future_release(&self) -> String {
        let last = self.now.seconds.saturating_add(i64::from(MAX_HOLD));
        let last = jiff::Timestamp::from_second(last).unwrap_or_default();
        format!("FUTURERELEASE {MAX_HOLD} {}", last.strftime("%Y-%m-%dT%H:%M:%SZ"))
    }
}
