//! Reading an IMAP server: log in, list, and fetch what is not known yet, mailbox by mailbox. EXAMINE and BODY.PEEK
//! change nothing there.

mod client;
mod tls;

use std::{fs::File, net::TcpStream, os::fd::OwnedFd, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ipc_proto::{
    reader::{FromReader, ImapJob, ImapTls, SourceMailbox},
    transfer::{MailHead, NAMES},
};

use super::{
    begin,
    link::{Link, Stop},
};
use crate::imap::{
    Event, Fetched, Listed, State, Status, fetched, key, number_in, prefix, quoted, set_of, status,
};
use client::{Client, Ended, Stream};

/// A server that says nothing for so long is gone. Reading a large mailbox can take a while before the first answer.
const PATIENCE: Duration = Duration::from_secs(180);
/// Messages that are asked for at once.
const AT_ONCE: usize = 250;
/// Mailboxes of a server.
const MAX_MAILBOXES: usize = 10_000;
/// Messages of a mailbox.
const MAX_MESSAGES: usize = 20_000_000;

pub(super) fn read(source: File, roots: Vec<Vec<u8>>, job: ImapJob, link: &mut Link) -> Result<(), Stop> {
    let socket = TcpStream::from(OwnedFd::from(source));
    let failed = |error: std::io::Error| Stop::source(format!("the connection: {error}"));
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    socket.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut client = connect(socket, &roots, &job)?;
    let capabilities = log_in(&mut client, &job)?;
    let has = |name: &str| capabilities.iter().any(|capability| capability.eq_ignore_ascii_case(name));
    let mut own = Vec::new();
    if has("NAMESPACE") {
        client.collect("NAMESPACE", |event| {
            if let Event::Data(tokens) = event {
                own = prefix(&tokens).unwrap_or_default();
            }
        })?;
    }
    let extended = has("LIST-EXTENDED");
    let (mailboxes, mut subscribed) = list(&mut client, extended, has("SPECIAL-USE"), &own)?;
    let wanted = |listed: &Listed| {
        let named = |name: &String| *name == listed.name || name.as_bytes() == listed.wire;
        listed.selectable && (job.mailboxes.is_empty() || job.mailboxes.iter().any(named))
    };
    let mailboxes: Vec<Listed> = mailboxes.into_iter().filter(wanted).collect();
    if let Some(missing) = job
        .mailboxes
        .iter()
        .find(|name| !mailboxes.iter().any(|listed| listed.name == **name || listed.wire == name.as_bytes()))
    {
        return Err(Stop::source(format!("the server has no mailbox {missing:?} to read")));
    }
    let mut totals = Status::default();
    for listed in &mailboxes {
        let name = quoted_name(&listed.wire)?;
        let items: &[u8] = if has("STATUS=SIZE") { b" (MESSAGES SIZE)" } else { b" (MESSAGES)" };
        client.try_collect(&[b"STATUS ", name.as_slice(), items].concat(), |event| {
            if let Event::Data(tokens) = event
                && let Some(status) = status(&tokens)
            {
                totals.messages = totals.messages.saturating_add(status.messages);
                totals.size = totals.size.saturating_add(status.size);
            }
        })?;
    }
    link.say(&FromReader::Totals { messages: totals.messages, octets: totals.size })?;
    for listed in &mailboxes {
        mailbox(&mut client, listed, link)?;
    }
    if job.mailboxes.is_empty() {
        subscribed.sort();
        subscribed.dedup();
        for names in subscribed.chunks(NAMES) {
            link.say(&FromReader::Subscribed(names.to_vec()))?;
        }
    }
    client.log_out();
    Ok(())
}

fn connect(socket: TcpStream, roots: &[Vec<u8>], job: &ImapJob) -> Result<Client, Stop> {
    match job.tls {
        ImapTls::Implicit => {
            let mut client = Client::new(Stream::Tls(tls::wrap(socket, roots, job)?));
            client.greeting()?;
            Ok(client)
        }
        ImapTls::None => {
            let mut client = Client::new(Stream::Plain(socket));
            client.greeting()?;
            Ok(client)
        }
        ImapTls::Starttls => {
            let mut client = Client::new(Stream::Plain(socket));
            // It logged in before TLS, as somebody: no STARTTLS can follow.
            if client.greeting()? == State::Preauth {
                return Err(Stop::source("the server logs in before TLS; use --tls implicit"));
            }
            client.collect("STARTTLS", |_| ())?;
            Ok(Client::new(Stream::Tls(tls::wrap(client.into_plain()?, roots, job)?)))
        }
    }
}

/// The capabilities behind the login.
fn log_in(client: &mut Client, job: &ImapJob) -> Result<Vec<String>, Stop> {
    if client.is_logged_in() {
        return client.capabilities();
    }
    let before = client.capabilities()?;
    let has = |name: &str| before.iter().any(|capability| capability.eq_ignore_ascii_case(name));
    let (user, password) = (job.user.as_bytes(), job.password.0.as_slice());
    let done = if has("AUTH=PLAIN") {
        let response = STANDARD.encode([b"\0", user, b"\0", password].concat());
        client.authenticate_plain(&response, has("SASL-IR"))?
    } else if has("LOGINDISABLED") {
        return Err(Stop::source(
            "the server has neither AUTH=PLAIN nor LOGIN on this connection; try another --tls",
        ));
    } else {
        match (quoted(user), quoted(password)) {
            (Some(user), Some(password)) => {
                client.run(&[b"LOGIN ", user.as_slice(), b" ", password.as_slice()].concat(), |_| ())?
            }
            _ => return Err(Stop::source("the user or the password has characters that LOGIN cannot send")),
        }
    };
    match done {
        Ended::Ok => client.capabilities(),
        Ended::Refused { code, text } => Err(Stop::Source {
            again: code.as_deref() == Some("UNAVAILABLE"),
            why: format!("the server refused the login: {text}"),
        }),
    }
}

/// Mailboxes in the order of their names here, INBOX first, and subscribed names.
fn list(
    client: &mut Client,
    extended: bool,
    special_use: bool,
    own: &[u8],
) -> Result<(Vec<Listed>, Vec<String>), Stop> {
    let mut listed: Vec<Listed> = Vec::new();
    let mut subscribed = Vec::new();
    let list = match (extended, special_use) {
        (true, true) => "LIST \"\" \"*\" RETURN (SUBSCRIBED SPECIAL-USE)",
        (true, false) => "LIST \"\" \"*\" RETURN (SUBSCRIBED)",
        (false, _) => "LIST \"\" \"*\"",
    };
    client.collect(list, |event| {
        if let Event::Data(tokens) = event
            && let Some(mailbox) = Listed::parse(&tokens, own)
            && listed.len() < MAX_MAILBOXES
        {
            if mailbox.subscribed {
                subscribed.push(mailbox.name.clone());
            }
            listed.push(mailbox);
        }
    })?;
    // With LIST-EXTENDED, too: names that are subscribed and no mailbox's are told here only.
    client.collect("LSUB \"\" \"*\"", |event| {
        if let Event::Data(tokens) = event
            && let Some(mailbox) = Listed::parse(&tokens, own)
            && subscribed.len() < 2 * MAX_MAILBOXES
        {
            subscribed.push(mailbox.name);
        }
    })?;
    listed.sort_by(|one, other| (one.name != "INBOX", &one.name).cmp(&(other.name != "INBOX", &other.name)));
    listed.dedup_by(|one, other| one.wire == other.wire);
    Ok((listed, subscribed))
}

fn mailbox(client: &mut Client, listed: &Listed, link: &mut Link) -> Result<(), Stop> {
    let (mut validity, mut next) = (0, 0);
    let name = quoted_name(&listed.wire)?;
    let examined = client.run(&[b"EXAMINE ", name.as_slice()].concat(), |event| {
        if let Event::State { code: Some(code), .. } = event {
            validity = number_in(&code, "UIDVALIDITY").unwrap_or(validity);
            next = number_in(&code, "UIDNEXT").unwrap_or(next);
        }
    })?;
    if let Ended::Refused { text, .. } = examined {
        return link.say(&FromReader::Left { what: format!("all of {}", listed.name), why: text });
    }
    let mut uids = uids(client)?;
    // A server without UIDNEXT: the next one is above all.
    let next = next.max(uids.last().map_or(1, |last| last.saturating_add(1)));
    let known = begin(
        link,
        SourceMailbox {
            source: String::from_utf8_lossy(&listed.wire).into_owned(),
            name: listed.name.clone(),
            special_use: listed.special_use.clone(),
            uids: (validity > 0).then_some((validity, next)),
            messages: uids.len() as u64,
        },
    )?;
    let Some(known) = known else { return Ok(()) };
    let all = uids.len();
    uids.retain(|uid| !known.contains(&key(validity, *uid)));
    drop(known);
    link.say(&FromReader::Known((all - uids.len()) as u64))?;
    uids.chunks(AT_ONCE).try_for_each(|uids| messages(client, validity, uids, link))
}

/// All UIDs of the mailbox, rising. By FETCH, a line for each: SEARCH would answer in one that has no bound.
fn uids(client: &mut Client) -> Result<Vec<u32>, Stop> {
    let mut uids = Vec::new();
    client.try_collect(b"UID FETCH 1:* (UID)", |event| {
        if let Event::Data(tokens) = event
            && let Some(Fetched { uid: uid @ 1.., .. }) = fetched(&tokens)
            && uids.len() < MAX_MESSAGES
        {
            uids.push(uid);
        }
    })?;
    uids.sort_unstable();
    uids.dedup();
    Ok(uids)
}

/// First what is known of them, since servers tell the parts of a message in the order they like.
fn messages(client: &mut Client, validity: u32, uids: &[u32], link: &mut Link) -> Result<(), Stop> {
    let set = set_of(uids);
    let mut heads: Vec<(u32, MailHead)> = Vec::with_capacity(uids.len());
    client.collect(&format!("UID FETCH {set} (UID FLAGS INTERNALDATE)"), |event| {
        if let Event::Data(tokens) = event
            && let Some(Fetched { uid: uid @ 1.., flags: Some(flags), received, .. }) = fetched(&tokens)
            && heads.len() < 2 * AT_ONCE
        {
            let received = received.unwrap_or_default();
            heads.push((uid, MailHead { key: key(validity, uid), uid: Some(uid), flags, received }));
        }
    })?;
    let mut told: Vec<u32> = Vec::with_capacity(uids.len());
    let mut current = None;
    client.stream(&format!("UID FETCH {set} (UID BODY.PEEK[])"), |event| {
        // Once each, and none that was not asked for.
        let mut wanted = |uid: u32| {
            let head = heads.iter().find(|(of, _)| *of == uid).filter(|_| !told.contains(&uid));
            head.map(|(_, head)| {
                told.push(uid);
                head.clone()
            })
        };
        match event {
            Event::Message { before, .. } => {
                current = fetched(before).and_then(|fetched| wanted(fetched.uid));
                current.iter().cloned().try_for_each(|head| link.begin(head))
            }
            Event::Octets(octets) if current.is_some() => link.octets(octets),
            Event::MessageEnd if current.take().is_some() => link.end(),
            Event::Data(tokens) => match fetched(&tokens) {
                Some(Fetched { uid, body: Some(body), .. }) => match wanted(uid) {
                    Some(head) => {
                        link.begin(head).and_then(|()| link.octets(&body)).and_then(|()| link.end())
                    }
                    None => Ok(()),
                },
                Some(_) | None => Ok(()),
            },
            Event::Octets(_) | Event::MessageEnd | Event::State { .. } | Event::Continue(_) => Ok(()),
        }
    })?;
    // Those that were expunged meanwhile are not there any more; the others the server did not give.
    for (uid, _) in heads.iter().filter(|(uid, _)| uids.contains(uid) && !told.contains(uid)) {
        link.say(&FromReader::Left {
            what: format!("UID {uid}"),
            why: "the server did not give it".to_owned(),
        })?;
    }
    Ok(())
}

fn quoted_name(wire: &[u8]) -> Result<Vec<u8>, Stop> {
    quoted(wire).ok_or_else(|| Stop::source("the server has a mailbox whose name no command can hold"))
}
