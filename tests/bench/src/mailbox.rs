//! What clients do all day with a large mailbox, of ours and, beside it, of Dovecot's.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::{
    aims::Aims,
    beside::{self, Server, in_turns},
    dovecot::{Dovecot, Serves},
    failure::Failure,
    imap::Client,
    instance::{ACCOUNT, Instance, PASSWORD},
    letter::letter,
    smtp,
};

/// Over how many connections it is filled.
const FILLERS: usize = 10;
/// Messages of the rows that append.
const APPENDED: usize = 200;
/// Messages that change while a client is away.
const CHANGED: usize = 100;
/// Mailboxes whose STATUS is asked for.
const MAILBOXES: usize = 500;

/// A command that leaves the mailbox as it was.
struct Asked {
    name: &'static str,
    command: &'static str,
    times: usize,
}

const ASKED: &[Asked] = &[
    Asked { name: "SELECT", command: "SELECT INBOX", times: 9 },
    Asked { name: "UID FLAGS", command: "FETCH 1:* (UID FLAGS)", times: 5 },
    Asked { name: "ENVELOPE", command: "FETCH 1:* (ENVELOPE)", times: 5 },
    Asked { name: "BODYSTRUCTURE", command: "FETCH 1:* (BODYSTRUCTURE)", times: 5 },
    Asked { name: "BODY.PEEK[HEADER]", command: "FETCH 1:* (BODY.PEEK[HEADER])", times: 3 },
    Asked { name: "BODY.PEEK[]", command: "FETCH 1:* (BODY.PEEK[])", times: 3 },
    Asked { name: "SEARCH FLAGGED", command: "SEARCH FLAGGED", times: 9 },
    Asked { name: "SEARCH SENTSINCE", command: "SEARCH SENTSINCE 1-Feb-2024", times: 5 },
    Asked { name: "SEARCH FROM", command: "SEARCH FROM \"person77@\"", times: 5 },
    Asked { name: "SEARCH SUBJECT", command: "SEARCH SUBJECT \"theatre and\"", times: 5 },
    Asked { name: "SORT (ARRIVAL)", command: "SORT (ARRIVAL) UTF-8 ALL", times: 5 },
    Asked { name: "SORT (REVERSE DATE)", command: "SORT (REVERSE DATE) UTF-8 ALL", times: 5 },
    Asked { name: "SORT (SUBJECT)", command: "SORT (SUBJECT) UTF-8 ALL", times: 5 },
    Asked { name: "SORT (FROM)", command: "SORT (FROM) UTF-8 ALL", times: 5 },
    Asked { name: "THREAD REFERENCES", command: "THREAD REFERENCES UTF-8 ALL", times: 5 },
    Asked { name: "THREAD ORDEREDSUBJECT", command: "THREAD ORDEREDSUBJECT UTF-8 ALL", times: 5 },
];

/// One that changes it: commands before the one that counts, and behind it.
struct Changing {
    name: &'static str,
    before: &'static [&'static str],
    command: &'static str,
    behind: &'static [&'static str],
}

const CHANGING: &[Changing] = &[
    Changing {
        name: "STORE of all",
        before: &["SELECT INBOX"],
        command: "STORE 1:* +FLAGS.SILENT (\\Flagged)",
        behind: &["STORE 1:* -FLAGS.SILENT (\\Flagged)"],
    },
    Changing {
        name: "COPY of all",
        before: &["CREATE other", "SELECT INBOX"],
        command: "COPY 1:* other",
        behind: &[],
    },
    Changing {
        name: "EXPUNGE of all",
        before: &["SELECT other", "STORE 1:* +FLAGS.SILENT (\\Deleted)"],
        command: "EXPUNGE",
        behind: &[],
    },
    Changing {
        name: "MOVE of all",
        before: &["SELECT INBOX"],
        command: "MOVE 1:* other",
        behind: &["SELECT other", "MOVE 1:* INBOX", "SELECT INBOX", "DELETE other"],
    },
];

/// Each row, on a mailbox of so many letters; Dovecot gets the same in `directory`.
pub(crate) fn measure(
    instance: &Instance,
    messages: usize,
    directory: &Path,
    aims: &mut Aims,
) -> Result<(), Failure> {
    fill(instance, messages)?;
    let letters: Vec<_> = (0..messages).map(|number| letter(number).into_bytes()).collect();
    let dovecot = Dovecot::start(directory, Serves::Messages(&letters))?;
    drop(letters);
    let own = || instance.processes();
    let mut servers = vec![Server::login(instance.imap(), &own)?];
    let title = format!("IMAP, {messages} letters");
    let processes;
    match &dovecot {
        Ok(dovecot) => {
            beside::heading(&title, Some(&format!("Dovecot {}", dovecot.version)));
            processes = || dovecot.processes();
            servers.push(Server::login(dovecot.imap(), &processes)?);
        }
        Err(_) => beside::heading(&title, None),
    }
    let mut bench = Rows { servers, messages, aims };
    bench.asked()?;
    bench.changing()?;
    bench.appending()?;
    bench.status()?;
    bench.resynchronising()?;
    bench.told()?;
    if let Err(why) = dovecot {
        crate::line(format_args!("{why}: nothing beside these rows"));
    }
    opened(instance, messages)
}

fn fill(instance: &Instance, messages: usize) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let fill = || {
            let mut client = smtp::Client::connect(instance.smtp())?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= messages {
                    return Ok::<_, Failure>(());
                }
                client.deliver(&letter(number))?;
            }
        };
        let threads: Vec<_> = (0..FILLERS).map(|_| scope.spawn(fill)).collect();
        threads.into_iter().try_for_each(joined)
    })
}

fn joined(thread: thread::ScopedJoinHandle<'_, Result<(), Failure>>) -> Result<(), Failure> {
    thread.join().map_err(|_| Failure::new("a client's thread panicked"))?
}

/// The servers, and what their rows are about.
struct Rows<'a, 'b> {
    servers: Vec<Server<'a>>,
    messages: usize,
    aims: &'b mut Aims,
}

impl Rows<'_, '_> {
    fn row(
        &mut self,
        name: &str,
        times: usize,
        before: &mut dyn FnMut(&mut Server<'_>) -> Result<(), Failure>,
        act: &mut dyn FnMut(&mut Server<'_>) -> Result<usize, Failure>,
        behind: &mut dyn FnMut(&mut Server<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let took = in_turns(&mut self.servers, times, before, act, behind)?;
        beside::row(name, &took);
        beside::judge(self.aims, format!("{name}, {} letters, Dovecot's", self.messages), &took);
        Ok(())
    }

    fn asked(&mut self) -> Result<(), Failure> {
        let messages = self.messages;
        for server in &mut self.servers {
            let there = server.client.command("SELECT INBOX")?.exists;
            if there != messages {
                return Err(Failure::new(format!("{there} messages are there, not {messages}")));
            }
            // A server may read everything once for its index: nobody's figure.
            for Asked { command, .. } in ASKED {
                server.client.command(command)?;
            }
        }
        for Asked { name, command, times } in ASKED {
            let mut ask = |server: &mut Server<'_>| {
                let answer = server.client.command(command)?;
                if command.starts_with("FETCH") && answer.fetched != messages {
                    return Err(Failure::new(format!("{command}: {answer:?}, but of {messages} it was due")));
                }
                Ok(answer.octets)
            };
            self.row(name, *times, &mut nothing, &mut ask, &mut nothing)?;
        }
        Ok(())
    }

    fn changing(&mut self) -> Result<(), Failure> {
        for Changing { name, before, command, behind } in CHANGING {
            let all = |commands: &'static [&'static str]| {
                move |server: &mut Server<'_>| {
                    commands.iter().try_for_each(|command| server.client.command(command).map(drop))
                }
            };
            let mut ask = |server: &mut Server<'_>| Ok(server.client.command(command)?.octets);
            self.row(name, 1, &mut all(before), &mut ask, &mut all(behind))?;
        }
        Ok(())
    }

    fn appending(&mut self) -> Result<(), Failure> {
        let letters: Vec<_> = (0..APPENDED).map(letter).collect();
        let mut made = |server: &mut Server<'_>| server.client.command("CREATE appended").map(drop);
        let mut gone = |server: &mut Server<'_>| server.client.command("DELETE appended").map(drop);
        let mut one = |server: &mut Server<'_>| {
            letters.iter().try_for_each(|letter| server.client.append("appended", &[letter]).map(drop))?;
            Ok(0)
        };
        self.row(&format!("APPEND, {APPENDED} times"), 3, &mut made, &mut one, &mut gone)?;
        let mut many = |server: &mut Server<'_>| append_at_once(server.address, &letters).map(|()| 0);
        self.row("  the same over 10 connections", 3, &mut made, &mut many, &mut gone)?;
        let texts: Vec<_> = letters.iter().map(String::as_str).collect();
        let mut whole = |server: &mut Server<'_>| Ok(server.client.append("appended", &texts)?.octets);
        self.row("  the same by MULTIAPPEND", 3, &mut made, &mut whole, &mut gone)
    }

    fn status(&mut self) -> Result<(), Failure> {
        for server in &mut self.servers {
            for number in 0..MAILBOXES {
                server.client.command(&format!("CREATE box{number}"))?;
            }
        }
        let mut ask = |server: &mut Server<'_>| {
            let command = "LIST \"\" box* RETURN (STATUS (MESSAGES UNSEEN UIDNEXT UIDVALIDITY))";
            Ok(server.client.command(command)?.octets)
        };
        self.row(&format!("STATUS of {MAILBOXES} mailboxes"), 9, &mut nothing, &mut ask, &mut nothing)
    }
}

impl Rows<'_, '_> {
    /// A client comes back after another has changed something (RFC 7162 §3.2.5).
    fn resynchronising(&mut self) -> Result<(), Failure> {
        for server in &mut self.servers {
            server.client.command("ENABLE QRESYNC")?;
        }
        let mut leave = |server: &mut Server<'_>| {
            let answer = server.client.command("SELECT INBOX")?;
            server.known = (answer.uid_validity, answer.highest_modseq);
            server.client.command("UNSELECT")?;
            let mut other = Client::login(server.address, ACCOUNT, PASSWORD)?;
            other.command("SELECT INBOX")?;
            for change in ["-FLAGS.SILENT", "+FLAGS.SILENT"] {
                other.command(&format!("STORE 1:{CHANGED} {change} (\\Answered)"))?;
            }
            other.logout()
        };
        let mut come_back = |server: &mut Server<'_>| {
            let (uid_validity, modseq) = server.known;
            let answer =
                server.client.command(&format!("SELECT INBOX (QRESYNC ({uid_validity} {modseq}))"))?;
            match answer.fetched {
                CHANGED => Ok(answer.octets),
                _ => Err(Failure::new(format!("QRESYNC: {answer:?}, but of {CHANGED} messages it was due"))),
            }
        };
        let mut close = |server: &mut Server<'_>| server.client.command("UNSELECT").map(drop);
        self.row(&format!("QRESYNC, {CHANGED} changed"), 9, &mut leave, &mut come_back, &mut close)
    }

    /// From the end of an APPEND to EXISTS in another session that waits in IDLE (RFC 2177).
    fn told(&mut self) -> Result<(), Failure> {
        let mut waiting = HashMap::new();
        for server in &mut self.servers {
            let mut client = Client::login(server.address, ACCOUNT, PASSWORD)?;
            client.command("SELECT INBOX")?;
            client.idle()?;
            waiting.insert(server.address, client);
        }
        let text = letter(1);
        let mut append = |server: &mut Server<'_>| {
            server.client.append("INBOX", &[&text])?;
            let client = waiting.get_mut(&server.address).ok_or_else(|| Failure::new("nobody waits"))?;
            client.exists().map(|_| 0)
        };
        self.row("APPEND to EXISTS in IDLE", 51, &mut nothing, &mut append, &mut nothing)
    }
}

fn nothing(_: &mut Server<'_>) -> Result<(), Failure> {
    Ok(())
}

fn append_at_once<T: AsRef<str> + Sync>(server: SocketAddr, letters: &[T]) -> Result<(), Failure> {
    let append = |some: &[T]| {
        let mut client = Client::login(server, ACCOUNT, PASSWORD)?;
        some.iter().try_for_each(|letter| client.append("appended", &[letter.as_ref()]).map(drop))
    };
    thread::scope(|scope| {
        let append = &append;
        let shares = letters.chunks(letters.len().div_ceil(10).max(1));
        let threads: Vec<_> = shares.map(|some| scope.spawn(move || append(some))).collect();
        threads.into_iter().try_for_each(joined)
    })
}

/// What it takes of the account's process to have the mailbox open once more.
fn opened(instance: &Instance, messages: usize) -> Result<(), Failure> {
    const SESSIONS: usize = 10;
    let mut clients = (0..SESSIONS).map(|_| Client::login(instance.imap(), ACCOUNT, PASSWORD));
    let mut clients = clients.by_ref().collect::<Result<Vec<_>, _>>()?;
    let private = || instance.processes()?.most_private("mox-accountd");
    for client in &mut clients {
        client.command("NOOP")?;
    }
    let before = private()?;
    for client in &mut clients {
        client.command("SELECT INBOX")?;
    }
    let each = private()?.saturating_sub(before) / SESSIONS as u64;
    crate::line(format_args!(
        "a session with a mailbox of {messages} open: {each} KiB more of the account's process"
    ));
    Ok(())
}
