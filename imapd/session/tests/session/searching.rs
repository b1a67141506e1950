//! SEARCH with its index, without it, with one that is behind and with a damaged one: always the same answers.

use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::sample::Index;
use store_lib::Parse;

use crate::harness::{Account, Client};

/// Few characters, so that texts meet, and those whose cases are odd: Kelvin, dotted and dotless i, sigmas, sharp s,
/// combining dot, a character of two UTF-16 units.
const CHARS: [char; 22] = [
    'a',
    'b',
    'c',
    'i',
    'k',
    'I',
    'K',
    's',
    'S',
    'ß',
    '\u{1e9e}',
    '\u{212a}',
    '\u{130}',
    '\u{131}',
    'σ',
    'ς',
    'Σ',
    '\u{307}',
    'é',
    '日',
    '\u{1d11e}',
    ' ',
];

fn text(most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(&CHARS[..]), 0..=most)
        .prop_map(|chars| chars.into_iter().collect())
}

/// A part of a message: how it is written does not matter for what it says.
#[derive(Debug, Clone)]
struct Written {
    text: String,
    how: u8,
    html: bool,
    name: Option<String>,
}

#[derive(Debug, Clone)]
struct Mail {
    subject: String,
    odd: Option<String>,
    parts: Vec<Written>,
    /// Inside another message.
    forwarded: bool,
    /// Filed without being looked into.
    raw: bool,
    /// Octets that no standard has, behind it all.
    junk: Vec<u8>,
}

impl Written {
    fn to_part(&self) -> Vec<u8> {
        let text = if self.html {
            let halves = self.text.split_at(self.text.floor_char_boundary(self.text.len() / 2));
            format!("<p title=hidden>{}<b>{}</b><!-- abc --></p>", halves.0, halves.1)
        } else {
            self.text.clone()
        };
        let kind = if self.html { "html" } else { "plain" };
        let wide = text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
        let quoted: String = text.bytes().map(|octet| format!("={octet:02X}")).collect();
        let (charset, encoding, octets) = match self.how {
            0 => ("utf-8", "8bit", text.into_bytes()),
            1 => ("utf-8", "base64", STANDARD.encode(text).into_bytes()),
            2 => ("utf-8", "quoted-printable", quoted.into_bytes()),
            3 => ("utf-16be", "base64", STANDARD.encode(wide).into_bytes()),
            // Wrong in each way.
            4 => ("iso-8859-1", "8bit", text.into_bytes()),
            _ => ("no-such", "x-none", text.into_bytes()),
        };
        let mut header = format!(
            "Content-Type: text/{kind}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n"
        );
        if let Some(name) = &self.name {
            let name: String = name.bytes().map(|octet| format!("%{octet:02x}")).collect();
            header.push_str(&format!("Content-Disposition: attachment; filename*=utf-8''{name}\r\n"));
        }
        [header.as_bytes(), b"\r\n", &octets].concat()
    }
}

impl Mail {
    fn to_octets(&self) -> Vec<u8> {
        let mut header = format!("Subject: =?utf-8?B?{}?=\r\n", STANDARD.encode(&self.subject));
        if let Some(odd) = &self.odd {
            header.push_str(&format!("X-Odd: {odd}\r\n"));
        }
        let body = match self.parts.as_slice() {
            [one] => one.to_part(),
            parts => {
                let mut body = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_vec();
                for part in parts {
                    body.extend_from_slice(b"\r\n--b\r\n");
                    body.extend_from_slice(&part.to_part());
                }
                body.extend_from_slice(b"\r\n--b--\r\n");
                body
            }
        };
        let message = [header.as_bytes(), &body, &self.junk].concat();
        if self.forwarded {
            [b"Subject: outer\r\nContent-Type: message/rfc822\r\n\r\n", message.as_slice()].concat()
        } else {
            message
        }
    }

    fn texts(&self) -> Vec<&str> {
        let parts = self.parts.iter().flat_map(|part| [Some(&part.text), part.name.as_ref()]);
        let all = [Some(&self.subject), self.odd.as_ref()].into_iter().chain(parts);
        all.flatten().map(String::as_str).collect()
    }
}

fn written() -> impl Strategy<Value = Written> {
    let name = proptest::option::weighted(0.2, text(8));
    (text(40), 0..6_u8, any::<bool>(), name).prop_map(|(text, how, html, name)| Written {
        text,
        how,
        html,
        name,
    })
}

fn mail() -> impl Strategy<Value = Mail> {
    (
        text(12),
        proptest::option::weighted(0.3, text(8)),
        proptest::collection::vec(written(), 1..4),
        proptest::bool::weighted(0.2),
        proptest::bool::weighted(0.1),
        proptest::collection::vec(any::<u8>(), 0..6),
    )
        .prop_map(|(subject, odd, parts, forwarded, raw, junk)| Mail {
            subject,
            odd,
            parts,
            forwarded,
            raw,
            junk,
        })
}

/// What is looked for: a piece of some message, or anything.
#[derive(Debug, Clone)]
struct Needle {
    from: Index,
    text: Index,
    begin: Index,
    length: usize,
    shout: bool,
    other: Option<String>,
    key: u8,
}

fn needle() -> impl Strategy<Value = Needle> {
    let other = proptest::option::weighted(0.3, text(4));
    let place = (any::<Index>(), any::<Index>(), any::<Index>());
    (place, 0..8_usize, any::<bool>(), other, 0..8_u8).prop_map(
        |((from, text, begin), length, shout, other, key)| Needle {
            from,
            text,
            begin,
            length,
            shout,
            other,
            key,
        },
    )
}

impl Needle {
    fn command(&self, mails: &[Mail]) -> String {
        let texts = self.from.get(mails).texts();
        let chars: Vec<char> = self.text.get(&texts).chars().collect();
        let begin = self.begin.index(chars.len() + 1);
        let piece: String = chars[begin..].iter().take(self.length).collect();
        let mut text = self.other.clone().unwrap_or(piece);
        if self.shout {
            text = text.to_uppercase();
        }
        let literal = format!("{{{}+}}\r\n{text}", text.len());
        let key = match self.key {
            0 | 1 => format!("TEXT {literal}"),
            2 | 3 => format!("BODY {literal}"),
            4 => format!("SUBJECT {literal}"),
            5 => format!("HEADER X-Odd {literal}"),
            6 => format!("NOT TEXT {literal}"),
            _ => format!("OR SUBJECT {literal} NOT BODY {literal}"),
        };
        format!("UID SEARCH CHARSET UTF-8 {key}")
    }
}

/// What happens between two rounds of searches.
#[derive(Debug, Clone)]
enum Act {
    File(usize),
    Copy(usize),
    Move(usize),
    Delete(usize),
    CatchUp,
    /// It stops after so many steps.
    Begin(usize),
    Remove,
    Damage(Index, u8),
    Cut(Index),
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..20_usize).prop_map(Act::File),
        1 => (1..8_usize).prop_map(Act::Copy),
        1 => (1..8_usize).prop_map(Act::Move),
        1 => (1..8_usize).prop_map(Act::Delete),
        4 => Just(Act::CatchUp),
        1 => (0..6_usize).prop_map(Act::Begin),
        1 => Just(Act::Remove),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, to)| Act::Damage(at, to)),
        1 => any::<Index>().prop_map(Act::Cut),
        1 => Just(Act::Reopen),
    ]
}

fn file(account: &Account, mail: &Mail) {
    account.file_as("INBOX", &mail.to_octets(), if mail.raw { Parse::No } else { Parse::Yes });
}

fn log_in(account: &Account) -> Client {
    let mut client = account.log_in();
    client.command("SELECT INBOX");
    client
}

fn leave(mut client: Client) {
    client.command("LOGOUT");
    client.end();
}

fn catch_up(account: &Account) {
    let indexed = account.store.catch_up(&mut || ControlFlow::Continue(())).unwrap();
    assert!(indexed.complete);
}

impl Act {
    fn perform(&self, account: &mut Account, mails: &[Mail]) {
        let index = account.path().join("search.sqlite");
        match self {
            Self::File(which) => file(account, &mails[which % mails.len()]),
            Self::Copy(number) | Self::Move(number) | Self::Delete(number) => {
                let mut client = log_in(account);
                match self {
                    Self::Copy(_) => drop(client.command(&format!("COPY {number} INBOX"))),
                    Self::Move(_) => drop(client.command(&format!("MOVE {number} INBOX"))),
                    _ => {
                        client.command(&format!("STORE {number} +FLAGS.SILENT (\\Deleted)"));
                        client.command("EXPUNGE");
                    }
                }
                leave(client);
            }
            Self::CatchUp => catch_up(account),
            Self::Begin(steps) => {
                let mut left = *steps;
                let mut pause = || {
                    left = left.saturating_sub(1);
                    if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                };
                account.store.catch_up(&mut pause).unwrap();
            }
            Self::Remove => {
                account.store.close().unwrap();
                let _ = std::fs::remove_file(&index);
                account.open();
            }
            Self::Damage(at, to) => {
                account.store.close().unwrap();
                if let Ok(file) = std::fs::OpenOptions::new().write(true).open(&index) {
                    let size = usize::try_from(file.metadata().unwrap().len()).unwrap();
                    let octets = std::iter::repeat_n(*to, 1 + usize::from(*to)).collect::<Vec<_>>();
                    file.write_all_at(&octets, at.index(size.max(1)) as u64).unwrap();
                }
                account.open();
            }
            Self::Cut(at) => {
                account.store.close().unwrap();
                if let Ok(file) = std::fs::OpenOptions::new().write(true).open(&index) {
                    let size = usize::try_from(file.metadata().unwrap().len()).unwrap();
                    file.set_len(at.index(size + 1) as u64).unwrap();
                }
                account.open();
            }
            Self::Reopen => account.reopen(),
        }
    }
}

/// Each answer as it is with the index as it stands, and by the octets alone: safe mode would show messages otherwise, so
/// the index is put aside for it.
fn compare(account: &mut Account, commands: &[String]) -> Result<(), TestCaseError> {
    let mut client = log_in(account);
    let with: Vec<String> = commands.iter().map(|command| client.command(command).remove(0)).collect();
    leave(client);
    let (index, aside) = (account.path().join("search.sqlite"), account.path().join("aside"));
    account.store.close().unwrap();
    let there = std::fs::rename(&index, &aside).is_ok();
    account.open();
    let mut client = log_in(account);
    for (command, with) in commands.iter().zip(with) {
        prop_assert_eq!(client.command(command).remove(0), with, "{}", command);
    }
    leave(client);
    if there {
        account.store.close().unwrap();
        std::fs::rename(&aside, &index).unwrap();
        account.open();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_changes_no_answer(
        mails in proptest::collection::vec(mail(), 1..12),
        acts in proptest::collection::vec(act(), 0..30),
        needles in proptest::collection::vec(needle(), 12),
    ) {
        let mut account = Account::new();
        let commands: Vec<String> = needles.iter().map(|needle| needle.command(&mails)).collect();
        mails.iter().for_each(|mail| file(&account, mail));
        for (number, act) in acts.iter().enumerate() {
            act.perform(&mut account, &mails);
            if matches!(act, Act::Damage(..) | Act::Cut(_) | Act::Begin(_)) || number % 8 == 7 {
                compare(&mut account, &commands)?;
            }
        }
        compare(&mut account, &commands)?;
        catch_up(&account);
        compare(&mut account, &commands)?;
    }
}

/// What it is for: of many messages only those are read that may hold what is looked for.
#[test]
fn messages_that_cannot_match_are_not_read() {
    let mut account = Account::new();
    for number in 0..300 {
        account.file("INBOX", format!("Subject: part {number}\r\n\r\nword{number} and more\r\n").as_bytes());
    }
    // A text of which only the octets could tell that it is there.
    let large = [b"Subject: large\r\n\r\nneedle ".as_slice(), &b"x".repeat(100_000)].concat();
    account.file("INBOX", &large);
    catch_up(&account);
    // Lost: whoever reads it finds nothing.
    let mut files = std::fs::read_dir(account.path().join("msg")).unwrap().flat_map(|directory| {
        std::fs::read_dir(directory.unwrap().path()).unwrap().map(|file| file.unwrap().path())
    });
    let body = files.next().unwrap();
    let aside = account.path().join("aside");
    std::fs::rename(&body, &aside).unwrap();
    let mut client = log_in(&account);
    assert_eq!(client.command("SEARCH NOT BODY word7 BODY large")[0], "* SEARCH");
    assert_eq!(client.command("SEARCH NOT TEXT absent 301")[0], "* SEARCH 301", "without reading it");
    assert_eq!(client.command("SEARCH NOT SUBJECT part 299:301")[0], "* SEARCH 301");
    assert_eq!(client.command("SEARCH BODY word299")[0], "* SEARCH 300");
    assert_eq!(client.command("SEARCH SUBJECT \"part 29\"")[0].split(' ').count(), 2 + 11);
    std::fs::rename(aside, body).unwrap();
    assert_eq!(client.command("SEARCH TEXT needle")[0], "* SEARCH 301");
    leave(client);
    account.reopen();
}

/// A message is found as it is shown.
#[test]
fn html_is_searched_as_text_and_attachments_by_their_names() {
    let account = Account::new();
    account.file(
        "INBOX",
        b"Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n\
          <div class=\"wrapper\">Total:&nbsp;<b>7</b>&euro;<style>.red {}</style></div>\r\n--b\r\n\
          Content-Type: application/pdf; name=\"=?utf-8?Q?R=C3=A9sum=C3=A9.pdf?=\"\r\n\
          Content-Transfer-Encoding: base64\r\n\r\nd29yZA==\r\n--b--\r\n",
    );
    for indexed in [false, true] {
        if indexed {
            catch_up(&account);
        }
        let mut client = log_in(&account);
        for (text, found) in [
            ("total: 7€", true),
            ("wrapper", false),
            ("<b>", false),
            (".red", false),
            ("RÉSUMÉ.pdf", true),
            ("word", false),
            ("application/pdf", false),
        ] {
            for key in ["BODY", "TEXT"] {
                let answer =
                    client.command(&format!("SEARCH CHARSET UTF-8 {key} {{{}+}}\r\n{text}", text.len()));
                assert_eq!(answer[0], if found { "* SEARCH 1" } else { "* SEARCH" }, "{key} {text}");
            }
        }
        leave(client);
    }
}
