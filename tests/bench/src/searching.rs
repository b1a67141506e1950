//! Searching in texts: how the index is made, and what SEARCH costs with it, without it, and in Dovecot.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    aims::{Aims, Bound},
    dovecot::{Dovecot, Serves},
    failure::Failure,
    imap::Client,
    instance::{ACCOUNT, Instance, PASSWORD},
    mail::{self, RARE, RARE_SUBJECT, RARE_WORD},
    processes::Processes,
    smtp,
};

/// Connections that deliver.
const CONNECTIONS: usize = 10;

/// The index is complete when its files have not changed for so long.
const STILL: Duration = Duration::from_secs(3);

/// Each search so many times, unless it takes longer than [`LONG`] each.
const TIMES: usize = 11;
const LONG: Duration = Duration::from_secs(1);

/// What is looked for, how often it is there in so many messages, and what ours is aimed at in 10,000, milliseconds.
struct Search {
    name: &'static str,
    command: String,
    found: fn(usize) -> usize,
    aim: Option<f64>,
}

fn searches() -> Vec<Search> {
    // How many of the numbers below `messages` leave this rest.
    fn with_rest(messages: usize, divisor: usize, rest: usize) -> usize {
        (messages + divisor - 1).saturating_sub(rest) / divisor
    }
    let search = |name, command: &str, found, aim| Search { name, command: command.to_owned(), found, aim };
    vec![
        search("TEXT, 1 in 500", &format!("TEXT {RARE_WORD}"), |all| with_rest(all, RARE, 11), Some(5.0)),
        search("BODY, 1 in 500", &format!("BODY {RARE_WORD}"), |all| with_rest(all, RARE, 11), Some(5.0)),
        search("TEXT, in none", "TEXT sesamkringel", |_| 0, Some(5.0)),
        search(
            "SUBJECT, 1 in 500",
            &format!("SUBJECT {RARE_SUBJECT}"),
            |all| with_rest(all, RARE, 7),
            Some(2.0),
        ),
        search("FROM, in none", "FROM nobody@nowhere.example", |_| 0, Some(2.0)),
        search("TEXT, in all", "TEXT mox@localhost", |all| all, None),
        search("TEXT, 2 octets", "TEXT \"%%\"", |_| 0, None),
        search("UNSEEN SMALLER 1", "UNSEEN SMALLER 1", |_| 0, None),
        search("SINCE", "SINCE 1-Jan-2100", |_| 0, None),
    ]
}

/// Delivers until there are `messages`, waits for the index, and searches; Dovecot gets the same in `beside`.
pub(crate) fn measure(
    instance: &Instance,
    directory: &Path,
    messages: usize,
    beside: &Path,
    aims: &mut Aims,
) -> Result<(), Failure> {
    let mut client = Client::login(instance.imap(), ACCOUNT, PASSWORD)?;
    let there = client.command("SELECT INBOX")?.exists;
    let before = instance.processes()?.processor_time()?;
    let octets = deliver(instance.smtp(), there..messages)?;
    let delivered = instance.processes()?.processor_time()?;
    let begun = Instant::now();
    let (size, changed) = await_index(directory)?;
    let indexed = instance.processes()?.processor_time()?;
    let each = |time: Duration| time.as_secs_f64() * 1000.0 / number(messages - there);
    crate::line(format_args!(
        "\nsearch index: {} messages, {:.1} MB more; delivered with {:.3} ms server CPU a message, {:.3} more behind it, \
         complete {:.1} s after the last; {:.1} MB in all",
        messages - there,
        number(octets) / 1e6,
        each(delivered.saturating_sub(before)),
        each(indexed.saturating_sub(delivered)),
        changed.saturating_duration_since(begun).as_secs_f64(),
        number(size) / 1e6,
    ));
    client.command("SELECT INBOX")?;
    let own = || instance.processes();
    let mut ours = Server { client, processes: &own };
    let texts: Vec<Vec<u8>> = (0..messages).map(|number| mail::message(number).into_bytes()).collect();
    let dovecot = Dovecot::start(beside, Serves::Messages(&texts))?;
    drop(texts);
    let mut theirs = None;
    let theirs_processes;
    match &dovecot {
        Ok(dovecot) => {
            theirs_processes = || dovecot.processes();
            let mut client = Client::login(dovecot.imap(), ACCOUNT, PASSWORD)?;
            client.command("SELECT INBOX")?;
            // Its index and cache, before anything counts.
            client.command("FETCH 1:* (ENVELOPE RFC822.SIZE)")?;
            theirs = Some(Server { client, processes: &theirs_processes });
        }
        Err(why) => crate::line(format_args!("{why}: nothing beside these rows")),
    }
    let version = dovecot
        .as_ref()
        .map_or(String::new(), |dovecot| format!("Dovecot {}: ms   server CPU ms", dovecot.version));
    crate::line(format_args!(
        "{:<20} {:>9} {:>8} {:>15}   {version}",
        format!("SEARCH, {messages}"),
        "hits",
        "ms",
        "server CPU ms"
    ));
    for search in searches() {
        let hits = (search.found)(messages);
        let here = ours.take(&search, hits)?;
        let mut text = format!("{:<20} {hits:>9} {:>8.1} {:>15.1}", search.name, here.0, here.1);
        if let Some(theirs) = &mut theirs {
            let there = theirs.take(&search, hits)?;
            text.push_str(&format!(" {:>26.1} {:>15.1}", there.0, there.1));
            aims.add(
                format!("SEARCH {} of {messages}, Dovecot's", search.name),
                Bound::AtMost(there.0),
                "ms",
                here.0,
            );
        }
        if let (Some(aim), 10_000) = (search.aim, messages) {
            aims.add(format!("SEARCH {} of {messages}", search.name), Bound::AtMost(aim), "ms", here.0);
        }
        crate::line(format_args!("{text}"));
    }
    drop(theirs);
    drop(dovecot);
    fs::remove_dir_all(beside).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(Failure::io(beside.display().to_string(), error)),
    })
}

/// One server, as the client sees it.
struct Server<'a> {
    client: Client,
    processes: &'a dyn Fn() -> Result<Processes, Failure>,
}

impl Server<'_> {
    /// The median time and the mean of processor time, milliseconds.
    fn take(&mut self, search: &Search, hits: usize) -> Result<(f64, f64), Failure> {
        let command = format!("SEARCH {}", search.command);
        let before = (self.processes)()?.processor_time()?;
        let mut times = Vec::new();
        while times.len() < TIMES && !(times.len() >= 3 && times.iter().max() > Some(&LONG)) {
            let begun = Instant::now();
            let answer = self.client.command(&command)?;
            times.push(begun.elapsed());
            if answer.found != hits {
                return Err(Failure::new(format!("{command}: {answer:?}, but {hits} are due")));
            }
        }
        let processor = (self.processes)()?.processor_time()?.saturating_sub(before);
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        Ok((median.as_secs_f64() * 1000.0, processor.as_secs_f64() * 1000.0 / number(times.len())))
    }
}

/// Octets of all.
fn deliver(smtp: SocketAddr, numbers: std::ops::Range<usize>) -> Result<usize, Failure> {
    let (next, octets) = (AtomicUsize::new(numbers.start), AtomicUsize::new(0));
    let deliver = || {
        let mut client = smtp::Client::connect(smtp)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return Ok::<_, Failure>(());
            }
            let message = mail::message(number);
            octets.fetch_add(message.len(), Ordering::Relaxed);
            client.deliver(&message)?;
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(deliver)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| Failure::new("a client's thread panicked"))?)
    })?;
    Ok(octets.into_inner())
}

/// How large the index is, and when it last changed.
fn await_index(directory: &Path) -> Result<(usize, Instant), Failure> {
    let accounts = directory.join("accounts");
    let failed = |error| Failure::io(accounts.display().to_string(), error);
    let account = fs::read_dir(&accounts).map_err(failed)?.next();
    let account: PathBuf = account.ok_or_else(|| Failure::new("no account"))?.map_err(failed)?.path();
    let size = |name: &str| fs::metadata(account.join(name)).map_or(0, |found| found.len());
    let state = || {
        let changed = |name: &str| fs::metadata(account.join(name)).and_then(|found| found.modified()).ok();
        (size("search.sqlite"), changed("search.sqlite"), changed("search.sqlite-wal"))
    };
    let (mut last, mut since) = (state(), Instant::now());
    while since.elapsed() < STILL {
        thread::sleep(Duration::from_millis(50));
        let now = state();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    let size = size("search.sqlite") + size("search.sqlite-wal");
    Ok((usize::try_from(size).unwrap_or(usize::MAX), since))
}

fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
