//! Messages that become a segment together, in memory.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::database::{Database, Trouble};
use super::segment::{Blocks, Entry, MOST_MESSAGES};
use super::texts::{Piece, Texts};
use super::trigram::{self, Scope, Trigrams};
use crate::{Body, StoreError};

/// Trigrams of messages, all together: 4 MiB.
const MOST_PAIRS: usize = 1 << 19;

/// Octets of text of one message. One that has more is always looked at itself.
const MOST_TEXT: usize = 16 << 20;

/// Different trigrams of one message. One that has more would be found by any text.
const MOST_OF_A_MESSAGE: usize = 1 << 17;

/// The messages so far.
#[derive(Debug)]
pub(super) struct Group {
    entries: Vec<Entry>,
    /// `trigram << 16 | place`.
    pairs: Vec<u64>,
    /// Bits of the trigrams that the message at hand has.
    seen: Box<[u64]>,
}

/// Why a message is left out.
enum Left {
    TooMuch,
    Unreadable(StoreError),
    /// For now: it was broken off.
    Stopped,
}

impl From<StoreError> for Left {
    fn from(error: StoreError) -> Self {
        Self::Unreadable(error)
    }
}

impl Group {
    pub(super) fn new() -> Self {
        let seen = vec![0; trigram::END as usize / 64].into();
        // Memory that is not written to costs nothing.
        Self { entries: Vec::new(), pairs: Vec::with_capacity(MOST_PAIRS + MOST_OF_A_MESSAGE / 4), seen }
    }

    pub(super) fn is_full(&self) -> bool {
        self.pairs.len() + MOST_OF_A_MESSAGE > MOST_PAIRS || self.entries.len() >= MOST_MESSAGES
    }

    /// Adds a message whose id is above those before. One that has too much text, or cannot be read, is left out, and
    /// so is one that was filed without being looked into: what its texts are may still change. Broken off by `pause`,
    /// the group is as it was.
    pub(super) fn add(
        &mut self,
        entry: Entry,
        body: &Body,
        pause: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let from = self.pairs.len();
        // A message that the parsers do not survive is left out for good: the next one is another.
        let added = catch_unwind(AssertUnwindSafe(|| self.collect(body, pause)));
        for pair in self.pairs.get(from..).unwrap_or_default() {
            let number = usize::try_from(pair >> 16).unwrap_or_default();
            if let Some(word) = self.seen.get_mut(number / 64) {
                *word = 0;
            }
        }
        if let Ok(Ok(true)) = added {
            self.entries.push(entry);
            return ControlFlow::Continue(());
        }
        self.pairs.truncate(from);
        match added {
            Ok(Ok(_) | Err(Left::TooMuch)) => {}
            Ok(Err(Left::Unreadable(error))) => {
                tracing::warn!(%error, "a message is not in the search index")
            }
            Ok(Err(Left::Stopped)) => return ControlFlow::Break(()),
            Err(_) => {
                tracing::error!("a message panicked the search index and is not in it; please report this");
            }
        }
        ControlFlow::Continue(())
    }

    fn collect(&mut self, body: &Body, pause: &mut dyn FnMut() -> ControlFlow<()>) -> Result<bool, Left> {
        let mut texts = Texts::new(body);
        if !texts.is_parsed() {
            return Ok(false);
        }
        let Self { entries, pairs, seen } = self;
        let place = entries.len() as u64;
        let limit = pairs.len() + MOST_OF_A_MESSAGE;
        let mut octets = 0;
        for scope in [Scope::Header, Scope::Body] {
            let mut trigrams = Trigrams::new(scope);
            let mut each = |piece: Piece<'_>| {
                match piece {
                    Piece::Begin => trigrams.restart(),
                    Piece::Reading if pause().is_break() => return Err(Left::Stopped),
                    Piece::Reading => {}
                    Piece::Text(text) => {
                        octets += text.len();
                        trigrams.push(text, &mut |number| {
                            let Some(word) = seen.get_mut(number as usize / 64) else { return };
                            if *word & (1 << (number % 64)) == 0 {
                                *word |= 1 << (number % 64);
                                pairs.push((u64::from(number) << 16) | place);
                            }
                        });
                        if octets > MOST_TEXT || pairs.len() > limit {
                            return Err(Left::TooMuch);
                        }
                    }
                }
                Ok(true)
            };
            match scope {
                Scope::Header => texts.in_header(&mut each)?,
                Scope::Body => texts.in_body(&mut each)?,
            }
        }
        Ok(true)
    }

    /// Writes the segment and how far the index has come; the group is empty then. `pause`: see
    /// [`crate::Store::catch_up`]; broken off, nothing is written.
    pub(super) fn write(
        &mut self,
        database: &Database,
        progress: i64,
        pause: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Trouble> {
        self.pairs.sort_unstable();
        let transaction = database.0.unchecked_transaction()?;
        if !self.entries.is_empty() {
            let messages = u16::try_from(self.entries.len()).unwrap_or(u16::MAX);
            let segment = database.insert_segment(&self.entries, self.pairs.len() as u64)?;
            let mut blocks = Blocks::new(segment, messages);
            let mut places: Vec<u16> = Vec::new();
            for same in self.pairs.chunk_by(|one, other| one >> 16 == other >> 16) {
                places.clear();
                places.extend(same.iter().map(|pair| (pair & 0xffff) as u16));
                let number = same.first().map_or(0, |pair| pair >> 16);
                let number = u32::try_from(number).unwrap_or_default();
                if let Some(block) = blocks.add(number, &places) {
                    database.insert_block(segment, &block)?;
                    if pause().is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            database.insert_block(segment, &blocks.finish())?;
        }
        database.set_progress(progress)?;
        transaction.commit()?;
        self.entries.clear();
        self.pairs.clear();
        Ok(ControlFlow::Continue(()))
    }
}
