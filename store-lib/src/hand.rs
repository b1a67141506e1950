//! What was in hand when the process died, and when it died: small facts that outlive the process without an fsync.

use crate::{DeliveryId, Store, StoreError, UnixSeconds};

/// Says that a delivery is being parsed; until dropped.
#[derive(Debug)]
pub struct InHand {}

/// One end of the account's process that was not orderly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// When it was noticed: at the next open.
    pub at: UnixSeconds,
    /// Whether a message was being parsed.
    pub parsing: bool,
}

impl Store {
    /// Call before a delivery's octets are parsed, drop when they are. One small write, no fsync.
    pub fn begin_parse(&self, id: DeliveryId) -> Result<InHand, StoreError> {
        let _ = id;
        Err(StoreError::Closed)
    }

    /// Whether this delivery was being parsed when the process died: stage it with [`crate::Parse::No`].
    #[must_use]
    pub fn is_poisoned(&self, id: DeliveryId) -> bool {
        let _ = id;
        false
    }

    /// The latest crashes, oldest first, at most 8. Three within ten minutes: open in safe mode.
    #[must_use]
    pub fn crashes(&self) -> Vec<Crash> {
        Vec::new()
    }
}
