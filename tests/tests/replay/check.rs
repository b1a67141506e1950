//! Opens what a crash may have left, as the processes do, at every moment of a record.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    sync::{Mutex, mpsc},
    thread,
};

use moxd_tests::mail::behind_prefix;
use queued::Queue;
use rusqlite::Connection;
use store_lib::{Budget, MailboxName, Problem, Store, StoreError};

use crate::{
    disk::{Dice, Disk, World},
    record::Line,
};

/// The hash of a message as the client sent it.
pub(crate) type Message = [u8; 32];

/// Whose directory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Account,
    Queue,
}

/// What a crash left of what was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Left {
    /// All of it: the process was killed.
    All,
    /// Only what had been synced.
    Synced,
    /// That, and some of the rest, whole or torn.
    Some,
}

/// How much is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// [`Left::All`], at every step.
    pub(crate) all: bool,
    /// [`Left::Some`], about so many.
    pub(crate) some: usize,
}

/// From a moment to the next: what is there whatever a crash leaves.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) from: Line,
    pub(crate) kept: BTreeSet<Message>,
}

/// A state that is not as it must be.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) at: Line,
    pub(crate) left: Left,
    pub(crate) why: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a crash behind line {} of the record that leaves {:?}: {}", self.at, self.left, self.why)
    }
}

/// A state to be looked at; without a disk the directory itself is not there.
struct Task {
    span: usize,
    left: Left,
    disk: Option<Disk>,
}

/// Looks at all states of a world. How many it were, and what each span keeps.
pub(crate) fn replay(
    world: &World,
    data: &Path,
    place: Place,
    extent: Extent,
) -> Result<(usize, Vec<Span>), Broken> {
    let moments = world.moments();
    let (tasks, todo) = mpsc::sync_channel::<Task>(4);
    let todo = Mutex::new(todo);
    let found = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let scratch = scratch();
                let directory = scratch.path().join("state");
                loop {
                    // The guard goes at once: the others take theirs.
                    let Ok(task) = todo.lock().unwrap().recv() else { break };
                    let looked = match &task.disk {
                        None => Ok(BTreeSet::new()),
                        Some(disk) => {
                            disk.write(&world.root, &directory);
                            place.look(&directory)
                        }
                    };
                    found.lock().unwrap().push((task.span, task.left, looked));
                }
            });
        }
        give_out(world, data, &moments, extent, &tasks);
        drop(tasks);
    });
    let mut found = found.into_inner().unwrap();
    found.sort_by_key(|(span, left, _)| (*span, *left));
    let states = found.len();
    let mut found = found.into_iter().peekable();
    let (mut spans, mut lasting) = (Vec::new(), BTreeMap::new());
    for (at, from) in moments.iter().enumerate() {
        let mut kept: Option<BTreeSet<Message>> = None;
        let mut keep = |also: &BTreeSet<Message>| {
            kept = Some(kept.take().map_or_else(|| also.clone(), |kept| &kept & also));
        };
        while let Some((_, left, looked)) = found.next_if(|(span, ..)| *span == at) {
            let looked = looked.map_err(|why| Broken { at: *from, left, why })?;
            if left == Left::Some {
                keep(&looked);
            } else {
                // In force until the next of its kind.
                lasting.insert(left, looked);
            }
        }
        lasting.values().for_each(&mut keep);
        spans.push(Span { from: *from, kept: kept.unwrap_or_default() });
    }
    Ok((states, spans))
}

/// Goes through the moments and hands out what a crash may leave then.
fn give_out(world: &World, data: &Path, moments: &[Line], extent: Extent, tasks: &mpsc::SyncSender<Task>) {
    let (mut all, mut synced, mut dice) = (Disk::default(), Disk::default(), Dice(1));
    let give = |span: usize, left: Left, disk: &Disk| {
        let disk = disk.has(&world.root, data).then(|| disk.clone());
        tasks.send(Task { span, left, disk }).expect("somebody looks");
    };
    for (span, at) in moments.iter().enumerate() {
        let begun = world.steps.iter().filter(|step| step.begun == *at);
        let begun = begun.inspect(|step| all.apply(&step.change)).count();
        if begun > 0 && extent.all {
            give(span, Left::All, &all);
        }
        let certain = world.steps.iter().filter(|step| step.certain == Some(*at));
        let certain = certain.inspect(|step| synced.apply(&step.change)).count();
        if certain > 0 || span == 0 {
            give(span, Left::Synced, &synced);
        }
        if extent.some > 0 && dice.below(moments.len()) < extent.some {
            let mut some = synced.clone();
            let mut closed = BTreeSet::new();
            let pending = |begun: Line, certain: Option<Line>| {
                begun <= *at && certain.is_none_or(|certain| certain > *at)
            };
            for step in world.steps.iter().filter(|step| pending(step.begun, step.certain)) {
                match step.change.directory() {
                    // Names of a directory come in their order.
                    Some(directory) => {
                        if closed.contains(directory) || dice.one_in(3) {
                            closed.insert(directory);
                        } else {
                            some.apply(&step.change);
                        }
                    }
                    None => match dice.below(3) {
                        0 => {}
                        1 => some.apply(&step.change),
                        _ => step.change.torn(&mut dice).iter().for_each(|part| some.apply(part)),
                    },
                }
            }
            give(span, Left::Some, &some);
        }
    }
}

/// In memory, where there is such a place: thousands of states are synced in it.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("moxd-replay-").tempdir_in(place).expect("a directory")
}

impl Place {
    /// Opens the directory as its process does: what it has, or what is wrong.
    pub(crate) fn look(self, directory: &Path) -> Result<BTreeSet<Message>, String> {
        let list = match self {
            Self::Account => account(directory).map_err(|error| error.to_string())?,
            Self::Queue => queue(directory).map_err(|error| error.to_string())?,
        };
        let (count, messages) = (list.len(), BTreeSet::from_iter(list));
        if messages.len() != count {
            return Err(format!("{count} messages, of which only {} are different", messages.len()));
        }
        Ok(messages)
    }
}

fn account(directory: &Path) -> Result<Vec<Message>, Box<dyn std::error::Error>> {
    let store = Store::open(directory)?;
    let report = store.verify()?;
    // What no row names is waste, no loss.
    let problems: Vec<_> =
        report.problems.iter().filter(|problem| !matches!(problem, Problem::Orphan(_))).collect();
    if let Some(problem) = problems.first() {
        return Err(format!("{problem} (and {} more)", problems.len() - 1).into());
    }
    let messages = store.read(&Budget::default(), |reader| {
        let inbox = reader.find(&MailboxName::inbox())?.ok_or(StoreError::NoSuchMailbox)?;
        let mut messages = Vec::new();
        for uid in reader.uids(inbox.id)? {
            let body = reader.body(inbox.id, uid)?.ok_or(StoreError::NoSuchMailbox)?;
            let mut octets = vec![0; usize::try_from(body.size()).unwrap()];
            let read = body.read_at(0, &mut octets)?;
            messages.push(*blake3::hash(behind_prefix(&octets[..read])).as_bytes());
        }
        Ok(messages)
    })?;
    store.close()?;
    Ok(messages)
}

fn queue(directory: &Path) -> Result<Vec<Message>, Box<dyn std::error::Error>> {
    drop(Queue::open(directory)?);
    let database = Connection::open(directory.join("queue.sqlite"))?;
    let mut statement = database.prepare(
        "SELECT id, hash, octets FROM message LEFT JOIN body ON body.message = message.id
         WHERE id IN (SELECT message FROM recipient)",
    )?;
    let mut rows = statement.query(())?;
    let mut messages = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, hash): ([u8; 16], Message) = (row.get(0)?, row.get(1)?);
        let id: String = id.iter().map(|octet| format!("{octet:02x}")).collect();
        let octets = match row.get(2)? {
            Some(octets) => octets,
            None => std::fs::read(directory.join(format!("message-{id}")))
                .map_err(|error| format!("the file of {id}: {error}"))?,
        };
        if *blake3::hash(&octets).as_bytes() != hash {
            return Err(format!("{id} has other octets").into());
        }
        messages.push(hash);
    }
    Ok(messages)
}

/// Every message that a client was told is kept is there from then on: in the account or in the queue.
pub(crate) fn all_kept(
    told: &BTreeMap<Line, Message>,
    account: &[Span],
    queue: &[Span],
) -> Result<(), Broken> {
    let in_force = |spans: &[Span], at: Line| spans.partition_point(|span| span.from <= at).saturating_sub(1);
    for (line, message) in told {
        for place in in_force(account, *line)..account.len() {
            if account[place].kept.contains(message) {
                continue;
            }
            let from = account[place].from.max(*line);
            let until = account.get(place + 1).map_or(Line::MAX, |next| next.from);
            let queued = &queue[in_force(queue, from)..];
            let meanwhile: Vec<_> = queued.iter().take_while(|span| span.from < until).collect();
            if meanwhile.is_empty() || !meanwhile.iter().all(|span| span.kept.contains(message)) {
                let why = format!("the message that the client was told of at line {line} is gone");
                return Err(Broken { at: from, left: Left::Some, why });
            }
        }
    }
    Ok(())
}
