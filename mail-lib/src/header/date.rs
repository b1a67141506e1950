//! Dates of RFC 5322 §3.3, and those that people's programs really write.

use jiff::civil;

/// When a message says it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub unix_seconds: i64,
    /// East of UTC, in seconds. SENTON and its like go by the date without it (RFC 3501 §6.4.4).
    pub offset_seconds: i32,
}

/// A date has at most seven words; a few more leave room for junk between them.
const MAX_WORDS: usize = 10;

/// Reads an RFC 5322 date with the obsolete forms of §4.3 (two-digit years, zone names, comments anywhere), the order
/// of C's `asctime`, and dashes between day, month and year. `None`: not a date.
#[must_use]
pub fn parse_date(value: &[u8]) -> Option<Date> {
    let words = words(value);
    let mut words = words.iter().map(String::as_str).peekable();
    if words.peek().is_some_and(|word| is_name(word) && month(word).is_none()) {
        words.next(); // the day of the week, which may be wrong and says nothing new
    }
    let first = words.next()?;
    let (day, month, year, time) = if let Some(month) = month(first) {
        let (day, time, year) = (words.next()?, words.next()?, words.next()?);
        (day, month, year, Some(time))
    } else {
        (first, month(words.next()?)?, words.next()?, words.next())
    };
    let date = civil::Date::new(parse_year(year)?, month, day.parse().ok()?).ok()?;
    let seconds = match time {
        // RFC 5256 §2.2 has a time that cannot be read taken for midnight.
        Some(time) => parse_time(time).unwrap_or(0),
        None => 0,
    };
    let offset_seconds = words.next().map_or(0, parse_zone);
    let days = date.duration_since(civil::date(1970, 1, 1)).as_secs();
    Some(Date { unix_seconds: days + i64::from(seconds) - i64::from(offset_seconds), offset_seconds })
}

/// date-time of RFC 5322 §3.3, in UTC.
#[must_use]
pub fn format_date(unix_seconds: i64) -> String {
    // Beyond the year 9999 the clock is wrong anyway.
    let moment = jiff::Timestamp::from_second(unix_seconds).unwrap_or_default();
    moment.strftime("%a, %-d %b %Y %H:%M:%S +0000").to_string()
}

/// Words without comments; commas, and dashes that do not start a zone, are spaces.
fn words(value: &[u8]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut depth = 0_u32;
    for octet in value.iter().chain(b" ") {
        match octet {
            b'(' => depth = depth.saturating_add(1),
            b')' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            b' ' | b'\t' | b'\r' | b'\n' | b',' => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            b'-' if !word.is_empty() && words.len() < 4 && !word.contains(':') => {
                words.push(std::mem::take(&mut word));
            }
            octet => word.push(char::from(*octet)),
        }
        if words.len() == MAX_WORDS || word.len() > 32 {
            break;
        }
    }
    words
}

fn is_name(word: &str) -> bool {
    word.bytes().next().is_some_and(|octet| octet.is_ascii_alphabetic())
}

fn month(word: &str) -> Option<i8> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let short = word.get(..3)?;
    MONTHS.iter().zip(1..).find(|(name, _)| name.eq_ignore_ascii_case(short)).map(|(_, number)| number)
}

/// Years of two and three digits: RFC 5322 §4.3.
fn parse_year(word: &str) -> Option<i16> {
    if !word.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let year: i16 = word.parse().ok()?;
    match (word.len(), year) {
        (2, 0..=49) => Some(year + 2000),
        (2 | 3, _) => Some(year + 1900),
        (4, _) => Some(year),
        (_, _) => None,
    }
}

/// `hh:mm[:ss]`, as seconds of the day. A leap second is the second before it.
fn parse_time(word: &str) -> Option<i32> {
    let mut numbers = word.splitn(3, [':', '.']).map(|number| {
        let digits = number.split_once('.').map_or(number, |(seconds, _fraction)| seconds);
        digits.parse::<u8>().ok().map(i32::from)
    });
    let (hour, minute) = (numbers.next()??, numbers.next()??);
    let second = match numbers.next() {
        Some(second) => second?.min(59),
        None => 0,
    };
    (hour < 24 && minute < 60).then_some(hour * 3600 + minute * 60 + second)
}

/// `+hhmm` or a name of RFC 5322 §4.3; any other name says nothing, thus UTC (as its last paragraph asks).
fn parse_zone(word: &str) -> i32 {
    let hours = |hours: i32| hours * 3600;
    let number = |digits: &str| -> Option<i32> {
        let number: u16 = (digits.len() == 4).then(|| digits.parse().ok()).flatten()?;
        let (hour, minute) = (i32::from(number / 100), i32::from(number % 100));
        (hour < 24 && minute < 60).then_some(hour * 3600 + minute * 60)
    };
    if let Some(digits) = word.strip_prefix('+') {
        return number(digits).unwrap_or(0);
    }
    if let Some(digits) = word.strip_prefix('-') {
        return number(digits).map_or(0, |offset| -offset);
    }
    match word.to_ascii_uppercase().as_str() {
        "EDT" => hours(-4),
        "EST" | "CDT" => hours(-5),
        "CST" | "MDT" => hours(-6),
        "MST" | "PDT" => hours(-7),
        "PST" => hours(-8),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn standard_obsolete_and_broken_dates_are_read() {
        for (text, unix_seconds, offset_seconds) in [
            // The examples of RFC 5322 appendix A.
            ("Fri, 21 Nov 1997 09:55:06 -0600", 880_127_706, -21_600),
            (
                "Thu,\r\n      13\r\n        Feb\r\n          1969\r\n      23:32\r\n               -0330 (Newfoundland Time)",
                -27_723_480,
                -12_600,
            ),
            ("21 Nov 97 09:55:06 GMT", 880_106_106, 0),
            ("Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", 880_070_400, 0),
            ("1 Jan 2024 25:00:00 +0000", 1_704_067_200, 0),
            ("1 Jan 2024 12:61 +0530", 1_704_047_400, 19_800),
            ("Mon, 1 Jan 2024 00:00:00 +0530", 1_704_047_400, 19_800),
            ("1 Jan 2024 00:00 EST", 1_704_085_200, -18_000),
            ("Mon Jan  1 00:00:00 2024", 1_704_067_200, 0),
            ("01-Jan-2024 00:00:00 +0000", 1_704_067_200, 0),
            ("Sat, 31 Dec 2016 23:59:60 +0000", 1_483_228_799, 0),
            ("1 January 2024", 1_704_067_200, 0),
            ("1 Jan 2024 00:00:00 +9999", 1_704_067_200, 0),
            ("1 Jan 2024 00:00:00 XYZ", 1_704_067_200, 0),
        ] {
            let expected = Date { unix_seconds, offset_seconds };
            assert_eq!(parse_date(text.as_bytes()), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "yesterday",
            "32 Jan 2024 00:00:00 +0000",
            "29 Feb 2023",
            "1 Foo 2024",
            "1 Jan 20245",
            "((((",
            "1 Jan -2024",
        ] {
            assert_eq!(parse_date(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_date_is_written_as_the_standard_has_it() {
        assert_eq!(format_date(880_127_706), "Fri, 21 Nov 1997 15:55:06 +0000");
        assert_eq!(format_date(i64::MAX), "Thu, 1 Jan 1970 00:00:00 +0000");
    }

    proptest! {
        #[test]
        fn any_octets_are_a_date_or_none(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse_date(&value);
        }

        #[test]
        fn a_date_is_read_as_it_was_written(unix in 0_i64..4_000_000_000, hours in -12_i32..14) {
            const MONTHS: [&str; 12] =
                ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
            let zone = jiff::tz::Offset::from_seconds(hours * 3600).unwrap();
            let local = zone.to_datetime(jiff::Timestamp::from_second(unix).unwrap());
            let text = format!(
                "Day, {} {} {} {:02}:{:02}:{:02} {}{:02}00",
                local.day(), MONTHS[usize::try_from(local.month() - 1).unwrap()], local.year(),
                local.hour(), local.minute(), local.second(),
                if hours < 0 { '-' } else { '+' }, hours.abs(),
            );
            prop_assert_eq!(parse_date(text.as_bytes()), Some(Date { unix_seconds: unix, offset_seconds: hours * 3600 }));
        }
    }
}
