//! The algorithms of THREAD (RFC 5256 §3; draft-ietf-morg-inthread), over what the store keeps of each message.
//!
//! Whatever references hold, loops, themselves, thousands: work is about linear, memory is a few words for each message
//! and reference, and nothing recurses.

use std::collections::HashMap;

use imapd::ThreadAlgorithm;

/// Ids that no message has: so many for each message, and [`FREE_IDS`] on top. Of what goes beyond only the parent
/// counts.
const IDS_PER_MESSAGE: usize = 4;
const FREE_IDS: usize = 10_000;
/// Steps up the tree that looking for loops may take, for each id there is. Ordinary mail takes one or two.
const STEPS_PER_ID: usize = 64;

const NONE: u32 = u32::MAX;

/// A message, in the order of the mailbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Seconds since 1970: when it was sent, else received.
    pub(crate) sent: i64,
    /// When it was received.
    pub(crate) received: i64,
    /// Stands for the base subject; `None`: there is none.
    pub(crate) topic: Option<i64>,
    pub(crate) is_reply: bool,
    /// Stands for the Message-ID.
    pub(crate) id: Option<i64>,
    /// Where its references are among all.
    pub(crate) references: std::ops::Range<usize>,
}

/// The messages to be threaded.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub(crate) entries: Vec<Entry>,
    pub(crate) references: Vec<i64>,
}

/// Messages with what answers them. Numbers are places in [`Entries`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forest {
    /// In order. Several messages in one: they answer the same one, which is not there.
    pub(crate) threads: Vec<Vec<u32>>,
    /// The children of message n: those from `offsets[n]` to `offsets[n + 1]`.
    children: Vec<u32>,
    offsets: Vec<u32>,
}

impl Forest {
    pub(crate) fn new(entries: &Entries, algorithm: ThreadAlgorithm) -> Self {
        match algorithm {
            ThreadAlgorithm::OrderedSubject => ordered_subject(entries),
            ThreadAlgorithm::References | ThreadAlgorithm::Refs => by_references(entries, algorithm),
        }
    }

    pub(crate) fn children(&self, message: u32) -> &[u32] {
        let bound = |at: usize| self.offsets.get(at).map_or(0, |offset| place(*offset));
        self.children.get(bound(place(message))..bound(place(message) + 1)).unwrap_or_default()
    }

    /// `parents`: of each message, or [`NONE`]; `order`: all messages in the order of siblings.
    fn from_parents(threads: Vec<Vec<u32>>, parents: &[u32], order: &[u32]) -> Self {
        let mut offsets = vec![0_u32; parents.len() + 1];
        for parent in parents.iter().filter(|parent| **parent != NONE) {
            if let Some(count) = offsets.get_mut(place(*parent) + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for offset in &mut offsets {
            sum += *offset;
            *offset = sum;
        }
        let mut next = offsets.clone();
        let mut children = vec![0; place(sum)];
        for message in order {
            let parent = parents.get(place(*message)).copied().unwrap_or(NONE);
            if let Some(at) = next.get_mut(place(parent)).filter(|_| parent != NONE) {
                if let Some(child) = children.get_mut(place(*at)) {
                    *child = *message;
                }
                *at += 1;
            }
        }
        Self { threads, children, offsets }
    }
}

fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(NONE)
}

/// All messages by sent date, then by their order in the mailbox (RFC 5256 §2.2).
fn by_date(entries: &[Entry]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..number(entries.len())).collect();
    order.sort_by_key(|message| entries.get(place(*message)).map_or(0, |entry| entry.sent));
    order
}

/// Messages of one base subject; the first answers nothing, all others answer it.
fn ordered_subject(entries: &Entries) -> Forest {
    let order = by_date(&entries.entries);
    let mut parents = vec![NONE; order.len()];
    let mut threads = Vec::new();
    let mut roots: HashMap<Option<i64>, u32> = HashMap::new();
    for message in &order {
        let topic = entries.entries.get(place(*message)).and_then(|entry| entry.topic);
        match roots.entry(topic) {
            std::collections::hash_map::Entry::Occupied(root) => {
                if let Some(parent) = parents.get_mut(place(*message)) {
                    *parent = *root.get();
                }
            }
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(*message);
                threads.push(vec![*message]);
            }
        }
    }
    Forest::from_parents(threads, &parents, &order)
}

/// REFERENCES and REFS.
fn by_references(entries: &Entries, algorithm: ThreadAlgorithm) -> Forest {
    let order = by_date(&entries.entries);
    let mut ranks = vec![0_u32; order.len()];
    for (rank, message) in order.iter().enumerate() {
        if let Some(place) = ranks.get_mut(place(*message)) {
            *place = number(rank);
        }
    }
    let (mut parents, mut threads) = Links::build(entries).prune(entries.entries.len());
    let rank_of = |message: &u32| ranks.get(place(*message)).copied().unwrap_or(NONE);
    let sort = |threads: &mut Vec<Vec<u32>>| {
        threads.iter_mut().for_each(|thread| thread.sort_by_key(rank_of));
        threads.sort_by_key(|thread| thread.first().map_or(NONE, rank_of));
    };
    sort(&mut threads);
    match algorithm {
        ThreadAlgorithm::References => {
            threads = collect_by_subject(&entries.entries, threads, &mut parents);
            sort(&mut threads);
        }
        ThreadAlgorithm::OrderedSubject | ThreadAlgorithm::Refs => (),
    }
    let mut forest = Forest::from_parents(threads, &parents, &order);
    if algorithm == ThreadAlgorithm::Refs {
        let latest = latest(&entries.entries, &forest);
        let mut threads: Vec<_> = latest.into_iter().zip(std::mem::take(&mut forest.threads)).collect();
        threads.sort_by_key(|(latest, _)| *latest);
        forest.threads = threads.into_iter().map(|(_, thread)| thread).collect();
    }
    forest
}

/// When the latest message of each thread was received.
fn latest(entries: &[Entry], forest: &Forest) -> Vec<i64> {
    let mut waiting = Vec::new();
    let mut latest = Vec::with_capacity(forest.threads.len());
    for thread in &forest.threads {
        let mut found = i64::MIN;
        waiting.extend_from_slice(thread);
        while let Some(message) = waiting.pop() {
            found = found.max(entries.get(place(message)).map_or(i64::MIN, |entry| entry.received));
            waiting.extend_from_slice(forest.children(message));
        }
        latest.push(found);
    }
    latest
}

/// Step 1 of REFERENCES: who answers whom. The first nodes are the messages, the others ids that no message has.
struct Links {
    parents: Vec<u32>,
    /// How many nodes have this one as their parent.
    children: Vec<u32>,
    /// Steps that looking for loops may still take.
    steps: usize,
}

impl Links {
    fn build(entries: &Entries) -> Self {
        let messages = entries.entries.len();
        let mut nodes: HashMap<i64, u32> = HashMap::with_capacity(messages);
        // Of several messages with one id the first has it, the others are as those without.
        for (message, entry) in entries.entries.iter().enumerate() {
            if let Some(id) = entry.id {
                nodes.entry(id).or_insert_with(|| number(message));
            }
        }
        let limit = messages.saturating_mul(1 + IDS_PER_MESSAGE).saturating_add(FREE_IDS);
        let steps = limit.saturating_mul(STEPS_PER_ID);
        let mut links = Self { parents: vec![NONE; messages], children: vec![0; messages], steps };
        for (message, entry) in entries.entries.iter().enumerate() {
            let references = entries.references.get(entry.references.clone()).unwrap_or_default();
            let kept = if links.parents.len() < limit { 0 } else { references.len().saturating_sub(1) };
            let mut before = NONE;
            for id in references.get(kept..).unwrap_or_default() {
                let node = *nodes.entry(*id).or_insert_with(|| links.add());
                if before != NONE && links.parent(node) == NONE {
                    links.link(before, node);
                }
                before = node;
            }
            let message = number(message);
            if before != NONE && before != message && !links.is_above(message, before) {
                links.unlink(message);
                links.set(before, message);
            }
        }
        links
    }

    fn add(&mut self) -> u32 {
        self.parents.push(NONE);
        self.children.push(0);
        number(self.parents.len() - 1)
    }

    fn parent(&self, node: u32) -> u32 {
        self.parents.get(place(node)).copied().unwrap_or(NONE)
    }

    /// Unless it would close a loop.
    fn link(&mut self, parent: u32, child: u32) {
        if parent != child && !self.is_above(child, parent) {
            self.set(parent, child);
        }
    }

    fn set(&mut self, parent: u32, child: u32) {
        if let (Some(of), Some(count)) =
            (self.parents.get_mut(place(child)), self.children.get_mut(place(parent)))
        {
            *of = parent;
            *count += 1;
        }
    }

    fn unlink(&mut self, child: u32) {
        let parent = self.parent(child);
        if let Some(count) = self.children.get_mut(place(parent)).filter(|_| parent != NONE) {
            *count -= 1;
        }
        if let Some(of) = self.parents.get_mut(place(child)) {
            *of = NONE;
        }
    }

    /// Whether `node` is one of those that `other` answers in the end. When too many steps were taken, it may be.
    fn is_above(&mut self, node: u32, other: u32) -> bool {
        if self.children.get(place(node)).is_none_or(|count| *count == 0) {
            return false;
        }
        let mut at = self.parent(other);
        while at != NONE && at != node {
            let Some(left) = self.steps.checked_sub(1) else { return true };
            self.steps = left;
            at = self.parent(at);
        }
        at == node
    }

    /// Steps 2 and 3: ids without a message go, what answered them moves up; at the top it stays together. The parents
    /// of the messages, and the threads.
    fn prune(mut self, messages: usize) -> (Vec<u32>, Vec<Vec<u32>>) {
        let mut threads: Vec<Vec<u32>> = Vec::new();
        let mut groups: HashMap<u32, usize> = HashMap::new();
        let mut parents = vec![NONE; messages];
        let mut path = Vec::new();
        for message in 0..number(messages) {
            // Up to the next message or the top.
            let (mut at, mut top) = (self.parent(message), NONE);
            while at != NONE && place(at) >= messages {
                path.push(at);
                top = at;
                at = self.parent(at);
            }
            // The way is short the next time.
            let end = if at == NONE { top } else { at };
            for passed in path.drain(..).filter(|passed| *passed != end) {
                if let Some(parent) = self.parents.get_mut(place(passed)) {
                    *parent = end;
                }
            }
            if at != NONE {
                if let Some(parent) = parents.get_mut(place(message)) {
                    *parent = at;
                }
            } else if top == NONE {
                threads.push(vec![message]);
            } else {
                let group = *groups.entry(top).or_insert_with(|| {
                    threads.push(Vec::new());
                    threads.len() - 1
                });
                if let Some(thread) = threads.get_mut(group) {
                    thread.push(message);
                }
            }
        }
        (parents, threads)
    }
}

/// Step 5 of REFERENCES: threads of one base subject become one.
fn collect_by_subject(entries: &[Entry], mut threads: Vec<Vec<u32>>, parents: &mut [u32]) -> Vec<Vec<u32>> {
    let root = |thread: &[u32]| thread.first().and_then(|root| entries.get(place(*root)));
    let topic = |thread: &[u32]| root(thread).and_then(|entry| entry.topic);
    let is_dummy = |thread: &[u32]| thread.len() > 1;
    let is_reply = |thread: &[u32]| root(thread).is_some_and(|entry| entry.is_reply);
    // The one that the others of its subject come to.
    let mut table: HashMap<i64, usize> = HashMap::new();
    for (at, thread) in threads.iter().enumerate() {
        let Some(topic) = topic(thread) else { continue };
        table
            .entry(topic)
            .and_modify(|first| {
                let known = threads.get(*first).map_or(&[][..], Vec::as_slice);
                let better = match (is_dummy(known), is_dummy(thread)) {
                    (true, _) => false,
                    (false, true) => true,
                    (false, false) => is_reply(known) && !is_reply(thread),
                };
                if better {
                    *first = at;
                }
            })
            .or_insert(at);
    }
    for at in 0..threads.len() {
        let Some(first) = threads.get(at).and_then(|thread| table.get(&topic(thread)?)).copied() else {
            continue;
        };
        if first == at {
            continue;
        }
        let mut moved = threads.get_mut(at).map(std::mem::take).unwrap_or_default();
        let Some(target) = threads.get_mut(first) else { continue };
        match (is_dummy(target), target.first().copied(), moved.first().copied()) {
            (false, Some(parent), Some(child)) if is_reply(&moved) && !is_reply(target) => {
                if let Some(of) = parents.get_mut(place(child)) {
                    *of = parent;
                }
            }
            // Side by side, answering one that is not there.
            _ => target.append(&mut moved),
        }
    }
    threads.retain(|thread| !thread.is_empty());
    threads
}

#[cfg(test)]
mod tests;
