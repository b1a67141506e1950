//! A text that SEARCH looks for: the index rules messages out, the octets of the others decide.

use std::time::Instant;

use imapd::SearchText;
use mail_lib::header::{self, Headers};
use mail_lib::text::Matcher;
use store_lib::{Body, Clue, MessageId, Piece, Place, Sieve, Store, Texts};

use crate::reply::Stop;

/// One text, where it is looked for, and where it cannot be.
pub(crate) struct Wanted {
    pub(crate) matcher: Matcher,
    clue: Clue,
    sieve: Sieve,
}

impl Wanted {
    pub(crate) fn in_field(name: &str, text: &SearchText) -> Self {
        Self::new(Place::Field(name), text.as_str())
    }

    pub(crate) fn in_body(text: &SearchText) -> Self {
        Self::new(Place::Body, text.as_str())
    }

    pub(crate) fn anywhere(text: &SearchText) -> Self {
        Self::new(Place::Anywhere, text.as_str())
    }

    pub(crate) fn new(place: Place<'_>, text: &str) -> Self {
        Self { matcher: Matcher::new(text), clue: Clue::new(place, text), sieve: Sieve::default() }
    }

    /// A word, in messages that may have it misspelt.
    pub(crate) fn resembling(place: Place<'_>, word: &str) -> Self {
        Self { clue: Clue::resembling(place, word), ..Self::new(place, word) }
    }

    /// Asks the index about all of them.
    pub(crate) fn narrow(all: &mut [&mut Self], store: &Store, deadline: Instant) {
        let clues: Vec<Clue> = all.iter().map(|wanted| wanted.clue.clone()).collect();
        for (wanted, sieve) in all.iter_mut().zip(store.sieves(&clues, deadline)) {
            wanted.sieve = sieve;
        }
    }

    /// Whether the message cannot hold it.
    pub(crate) fn is_ruled_out(&self, message: MessageId) -> bool {
        self.sieve.rules_out(message)
    }
}

/// Gets each piece of a text, and what to ask before more is read; `false`: it has enough.
pub(crate) type EachPiece<'a> =
    dyn FnMut(Piece<'_>, &dyn Fn() -> Result<(), Stop>) -> Result<bool, Stop> + 'a;

/// A message whose octets decide.
pub(crate) struct Opened<'a> {
    texts: Texts<'a>,
    /// Asked before each piece of a large message.
    stop: &'a dyn Fn() -> Result<(), Stop>,
}

impl<'a> Opened<'a> {
    pub(crate) fn new(body: &'a Body, stop: &'a dyn Fn() -> Result<(), Stop>) -> Self {
        Self { texts: Texts::new(body), stop }
    }

    pub(crate) fn header(&mut self) -> Result<Headers<'_>, Stop> {
        Ok(self.texts.header()?)
    }

    /// In a field of that name, in its value alone.
    pub(crate) fn field_has(&mut self, name: &str, wanted: &mut Wanted) -> Result<bool, Stop> {
        let matcher = &mut wanted.matcher;
        Ok(self.header()?.fields().filter(|field| field.is(name)).any(|field| {
            matcher.restart();
            matcher.push(&header::decode(field.value))
        }))
    }

    pub(crate) fn header_has(&mut self, wanted: &mut Wanted) -> Result<bool, Stop> {
        let Self { texts, stop } = self;
        found(wanted, stop, |each| texts.in_header(each))
    }

    /// Gives `each` the texts of the body.
    pub(crate) fn body(&mut self, each: &mut EachPiece<'_>) -> Result<(), Stop> {
        let Self { texts, stop } = self;
        texts.in_body(&mut |piece| each(piece, stop))
    }

    /// Gives `each` the texts of the header, then those of the body.
    pub(crate) fn all(&mut self, each: &mut EachPiece<'_>) -> Result<(), Stop> {
        let Self { texts, stop } = self;
        let mut more = true;
        texts.in_header(&mut |piece| {
            more = each(piece, stop)?;
            Ok::<_, Stop>(more)
        })?;
        if more { self.body(each) } else { Ok(()) }
    }

    pub(crate) fn body_has(&mut self, wanted: &mut Wanted) -> Result<bool, Stop> {
        let Self { texts, stop } = self;
        found(wanted, stop, |each| texts.in_body(each))
    }
}

/// Whether one of the texts that `read` gives holds what is wanted.
fn found(
    wanted: &mut Wanted,
    stop: &dyn Fn() -> Result<(), Stop>,
    read: impl FnOnce(&mut dyn FnMut(Piece<'_>) -> Result<bool, Stop>) -> Result<(), Stop>,
) -> Result<bool, Stop> {
    let matcher = &mut wanted.matcher;
    // A message without any text does not even hold the empty one.
    let mut found = false;
    read(&mut |piece| {
        match piece {
            Piece::Begin => {
                matcher.restart();
                found |= matcher.found();
            }
            Piece::Reading => stop()?,
            Piece::Text(text) => found |= matcher.push(text),
        }
        Ok(!found)
    })?;
    Ok(found)
}
