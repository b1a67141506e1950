//! One front's desk: its key, its certificate, its allowance, and the answers.

use std::{
    os::unix::net::UnixStream,
    path::Path,
    time::{Instant, SystemTime},
};

use ipc_proto::{
    Violation,
    blocking::Answerer,
    control::KeydSettings,
    tls::{
        Chain, ImapdKeyd, KeyNumber, Refusal, Scheme, SmtpdKeyd, SubmitdKeyd, TlsReply, TlsRequest, WebdKeyd,
    },
};

use crate::{
    certificate::{Certificate, CertificateError},
    group::Front,
    handshake,
    key::{Key, KeyError},
    rate::Rate,
};

/// The only key of a group so far.
const KEY: KeyNumber = KeyNumber(0);

/// Questions that are read before the one at hand is answered. The thread answers one by one.
const AT_ONCE: usize = 1;

/// Why a desk cannot open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Serves one front with the key of its group.
#[derive(Debug)]
pub struct Desk {
    front: Front,
    key: Key,
    certificate: Certificate,
    rate: Rate,
    counts: Counts,
}

/// What this front was given since keyd started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Signatures made.
    pub signed: u64,
    /// Requests refused because they were no handshake or named no key: an honest front never does that.
    pub refused: u64,
    /// Requests refused because there were too many.
    pub limited: u64,
}

impl Desk {
    /// Reads the group's key and certificate from `directory`, or makes them.
    pub fn open(front: Front, directory: &Path, settings: &KeydSettings) -> Result<Self, OpenError> {
        let group = front.group();
        let key = Key::load_or_make(&directory.join(format!("{group}.key")))?;
        let certificate = Certificate::load_or_make(
            &directory.join(format!("{group}.crt")),
            &key,
            &settings.names,
            SystemTime::now(),
        )?;
        let rate = Rate::new(settings.signatures_per_second);
        Ok(Self { front, key, certificate, rate, counts: Counts::default() })
    }

    /// Whose desk it is.
    #[must_use]
    pub const fn front(&self) -> Front {
        self.front
    }

    /// What it did so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// A thread's first signature takes aws-lc 30 to 50 ms: not while a client waits.
    pub fn warm(&self) {
        if handshake::certificate_verify(&[0; 32]).ok().and_then(|content| self.key.sign(&content)).is_none()
        {
            tracing::error!(front = ?self.front, "the key does not sign");
        }
    }

    /// Answers until the front is gone. `Err`: it broke the rules of its channel.
    pub fn serve(&mut self, end: UnixStream) -> Result<(), Violation> {
        let result = match self.front {
            Front::Smtpd => self.serve_on::<SmtpdKeyd>(end),
            Front::Imapd => self.serve_on::<ImapdKeyd>(end),
            Front::Webd => self.serve_on::<WebdKeyd>(end),
            Front::Submitd => self.serve_on::<SubmitdKeyd>(end),
        };
        let Counts { signed, refused, limited } = self.counts;
        tracing::info!(front = ?self.front, signed, refused, limited, "channel over");
        result
    }

    fn serve_on<C>(&mut self, end: UnixStream) -> Result<(), Violation>
    where
        C: ipc_proto::Channel<Request = TlsRequest, Reply = TlsReply>,
    {
        let mut answerer = match Answerer::<C>::new(end, AT_ONCE) {
            Ok(answerer) => answerer,
            Err(error) => {
                tracing::debug!(front = ?self.front, %error, "the front went before it was served");
                return Ok(());
            }
        };
        while let Some(question) = answerer.next_question()? {
            let reply = self.answer(&question.request, Instant::now());
            question.responder.reply(&reply, &[]);
        }
        Ok(())
    }

    /// Total: every request gets an answer.
    pub fn answer(&mut self, request: &TlsRequest, now: Instant) -> TlsReply {
        let answer = match request {
            TlsRequest::Chains => return TlsReply::Chains(vec![self.chain()]),
            TlsRequest::Tls13 { key, scheme: Scheme::EcdsaP256Sha256, transcript_hash } => {
                self.sign(*key, handshake::certificate_verify(transcript_hash), now)
            }
            TlsRequest::Tls12 {
                key,
                scheme: Scheme::EcdsaP256Sha256,
                client_random,
                server_random,
                params,
            } => self.sign(*key, handshake::server_key_exchange(client_random, server_random, params), now),
        };
        match answer {
            Ok(signature) => {
                self.counts.signed += 1;
                TlsReply::Signed(signature)
            }
            Err(refusal) => {
                self.count(refusal);
                TlsReply::Refused(refusal)
            }
        }
    }

    /// The allowance is charged for nonsense too: it is what a captured front would send.
    fn sign(
        &mut self,
        key: KeyNumber,
        content: Result<Vec<u8>, Refusal>,
        now: Instant,
    ) -> Result<Vec<u8>, Refusal> {
        if !self.rate.admit(now) {
            return Err(Refusal::RateLimited);
        }
        if key != KEY {
            return Err(Refusal::UnknownKey);
        }
        self.key.sign(&content?).ok_or(Refusal::Failed)
    }

    fn count(&mut self, refusal: Refusal) {
        let (count, what) = match refusal {
            Refusal::RateLimited => (&mut self.counts.limited, "signatures refused: too many"),
            Refusal::UnknownKey | Refusal::NotAHandshake | Refusal::Failed => {
                (&mut self.counts.refused, "signature refused")
            }
        };
        *count += 1;
        // The first, the second, the fourth: a front that asks for ever does not fill the log.
        if count.is_power_of_two() {
            tracing::warn!(front = ?self.front, %refusal, count, "{what}");
        }
    }

    fn chain(&self) -> Chain {
        Chain {
            key: KEY,
            scheme: Scheme::EcdsaP256Sha256,
            names: self.certificate.names.clone(),
            certificates: vec![self.certificate.der.clone()],
        }
    }
}
