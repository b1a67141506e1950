//! Names of mailboxes: those of other programs become names here, and names here become names of files.

use imapd::NameForm;

/// Octets of a name here.
const MAX: usize = 255;
/// Octets of a file's name, without the ending.
const MAX_FILE: usize = 240;
/// Levels of a name here.
const MAX_LEVELS: usize = 16;

/// A name here for these levels: what may not stand in one becomes `_`, what is too long is cut off, and levels that are
/// too many are joined to the last one. Never empty.
#[must_use]
pub fn from_levels<'a>(levels: impl Iterator<Item = &'a str>) -> String {
    let levels: Vec<String> = levels.map(level).collect();
    let kept = levels.iter().take(MAX_LEVELS - 1).cloned();
    let rest = levels.get(MAX_LEVELS - 1..).filter(|rest| !rest.is_empty()).map(|rest| rest.join("_"));
    let mut name = kept.chain(rest).collect::<Vec<_>>().join("/");
    name.truncate(name.floor_char_boundary(MAX));
    let name = name.trim_end_matches(['/', ' ']);
    match name.strip_prefix('#') {
        Some(rest) => format!("_{rest}"),
        None if name.is_empty() => "_".to_owned(),
        None => name.to_owned(),
    }
}

fn level(text: &str) -> String {
    let allowed: String = text.chars().map(|c| if forbidden(c) { '_' } else { c }).collect();
    match allowed.trim() {
        "" | "." | ".." => "_".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

fn forbidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '/' | '%' | '*' | '\\' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// What names a source for an account: a place that is too long by its digest.
#[must_use]
pub fn source(place: &str) -> String {
    if place.len() <= 1024 { place.to_owned() } else { format!("blake3:{}", blake3::hash(place.as_bytes())) }
}

/// From modified UTF-7 (RFC 3501 §5.1.3) where it is that, else as it is.
#[must_use]
pub fn decoded(wire: &[u8]) -> String {
    NameForm::ModifiedUtf7.decode(wire).unwrap_or_else(|_| String::from_utf8_lossy(wire).into_owned())
}

/// The folder of a Maildir++ for a name: `.` before each level, in modified UTF-7; dots within a level are `&AC4-`, as
/// no level can hold one. INBOX itself has none.
#[must_use]
pub fn to_folder(name: &str) -> String {
    if name == "INBOX" {
        return String::new();
    }
    let encoded = |level: &str| NameForm::ModifiedUtf7.encode(level).replace('.', "&AC4-");
    let folder: String = name.split('/').map(|level| format!(".{}", encoded(level))).collect();
    fitting(folder, name)
}

/// The levels of a folder's name.
#[must_use]
pub fn from_folder(folder: &[u8]) -> String {
    let levels: Vec<String> = folder
        .strip_prefix(b".")
        .unwrap_or(folder)
        .split(|octet| *octet == b'.')
        .map(|level| dotted(level).unwrap_or_else(|| decoded(level)))
        .collect();
    if folder.is_empty() {
        return "INBOX".to_owned();
    }
    from_levels(levels.iter().map(String::as_str))
}

/// A level in which we wrote dots: they are not the shortest encoding, so nobody else's decoder takes them.
fn dotted(level: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(level).ok()?;
    if !text.contains("&AC4-") {
        return None;
    }
    Some(text.split("&AC4-").map(|part| decoded(part.as_bytes())).collect::<Vec<_>>().join("."))
}

/// The file of an mbox for a name: each level above is a directory `LEVEL.sbd`, as Thunderbird has them. No part of it is
/// hidden, or means anything else than a name.
#[must_use]
pub fn to_path(name: &str) -> String {
    let visible = |level: &str| match level.strip_prefix('.') {
        Some(rest) => fitting(format!("%2e{rest}"), level),
        None => fitting(level.to_owned(), level),
    };
    let mut levels: Vec<String> = name.split('/').map(visible).collect();
    let last = levels.pop().unwrap_or_default();
    levels.iter().map(|level| format!("{level}.sbd/")).collect::<String>() + &last + ".mbox"
}

/// The level that a file or directory of mboxes stands for.
#[must_use]
pub fn from_file(file: &str, ending: &str) -> String {
    let level = file.strip_suffix(ending).filter(|level| !level.is_empty()).unwrap_or(file);
    match level.strip_prefix("%2e") {
        Some(rest) => format!(".{rest}"),
        None => level.to_owned(),
    }
}

/// A file's name has at most 255 octets: a longer one ends in a digest of what it stands for.
fn fitting(file: String, name: &str) -> String {
    if file.len() <= MAX_FILE {
        return file;
    }
    let digest = blake3::hash(name.as_bytes()).to_hex();
    let beginning = file.get(..file.floor_char_boundary(MAX_FILE - 17)).unwrap_or_default();
    format!("{beginning}-{}", digest.get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack class 24: names of a source that are paths, wildcards, too long or too deep.
    #[test]
    fn every_name_becomes_one_that_is_allowed() {
        let deep: Vec<&str> = vec!["a"; 40];
        let long = "ü".repeat(300);
        for (levels, name) in [
            (&["Sent"][..], "Sent"),
            (&["INBOX", "Lists", "rust"], "INBOX/Lists/rust"),
            (&["..", "etc/passwd"], "_/etc_passwd"),
            (&["a\0b\r\n", " x "], "a_b__/x"),
            (&["", "#news"], "_/#news"),
            (&["#news"], "_news"),
            (&["a*%\\"], "a___"),
            (&["\u{202e}gpj"], "_gpj"),
            (&deep, "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a"),
            (&[&long], &"ü".repeat(127)),
            (&[], "_"),
        ] {
            let made = from_levels(levels.iter().copied());
            assert_eq!(made, name);
            assert_eq!(from_levels(made.split('/')), made, "it stays");
        }
    }

    #[test]
    fn names_come_back_from_files() {
        for (name, path) in [
            ("INBOX", "INBOX.mbox"),
            ("Lists/rust", "Lists.sbd/rust.mbox"),
            (".hidden/..x", "%2ehidden.sbd/%2e.x.mbox"),
            ("a.sbd/b.mbox", "a.sbd.sbd/b.mbox.mbox"),
        ] {
            assert_eq!(to_path(name), path);
            let (directories, file) = path.rsplit_once('/').unwrap_or(("", path));
            let levels = directories.split('/').filter(|level| !level.is_empty());
            let mut levels: Vec<String> = levels.map(|level| from_file(level, ".sbd")).collect();
            levels.push(from_file(file, ".mbox"));
            assert_eq!(from_levels(levels.iter().map(String::as_str)), name);
        }
        assert!(to_path(&"x".repeat(255)).len() <= 255);
    }

    #[test]
    fn names_come_back_from_folders() {
        for (name, folder) in [
            ("INBOX", ""),
            ("INBOX/a", ".INBOX.a"),
            ("Sent", ".Sent"),
            ("Lists/rust-users", ".Lists.rust-users"),
            ("Entwürfe/日本語", ".Entw&APw-rfe.&ZeVnLIqe-"),
            ("a.b/c..d", ".a&AC4-b.c&AC4-&AC4-d"),
            ("A&B", ".A&-B"),
        ] {
            assert_eq!(to_folder(name), folder);
            assert_eq!(from_folder(folder.as_bytes()), name);
        }
        assert_eq!(to_folder(&"ü".repeat(100)).len(), MAX_FILE);
        assert_eq!(from_folder(b".caf\xe9.&broken"), "caf\u{fffd}/&broken");
    }
}
