//! A client that reads a whole mailbox, of ours and, beside it, of Dovecot's.

use std::path::Path;

use crate::{
    aims::{Aims, Bound},
    beside::{self, Server, in_turns, milliseconds},
    dovecot::{Dovecot, Serves},
    failure::Failure,
    imap::Client,
    instance::{ACCOUNT, Instance, PASSWORD},
};

/// Each command so many times; the median counts.
const TIMES: usize = 21;

const SELECT: &str = "SELECT INBOX";

/// What is asked of all messages.
const COMMANDS: [(&str, &str); 5] = [
    ("SELECT", SELECT),
    ("UID FLAGS", "FETCH 1:* (UID FLAGS)"),
    ("ENVELOPE", "FETCH 1:* (ENVELOPE)"),
    ("BODYSTRUCTURE", "FETCH 1:* (BODYSTRUCTURE)"),
    ("BODY.PEEK[]", "FETCH 1:* (BODY.PEEK[])"),
];

/// Every command, on a mailbox of so many messages and the one that woke the account; Dovecot gets them in `directory`.
pub(crate) fn measure(
    instance: &Instance,
    messages: usize,
    directory: &Path,
    aims: &mut Aims,
) -> Result<(), Failure> {
    let there = messages + 1;
    let mut client = Client::login(instance.imap(), ACCOUNT, PASSWORD)?;
    client.command(SELECT)?;
    let texts = client.literals("FETCH 1:* (BODY.PEEK[])")?;
    let dovecot = Dovecot::start(directory, Serves::Messages(&texts))?;
    drop((client, texts));
    let own = || instance.processes();
    let mut servers = vec![Server::login(instance.imap(), &own)?];
    let title = format!("IMAP, {messages} x 2 KB");
    let processes;
    match &dovecot {
        Ok(dovecot) => {
            beside::heading(&title, Some(&format!("Dovecot {}", dovecot.version)));
            processes = || dovecot.processes();
            let mut theirs = Server::login(dovecot.imap(), &processes)?;
            // It reads every message once for its index: nobody's figure.
            for (_, command) in COMMANDS {
                theirs.client.command(command)?;
            }
            servers.push(theirs);
        }
        Err(_) => beside::heading(&title, None),
    }
    for server in &mut servers {
        server.client.command(SELECT)?;
    }
    for (name, command) in COMMANDS {
        let expected = if command == SELECT { (there, 0) } else { (0, there) };
        let mut ask = |server: &mut Server<'_>| {
            let answer = server.client.command(command)?;
            match (answer.exists, answer.fetched) == expected {
                true => Ok(answer.octets),
                false => Err(Failure::new(format!("{command}: {answer:?}, but {expected:?} was due"))),
            }
        };
        let took = in_turns(&mut servers, TIMES, &mut |_| Ok(()), &mut ask, &mut |_| Ok(()))?;
        beside::row(name, &took);
        beside::judge(aims, format!("{name} of {messages} x 2 KB, Dovecot's"), &took);
        if let ([ours, theirs], true) = (took.as_slice(), command != SELECT) {
            let (bound, here) = (milliseconds(theirs.processor), milliseconds(ours.processor));
            aims.add("  its server CPU", Bound::AtMost(bound), "ms", here);
        }
    }
    if let Err(why) = dovecot {
        crate::line(format_args!("{why}: nothing beside these rows"));
    }
    Ok(())
}
