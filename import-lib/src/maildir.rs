//! Maildir (and Maildir++): what the names of files say, and the lists that Dovecot keeps beside them.
//!
//! ```text
//! cur/1700000000.M1P2.host,S=1234,W=1260:2,FSa     base name, sizes : version, flags in order, keywords as letters
//! dovecot-keywords                                  "0 $Forwarded": what the letter a means
//! dovecot-uidlist                                   "3 V1700000000 N12": UIDVALIDITY and UIDNEXT; "7 :1700000000.M1P2.host"
//! moxd-keywords                                     "1700000000.M1P2.host $Forwarded work": where 26 letters do not do
//! ```

use std::collections::HashMap;

use ipc_proto::transfer::{ImportKey, MailFlags};

/// The file of keywords by letter.
pub const KEYWORDS: &str = "dovecot-keywords";
/// The file of UIDs.
pub const UIDLIST: &str = "dovecot-uidlist";
/// The file of keywords by message.
pub const OUR_KEYWORDS: &str = "moxd-keywords";
/// The file of subscribed names.
pub const SUBSCRIPTIONS: &str = "subscriptions";
/// The file that says what a folder is for.
pub const SPECIAL_USE: &str = "moxd-special-use";
/// Letters for keywords.
const LETTERS: usize = 26;
/// Keywords of one message.
const MAX_KEYWORDS: usize = 32;

/// The field of a file's name that says that its line ends are what they are.
const AS_IS: &str = ",R";

/// What a file's name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name<'a> {
    /// What stays when flags change.
    pub base: &'a [u8],
    /// From the letters.
    pub system: u8,
    /// Letters `a` to `z`, by their number.
    pub letters: Vec<u8>,
    /// Its line ends are what they are.
    pub as_is: bool,
}

/// The flags' letters, each with its bit.
const FLAGS: [(u8, u8); 5] = [(b'D', 16), (b'F', 4), (b'R', 2), (b'S', 1), (b'T', 8)];

impl<'a> Name<'a> {
    /// Any name is one, except those of hidden files.
    #[must_use]
    pub fn parse(name: &'a [u8]) -> Option<Self> {
        if name.is_empty() || name.starts_with(b".") {
            return None;
        }
        let colon = name.iter().position(|octet| *octet == b':').unwrap_or(name.len());
        let (before, info) = name.split_at_checked(colon)?;
        let letters = info.strip_prefix(b":2,").unwrap_or_default();
        let system = FLAGS.iter().filter(|(letter, _)| letters.contains(letter)).map(|(_, bit)| bit).sum();
        let keywords = letters.iter().filter(|letter| letter.is_ascii_lowercase());
        Some(Self {
            base: base(before),
            system,
            letters: keywords.map(|letter| letter - b'a').collect(),
            as_is: before.windows(2).any(|field| field == AS_IS.as_bytes()),
        })
    }

    /// The same for the same message whatever its flags are.
    #[must_use]
    pub fn key(&self) -> ImportKey {
        let hash = blake3::hash(self.base);
        ImportKey(hash.as_bytes().first_chunk().copied().unwrap_or_default())
    }

    /// Names begin with the time of their delivery: this is their order.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        let digits = self.base.iter().take_while(|octet| octet.is_ascii_digit()).take(18);
        digits.fold(0, |number, digit| number * 10 + u64::from(digit & 0x0f))
    }
}

/// Without the fields that programs add and change: sizes, and mbsync's UID.
fn base(name: &[u8]) -> &[u8] {
    let mut rest = name;
    while let Some(comma) = rest.iter().rposition(|octet| *octet == b',') {
        let field = rest.get(comma + 1..).unwrap_or_default();
        match field {
            b"R" => {}
            [b'S' | b'W' | b'U', b'=', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {}
            _ => break,
        }
        rest = rest.get(..comma).unwrap_or_default();
    }
    rest
}

/// The lists of one folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    /// UIDVALIDITY and UIDNEXT.
    pub uids: Option<(u32, u32)>,
    by_base: HashMap<Vec<u8>, u32>,
    letters: Vec<Option<String>>,
    by_message: HashMap<Vec<u8>, Vec<String>>,
}

impl Lists {
    /// A line of `dovecot-uidlist`, without its end.
    pub fn uid_line(&mut self, line: &[u8]) {
        let Some(line) = std::str::from_utf8(line).ok() else { return };
        if self.uids.is_none() {
            let mut fields = line.split(' ');
            if fields.next() == Some("3") {
                let mut numbers = (0, 0);
                for field in fields {
                    match field.split_at_checked(1) {
                        Some(("V", value)) => numbers.0 = value.parse().unwrap_or_default(),
                        Some(("N", value)) => numbers.1 = value.parse().unwrap_or_default(),
                        _ => {}
                    }
                }
                self.uids = (numbers.0 > 0 && numbers.1 > 0).then_some(numbers);
            }
            return;
        }
        let Some((fields, name)) = line.split_once(':') else { return };
        let uid = fields.split(' ').next().and_then(|uid| uid.parse::<u32>().ok()).filter(|uid| *uid > 0);
        let name = Name::parse(name.as_bytes());
        if let (Some(uid), Some(name)) = (uid, name) {
            self.by_base.insert(name.base.to_vec(), uid);
        }
    }

    /// A line of `dovecot-keywords`, without its end.
    pub fn letter_line(&mut self, line: &[u8]) {
        let Some((number, word)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(' '))
        else {
            return;
        };
        let number = number.parse::<usize>().ok().filter(|number| *number < LETTERS);
        if let Some(number) = number.filter(|_| word.len() <= 64) {
            if self.letters.len() <= number {
                self.letters.resize(number + 1, None);
            }
            if let Some(place) = self.letters.get_mut(number) {
                *place = Some(word.to_owned());
            }
        }
    }

    /// A line of `moxd-keywords`, without its end.
    pub fn message_line(&mut self, line: &[u8]) {
        let Some(line) = std::str::from_utf8(line).ok() else { return };
        let mut words = line.split(' ');
        let Some(base) = words.next().filter(|base| !base.is_empty()) else { return };
        let words = words.take(MAX_KEYWORDS).filter(|word| word.len() <= 64).map(str::to_owned);
        self.by_message.insert(base.as_bytes().to_vec(), words.collect());
    }

    /// A message's UID.
    #[must_use]
    pub fn uid(&self, name: &Name<'_>) -> Option<u32> {
        self.by_base.get(name.base).copied()
    }

    /// A message's flags and keywords.
    #[must_use]
    pub fn flags(&self, name: &Name<'_>) -> MailFlags {
        let letters = name.letters.iter().filter_map(|letter| self.letters.get(usize::from(*letter)));
        let mut keywords: Vec<String> = letters.flatten().take(MAX_KEYWORDS).cloned().collect();
        for word in self.by_message.get(name.base).into_iter().flatten() {
            if keywords.len() < MAX_KEYWORDS && !keywords.contains(word) {
                keywords.push(word.clone());
            }
        }
        MailFlags { system: name.system, keywords }
    }
}

/// The names in Dovecot's file of subscriptions: one a line, with a dot between levels; from version 2 on with a tab.
#[must_use]
pub fn subscriptions(text: &str) -> Vec<String> {
    let tabs = text.starts_with("V\t2\n");
    let lines = text.lines().skip(if tabs { 1 } else { 0 }).filter(|line| !line.is_empty());
    let name = |line: &str| {
        if !tabs {
            return crate::name::from_folder(line.as_bytes());
        }
        let levels: Vec<String> =
            line.split('\t').map(|level| crate::name::decoded(level.as_bytes())).collect();
        crate::name::from_levels(levels.iter().map(String::as_str))
    };
    lines.map(name).collect()
}

/// The same file for these names.
#[must_use]
pub fn write_subscriptions(names: &[String]) -> String {
    let encoded = |level: &str| imapd::NameForm::ModifiedUtf7.encode(level);
    let line = |name: &String| name.split('/').map(encoded).collect::<Vec<_>>().join("\t");
    let lines: Vec<String> = names.iter().map(line).collect();
    format!("V\t2\n\n{}\n", lines.join("\n"))
}

/// The lists of a folder that is written.
#[derive(Debug, Default)]
pub struct Written {
    letters: Vec<String>,
    uidlist: String,
    by_message: String,
}

/// What decides a file's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    octets: u64,
    bare: u64,
    first_is_lf: bool,
    lines: u64,
    last: u8,
}

impl Sizes {
    /// The next octets of the message.
    pub fn push(&mut self, octets: &[u8]) {
        self.octets += octets.len() as u64;
        for octet in octets {
            if *octet == b'\n' {
                let bare = self.last != b'\r';
                self.first_is_lf |= bare && self.lines == 0;
                self.bare += u64::from(bare);
                self.lines += 1;
            }
            self.last = *octet;
        }
    }
}

impl Written {
    /// For a folder with that UIDVALIDITY and UIDNEXT.
    #[must_use]
    pub fn new(uidvalidity: u32, uidnext: u32) -> Self {
        Self { uidlist: format!("3 V{uidvalidity} N{uidnext}\n"), ..Self::default() }
    }

    /// The name of a message's file.
    pub fn name(&mut self, uid: u32, received: i64, flags: &MailFlags, sizes: &Sizes) -> String {
        let base = format!("{}.U{uid}.moxd", received.max(0));
        self.uidlist.push_str(&format!("{uid} :{base}\n"));
        let mut letters: Vec<char> = FLAGS
            .iter()
            .filter(|(_, bit)| flags.system & bit != 0)
            .map(|(letter, _)| char::from(*letter))
            .collect();
        let mut others = String::new();
        for word in &flags.keywords {
            match self.letter(word) {
                Some(letter) => letters.push(letter),
                None => others.push_str(&format!(" {word}")),
            }
        }
        if !others.is_empty() {
            self.by_message.push_str(&format!("{base}{others}\n"));
        }
        letters.sort_unstable();
        let as_is = if sizes.first_is_lf { AS_IS } else { "" };
        let (octets, whole) = (sizes.octets, sizes.octets + sizes.bare);
        format!("{base},S={octets},W={whole}{as_is}:2,{}", letters.iter().collect::<String>())
    }

    fn letter(&mut self, word: &str) -> Option<char> {
        let known = self.letters.iter().position(|known| known.eq_ignore_ascii_case(word));
        let place = known.or_else(|| {
            (self.letters.len() < LETTERS).then(|| {
                self.letters.push(word.to_owned());
                self.letters.len() - 1
            })
        })?;
        Some(char::from(b'a' + u8::try_from(place).ok()?))
    }

    /// The lists, by the names of their files; none for a list that would be empty.
    #[must_use]
    pub fn lists(&self) -> Vec<(&'static str, String)> {
        let letters = self.letters.iter().enumerate().map(|(place, word)| format!("{place} {word}\n"));
        let lists = [
            (UIDLIST, self.uidlist.clone()),
            (KEYWORDS, letters.collect()),
            (OUR_KEYWORDS, self.by_message.clone()),
        ];
        lists.into_iter().filter(|(_, list)| !list.is_empty()).collect()
    }
}

/// The line ends of a file, on its way out of a Maildir: if the first is LF, all LF become CRLF, unless its name says
/// otherwise.
#[derive(Debug)]
pub struct LineEnds {
    /// Not known before the first line ends.
    convert: Option<bool>,
    last: u8,
    out: Vec<u8>,
}

impl LineEnds {
    /// For a file whose name says so.
    #[must_use]
    pub fn new(as_is: bool) -> Self {
        Self { convert: as_is.then_some(false), last: 0, out: Vec::new() }
    }

    /// The next octets, as they come out.
    pub fn push<'a>(&'a mut self, octets: &'a [u8]) -> &'a [u8] {
        if self.convert == Some(false) {
            return octets;
        }
        self.out.clear();
        for octet in octets {
            if *octet == b'\n' {
                let convert = *self.convert.get_or_insert(self.last != b'\r');
                if convert && self.last != b'\r' {
                    self.out.push(b'\r');
                }
            }
            self.out.push(*octet);
            self.last = *octet;
        }
        &self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_many_programs_say_the_same() {
        for (name, base, system, letters) in [
            ("1700000000.M1P2.host,S=12,W=13:2,FSa", "1700000000.M1P2.host", 5, &[0][..]),
            ("1700000000.M1P2.host:2,DFRST", "1700000000.M1P2.host", 31, &[]),
            ("1700000000.1_2.host,U=17:2,S", "1700000000.1_2.host", 1, &[]),
            ("1700000000.M1P2.host,odd,S=1:2,zS", "1700000000.M1P2.host,odd", 1, &[25]),
            ("1700000000.M1P2.host", "1700000000.M1P2.host", 0, &[]),
            ("1700000000.M1P2.host:1,S", "1700000000.M1P2.host", 0, &[]),
            ("x:2,", "x", 0, &[]),
        ] {
            let parsed = Name::parse(name.as_bytes()).unwrap();
            assert_eq!(
                (parsed.base, parsed.system, &*parsed.letters),
                (base.as_bytes(), system, letters),
                "{name}"
            );
        }
        assert_eq!(Name::parse(b".nfs0001"), None);
        assert_eq!(Name::parse(b"1700000000.x").unwrap().seconds(), 1_700_000_000);
        assert_eq!(Name::parse(b"x").unwrap().seconds(), 0);
    }

    #[test]
    fn dovecot_s_lists_give_uids_and_keywords() {
        let mut lists = Lists::default();
        for line in
            ["3 V1700000000 N12 Gabcdef", "7 :1700000000.M1P2.host,S=12", "8 W13 :other.x", "0 :zero", "x"]
        {
            lists.uid_line(line.as_bytes());
        }
        for line in ["0 $Forwarded", "2 work", "26 beyond", "none", "x y"] {
            lists.letter_line(line.as_bytes());
        }
        lists.message_line(b"other.x later $Forwarded");
        assert_eq!(lists.uids, Some((1_700_000_000, 12)));
        let seen = |name: &str| {
            let name = Name::parse(name.as_bytes()).unwrap();
            (lists.uid(&name), lists.flags(&name).keywords.join(" "))
        };
        assert_eq!(seen("1700000000.M1P2.host,S=12,W=13:2,abc"), (Some(7), "$Forwarded work".to_owned()));
        assert_eq!(seen("other.x:2,a"), (Some(8), "$Forwarded later".to_owned()));
        assert_eq!(seen("zero"), (None, String::new()));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut written = Written::new(5, 100);
        let mut names = Vec::new();
        for uid in 1..=40 {
            let flags = MailFlags {
                system: u8::try_from(uid % 32).unwrap(),
                keywords: vec![format!("k{uid}"), "K1".to_owned()],
            };
            let mut sizes = Sizes::default();
            sizes.push(if uid == 3 { b"a\nb\r\n" } else { b"a\r\nb\n" });
            names.push((uid, written.name(uid, 1_700_000_000, &flags, &sizes), flags));
        }
        let mut lists = Lists::default();
        for (file, list) in written.lists() {
            for line in list.lines() {
                match file {
                    UIDLIST => lists.uid_line(line.as_bytes()),
                    KEYWORDS => lists.letter_line(line.as_bytes()),
                    _ => lists.message_line(line.as_bytes()),
                }
            }
        }
        assert_eq!(lists.uids, Some((5, 100)));
        for (uid, name, flags) in names {
            let name = Name::parse(name.as_bytes()).unwrap();
            assert_eq!(lists.uid(&name), Some(uid));
            assert_eq!(name.as_is, uid == 3);
            let read = lists.flags(&name);
            assert_eq!(read.system, flags.system);
            let sorted = |words: &[String]| {
                let mut words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
                words.sort();
                words.dedup();
                words
            };
            assert_eq!(sorted(&read.keywords), sorted(&flags.keywords));
        }
    }

    #[test]
    fn subscriptions_are_read_in_both_forms() {
        assert_eq!(subscriptions("INBOX\nLists.rust\nEntw&APw-rfe\n"), ["INBOX", "Lists/rust", "Entwürfe"]);
        let names = ["INBOX".to_owned(), "a.b/Entwürfe".to_owned()];
        assert_eq!(subscriptions(&write_subscriptions(&names)), names);
    }

    #[test]
    fn line_ends_become_crlf_where_the_first_is_lf() {
        for (file, as_is, message) in [
            (&b"a\nb\r\nc"[..], false, &b"a\r\nb\r\nc"[..]),
            (b"a\r\nb\nc\n", false, b"a\r\nb\nc\n"),
            (b"a\nb\n", true, b"a\nb\n"),
            (b"\n\n", false, b"\r\n\r\n"),
            (b"a\rb", false, b"a\rb"),
        ] {
            for cut in 0..=file.len() {
                let mut ends = LineEnds::new(as_is);
                let mut out = ends.push(&file[..cut]).to_vec();
                out.extend_from_slice(ends.push(&file[cut..]));
                assert_eq!(out, message, "{} at {cut}", file.escape_ascii());
            }
        }
    }
}
