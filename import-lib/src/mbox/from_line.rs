//! The line before each message: `From sender date`.
//!
//! There is no standard for it. RFC 4155 §A wants a sender and a date in the form of C's asctime; programs add a zone
//! before or behind the year, and put a dash for the sender.

use mail_lib::header::parse_date;

/// The longest line that is taken for one, octets.
pub(crate) const MAX: usize = 512;

const BEGINNING: &[u8] = b"From ";

/// The date of the line, seconds since 1970 UTC, if it is one. `Some(None)`: it is one without a date, as Thunderbird
/// writes it. The line comes without its end.
pub(crate) fn parse(line: &[u8]) -> Option<Option<i64>> {
    let rest = line.strip_prefix(BEGINNING)?;
    if rest.len() > MAX {
        return None;
    }
    if matches!(rest, b"" | b"-") {
        return Some(None);
    }
    date(rest).map(Some)
}

/// Behind the sender, in which there may be anything, comes a day of the week and a month.
fn date(rest: &[u8]) -> Option<i64> {
    let words: Vec<&[u8]> =
        rest.split(|octet| octet.is_ascii_whitespace()).filter(|word| !word.is_empty()).collect();
    let start = words.windows(2).rposition(|pair| match pair {
        [day, month] => is_one_of(day, &DAYS) && is_one_of(month, &MONTHS),
        _ => false,
    })?;
    let mut date: Vec<&[u8]> = words.get(start..)?.to_vec();
    // "16:25 CET 2026": the zone goes behind the year, where `parse_date` looks for it.
    if let [_, _, _, _, zone, year, ..] = *date.as_slice()
        && !zone.first().is_some_and(u8::is_ascii_digit)
        && year.iter().all(u8::is_ascii_digit)
    {
        date.swap(4, 5);
    }
    parse_date(&date.join(&b' ')).map(|date| date.unix_seconds)
}

const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

fn is_one_of(word: &[u8], names: &[&[u8]]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_many_programs_are_read() {
        const AT: i64 = 1_795_883_128; // 2026-11-28 16:25:28 UTC
        for (line, date) in [
            ("From a@example.org Sat Nov 28 16:25:28 2026", Some(Some(AT))),
            ("From MAILER-DAEMON Sat Nov 28 16:25:28 2026", Some(Some(AT))),
            ("From - Sat Nov 28 16:25:28 2026", Some(Some(AT))),
            ("From  Sat Nov 28 16:25:28 2026", Some(Some(AT))),
            ("From a@example.org  Sat Nov 28 17:25:28 +0100 2026", Some(Some(AT))),
            ("From a@example.org Sat Nov 28 17:25:28 2026 +0100", Some(Some(AT))),
            ("From \"John Doe\"@example.org Sat Nov 28 16:25 2026", Some(Some(AT - 28))),
            ("From Sat Nov@x Sat Nov 28 16:25:28 GMT 2026", Some(Some(AT))),
            ("From a@example.org Sat Nov  7 16:25:28 2026", Some(Some(AT - 21 * 86_400))),
            ("From -", Some(None)),
            ("From ", Some(None)),
            ("From here to Timbuktu", None),
            ("From: a@example.org", None),
            ("From a@example.org Sat Nov 40 16:25:28 2026", None),
            ("From the Sat Nov papers", None),
            (">From a@example.org Sat Nov 28 16:25:28 2026", None),
        ] {
            assert_eq!(parse(line.as_bytes()), date, "{line}");
        }
        let long = format!("From {} Sat Nov 28 16:25:28 2026", "x".repeat(MAX));
        assert_eq!(parse(long.as_bytes()), None);
    }
}
