//! CONTEXT=SEARCH and CONTEXT=SORT (RFC 5267 §4): searches whose changes are told as they happen.
//!
//! A context keeps the UIDs found, in their order, and nothing else of the messages. When messages come or have other
//! flags, these alone are looked at again; only a sorted context to which something is added is put in order anew.

use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use imapd::response::{self, Status};
use imapd::{NumberSet, Numbering, SearchKey, SearchReturn, SequenceSet, SortCriterion, Tag};
use store_lib::Uid;

use crate::End;
use crate::reply::{Reply, Stop};
use crate::selected::{Places, Selected};
use crate::session::Session;

/// Contexts that tell changes, in one session; RFC 5267 §4.3.1 asks for one at least.
const CONTEXT_LIMIT: usize = 8;

/// A search that tells its changes.
#[derive(Debug)]
pub(crate) struct Context {
    tag: Tag,
    /// Behind the tag, in answers to ESEARCH: which mailbox it is.
    source: Vec<u8>,
    numbering: Numbering,
    /// Without sequence numbers, which are those of the time when it was made.
    key: SearchKey,
    /// `None`: in the order of the mailbox.
    criteria: Option<Vec<SortCriterion>>,
    /// In order.
    results: Vec<Uid>,
}

/// What the contexts of a mailbox have not looked at yet.
#[derive(Debug)]
pub(crate) enum Touched {
    Some(BTreeSet<Uid>),
    /// More than was kept.
    All,
}

impl Default for Touched {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl Touched {
    pub(crate) fn add(&mut self, uid: Uid) {
        if let Self::Some(uids) = self {
            uids.insert(uid);
        }
    }
}

impl Session {
    /// UPDATE of a searching command, after what it found is known. An error: the tag is in use.
    pub(crate) fn check_update(&self, tag: &Tag, results: SearchReturn) -> Result<(), Reply> {
        let in_use = self
            .selected
            .as_ref()
            .is_some_and(|selected| selected.contexts.iter().any(|context| context.tag == *tag));
        if results.update && in_use {
            Err(Reply::bad("that tag belongs to a search that tells updates"))
        } else {
            Ok(())
        }
    }

    /// From now on changes of what was found are told, or a NO says that they are not.
    pub(crate) fn keep_context(
        &mut self,
        tag: &Tag,
        source: &[u8],
        numbering: Numbering,
        key: &SearchKey,
        criteria: Option<&[SortCriterion]>,
        found: &[usize],
    ) {
        let Self { connection, selected: Some(selected), .. } = self else { return };
        if selected.contexts.len() >= CONTEXT_LIMIT {
            no_update(&mut connection.out, tag, "too many searches tell updates");
            return;
        }
        let key = fixed(key, selected);
        let results = found.iter().filter_map(|place| selected.told().get(*place).copied()).collect();
        selected.contexts.push(Context {
            tag: tag.clone(),
            source: source.to_vec(),
            numbering,
            key,
            criteria: criteria.map(<[_]>::to_vec),
            results,
        });
    }

    /// CANCELUPDATE
    pub(crate) fn cancel_update(&mut self, tags: &[Vec<u8>]) -> Result<Reply, Stop> {
        let selected = self.selected()?;
        let is_known = |tag: &Vec<u8>| selected.contexts.iter().any(|context| context.tag.as_bytes() == tag);
        if !tags.iter().all(is_known) {
            return Err(Reply::bad("no search with that tag tells updates").into());
        }
        selected.contexts.retain(|context| tags.iter().all(|tag| context.tag.as_bytes() != tag));
        Ok(Reply::ok("CANCELUPDATE completed"))
    }

    /// What is expunged leaves the results, while it still has a number (RFC 5267 §4.3.4).
    pub(crate) fn tell_contexts_of_expunged(&mut self) -> Result<(), End> {
        let Self { connection, selected: Some(selected), .. } = self else { return Ok(()) };
        let mut contexts = std::mem::take(&mut selected.contexts);
        for context in &mut contexts {
            let leaves = |uid: &Uid| selected.is_gone(*uid);
            write_removed(&mut connection.out, selected, context, &leaves);
            connection.flush_if_full()?;
        }
        selected.contexts = contexts;
        Ok(())
    }

    /// Looks again at what came and what has other flags (RFC 5267 §4.3).
    pub(crate) fn tell_contexts(&mut self) -> Result<(), End> {
        let Some(selected) = &mut self.selected else { return Ok(()) };
        let touched = std::mem::take(&mut selected.touched);
        if selected.contexts.is_empty() {
            return Ok(());
        }
        let places: Places = match &touched {
            Touched::All => selected.all_places(),
            Touched::Some(uids) => {
                let mut numbers = NumberSet::default();
                uids.iter().for_each(|uid| numbers.push(uid.value()));
                selected.uid_places(&numbers)
            }
        };
        if places.is_empty() {
            return Ok(());
        }
        let mut contexts = std::mem::take(&mut selected.contexts);
        let mut kept = Vec::with_capacity(contexts.len());
        for mut context in contexts.drain(..) {
            match self.look_again(&mut context, &places) {
                Ok(()) => kept.push(context),
                Err(Stop::End(end)) => return Err(end),
                Err(Stop::Reply(reply)) => {
                    tracing::warn!(error = %reply.text, "a search stops telling updates");
                    no_update(&mut self.connection.out, &context.tag, "that search took too long");
                }
            }
        }
        if let Some(selected) = &mut self.selected {
            selected.contexts = kept;
        }
        Ok(())
    }

    /// Tells how the messages at `places` change the results of one context.
    fn look_again(&mut self, context: &mut Context, places: &Places) -> Result<(), Stop> {
        let deadline = Instant::now() + self.limits.search;
        let found = self.search_places(&context.key, places.clone(), deadline)?;
        let Self { connection, selected: Some(selected), .. } = &mut *self else { return Ok(()) };
        let uid_at = |place: &usize| selected.told().get(*place).copied();
        let matching: HashSet<Uid> = found.iter().filter_map(uid_at).collect();
        let looked_at: HashSet<Uid> = selected.uids_at(places).into_iter().collect();
        let leaves = |uid: &Uid| looked_at.contains(uid) && !matching.contains(uid);
        write_removed(&mut connection.out, selected, context, &leaves);
        connection.flush_if_full()?;
        let known: HashSet<Uid> = context.results.iter().copied().collect();
        let added: HashSet<Uid> = matching.into_iter().filter(|uid| !known.contains(uid)).collect();
        if added.is_empty() {
            return Ok(());
        }
        let all = context.results.iter().chain(&added);
        let mut all: Vec<usize> = all.filter_map(|uid| selected.place(*uid)).collect();
        all.sort_unstable();
        if let Some(criteria) = context.criteria.clone() {
            self.order(&mut all, &criteria, &context.key, deadline)?;
        }
        let Self { connection, selected: Some(selected), .. } = self else { return Ok(()) };
        context.results = all.iter().filter_map(|place| selected.told().get(*place).copied()).collect();
        let is_added = |uid: &Uid| added.contains(uid);
        write_changes(&mut connection.out, selected, context, b" ADDTO (", &is_added, false);
        connection.flush_if_full()?;
        Ok(())
    }
}

/// Takes what `leaves` names out of the results, and says so.
fn write_removed(
    out: &mut Vec<u8>,
    selected: &Selected,
    context: &mut Context,
    leaves: &dyn Fn(&Uid) -> bool,
) {
    if context.results.iter().any(leaves) {
        write_changes(out, selected, context, b" REMOVEFROM (", leaves, true);
        context.results.retain(|uid| !leaves(uid));
    }
}

/// `* ESEARCH (TAG "t") UID ADDTO (3 17:18)`: the results that `is_meant` names, at their positions. Removed from the
/// end on, added from the beginning on, so that each position is right when its turn comes. Where the order is that of
/// the mailbox the client finds the positions by itself (RFC 5267 §4.3.3).
fn write_changes(
    out: &mut Vec<u8>,
    selected: &Selected,
    context: &Context,
    word: &[u8],
    is_meant: &dyn Fn(&Uid) -> bool,
    backwards: bool,
) {
    let number = |uid: &Uid| {
        let place = selected.place(*uid)?;
        Some(selected.number_at(place, context.numbering))
    };
    let meant: Vec<(usize, u32)> = (1..)
        .zip(&context.results)
        .filter(|(_, uid)| is_meant(uid))
        .filter_map(|(position, uid)| Some((position, number(uid)?)))
        .collect();
    out.extend_from_slice(b"* ESEARCH (TAG ");
    response::string(out, context.tag.as_bytes());
    out.extend_from_slice(&context.source);
    out.push(b')');
    if context.numbering == Numbering::Uid {
        out.extend_from_slice(b" UID");
    }
    out.extend_from_slice(word);
    if context.criteria.is_none() {
        let mut numbers = NumberSet::default();
        meant.iter().for_each(|(_, number)| numbers.push(*number));
        out.extend_from_slice(b"0 ");
        response::number_set(out, &numbers);
    } else {
        let mut runs = runs(&meant);
        if backwards {
            runs.reverse();
        }
        for (index, (position, first, last)) in runs.into_iter().enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            response::number(out, position as u64);
            out.push(b' ');
            response::number_range(out, &(first..=last));
        }
    }
    out.extend_from_slice(b")\r\n");
}

/// Positions one after the other with numbers one after the other, as position, first and last.
fn runs(meant: &[(usize, u32)]) -> Vec<(usize, u32, u32)> {
    let mut runs: Vec<(usize, u32, u32)> = Vec::new();
    let mut before = None;
    for (position, number) in meant {
        match runs.last_mut() {
            Some((_, _, last)) if before == Some(*position - 1) && last.checked_add(1) == Some(*number) => {
                *last = *number;
            }
            _ => runs.push((*position, *number, *number)),
        }
        before = Some(*position);
    }
    runs
}

/// `* NO [NOUPDATE "t"] why`
fn no_update(out: &mut Vec<u8>, tag: &Tag, why: &str) {
    // A tag has no quote and no backslash.
    let tag = String::from_utf8_lossy(tag.as_bytes());
    response::untagged(out, Status::No, &format!("[NOUPDATE \"{tag}\"] {why}"));
}

/// The key with UIDs instead of sequence numbers, and of what was saved: both are those of now (RFC 5267 §4.3). As deep
/// as the parser lets it be.
fn fixed(key: &SearchKey, selected: &Selected) -> SearchKey {
    let these = |places: Places| {
        let mut uids = NumberSet::default();
        selected.uids_at(&places).iter().for_each(|uid| uids.push(uid.value()));
        match SequenceSet::of(&uids) {
            Some(set) => SearchKey::Uid(set),
            None => SearchKey::Not(Box::new(SearchKey::All)),
        }
    };
    match key {
        SearchKey::Sequence(set) => {
            let largest = u32::try_from(selected.told().len()).unwrap_or(u32::MAX);
            these(selected.sequence_places(&set.resolve(largest)))
        }
        SearchKey::Saved => these(selected.saved_places()),
        SearchKey::And(keys) => SearchKey::And(keys.iter().map(|key| fixed(key, selected)).collect()),
        SearchKey::Not(key) => SearchKey::Not(Box::new(fixed(key, selected))),
        SearchKey::Fuzzy(key) => SearchKey::Fuzzy(Box::new(fixed(key, selected))),
        SearchKey::Or(one, other) => {
            SearchKey::Or(Box::new(fixed(one, selected)), Box::new(fixed(other, selected)))
        }
        key => key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_rise_in_position_and_number() {
        let meant = [(1, 7), (2, 8), (4, 9), (5, 3), (6, 4), (7, 6)];
        assert_eq!(runs(&meant), [(1, 7, 8), (4, 9, 9), (5, 3, 4), (7, 6, 6)]);
        assert_eq!(runs(&[]), []);
    }
}
