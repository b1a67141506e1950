//! Dates of SEARCH, INTERNALDATE and APPEND (RFC 3501 §9, `date` and `date-time`), as days and seconds since
//! 1970-01-01 UTC. The proleptic Gregorian calendar is a page of arithmetic, so it stands here.

use crate::cursor::{Cursor, SyntaxError};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A day of the calendar; the day exists in its month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// `None` for a day that does not exist.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let last = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
            2 => 28,
            _ => return None,
        };
        (year <= 9999 && (1..=last).contains(&day)).then_some(Self { year, month, day })
    }

    /// Year, month 1 to 12, day 1 to 31.
    pub fn parts(self) -> (u16, u8, u8) {
        (self.year, self.month, self.day)
    }

    /// The name of the month on the wire.
    pub fn month_name(self) -> &'static str {
        MONTHS.get(usize::from(self.month).saturating_sub(1)).copied().unwrap_or_default()
    }

    /// `1-Feb-1994`, `01-Feb-1994`, each also in quotes.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let quoted = cursor.accept(b'"');
        let date = Self::parse_text(cursor)?;
        if quoted {
            cursor.expect(b'"', "a closing quote")?;
        }
        Ok(date)
    }

    fn parse_text(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        const DATE: SyntaxError = SyntaxError::Expected("a date like 1-Feb-1994");
        let day = two_digits(cursor.take_while(|octet| octet.is_ascii_digit())).ok_or(DATE)?;
        cursor.expect(b'-', "a date like 1-Feb-1994")?;
        let name = cursor.take_while(|octet| octet.is_ascii_alphabetic());
        let month = (1u8..)
            .zip(MONTHS)
            .find(|(_, month)| name.eq_ignore_ascii_case(month.as_bytes()))
            .map(|(number, _)| number)
            .ok_or(DATE)?;
        cursor.expect(b'-', "a date like 1-Feb-1994")?;
        let year = cursor.take_while(|octet| octet.is_ascii_digit());
        if year.len() != 4 {
            return Err(DATE);
        }
        let year = year.iter().fold(0u16, |year, digit| year * 10 + u16::from(digit & 0x0f));
        Self::new(year, month, day).ok_or(DATE)
    }
}

/// One or two digits.
fn two_digits(digits: &[u8]) -> Option<u8> {
    match digits {
        [one] => Some(one & 0x0f),
        [ten, one] => Some((ten & 0x0f) * 10 + (one & 0x0f)),
        _ => None,
    }
}

/// Days from 1970-01-01 to `date`.
pub fn days_of(date: Date) -> i64 {
    // Years begin in March, so that the leap day is the last: 153 days are five months from March on.
    let (month, day) = (i64::from(date.month), i64::from(date.day));
    let year = i64::from(date.year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The UTC day of a time in seconds since 1970; times beyond the years 0 to 9999 give the nearest of them.
pub fn date_of(seconds: i64) -> Date {
    let days = seconds.div_euclid(86_400).clamp(-719_528, 2_932_896) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Date {
        year: u16::try_from(year).unwrap_or(9999),
        month: u8::try_from(month).unwrap_or(1),
        day: u8::try_from(day_of_year - (153 * shifted_month + 2) / 5 + 1).unwrap_or(1),
    }
}

/// `"17-Jul-1996 02:44:25 -0700"` in quotes, as seconds since 1970 UTC.
pub(crate) fn parse_quoted_date_time(cursor: &mut Cursor<'_>) -> Result<i64, SyntaxError> {
    cursor.expect(b'"', "a date and time")?;
    // date-day-fixed: one digit comes behind a space.
    cursor.accept(b' ');
    let date = Date::parse_text(cursor)?;
    cursor.space()?;
    let mut fields = [0i64; 3];
    for (index, (field, limit)) in fields.iter_mut().zip([23, 59, 60]).enumerate() {
        if index > 0 {
            cursor.expect(b':', "a time like 02:44:25")?;
        }
        *field = fixed_digits(cursor, 2)?;
        if *field > limit {
            return Err(SyntaxError::Number);
        }
    }
    let [hour, minute, second] = fields;
    cursor.space()?;
    let sign = if cursor.accept(b'+') { 1 } else { -1 };
    if sign < 0 {
        cursor.expect(b'-', "a zone like -0700")?;
    }
    let zone = fixed_digits(cursor, 4)?;
    if zone / 100 > 23 || zone % 100 > 59 {
        return Err(SyntaxError::Number);
    }
    cursor.expect(b'"', "a closing quote")?;
    let offset = sign * (zone / 100 * 3600 + zone % 100 * 60);
    Ok(days_of(date) * 86_400 + hour * 3600 + minute * 60 + second.min(59) - offset)
}

/// `2006-12-31T23:59:59.5+01:00` (RFC 3339 §5.6), as seconds since 1970 UTC.
pub(crate) fn parse_rfc3339(text: &[u8]) -> Option<i64> {
    let mut cursor = Cursor::new(text);
    let cursor = &mut cursor;
    let number = |cursor: &mut Cursor<'_>, digits| fixed_digits(cursor, digits).ok();
    let mark = |cursor: &mut Cursor<'_>, mark: u8| {
        (cursor.accept(mark) || cursor.accept(mark.to_ascii_lowercase())).then_some(())
    };
    let year = number(cursor, 4)?;
    mark(cursor, b'-')?;
    let month = number(cursor, 2)?;
    mark(cursor, b'-')?;
    let day = number(cursor, 2)?;
    mark(cursor, b'T')?;
    let hour = number(cursor, 2).filter(|hour| *hour <= 23)?;
    mark(cursor, b':')?;
    let minute = number(cursor, 2).filter(|minute| *minute <= 59)?;
    mark(cursor, b':')?;
    let second = number(cursor, 2).filter(|second| *second <= 60)?.min(59);
    if cursor.accept(b'.') && cursor.take_while(|octet| octet.is_ascii_digit()).is_empty() {
        return None;
    }
    let offset = if mark(cursor, b'Z').is_some() {
        0
    } else {
        let sign = if cursor.accept(b'+') { 1 } else { -1 };
        if sign < 0 {
            mark(cursor, b'-')?;
        }
        let hours = number(cursor, 2).filter(|hours| *hours <= 23)?;
        mark(cursor, b':')?;
        let minutes = number(cursor, 2).filter(|minutes| *minutes <= 59)?;
        sign * (hours * 3600 + minutes * 60)
    };
    cursor.end().ok()?;
    let part = |number: i64| u8::try_from(number).ok();
    let date = Date::new(u16::try_from(year).ok()?, part(month)?, part(day)?)?;
    Some(days_of(date) * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

fn fixed_digits(cursor: &mut Cursor<'_>, count: usize) -> Result<i64, SyntaxError> {
    let digits = cursor.take_while(|octet| octet.is_ascii_digit());
    if digits.len() != count {
        return Err(SyntaxError::Expected("a date and time like \"17-Jul-1996 02:44:25 -0700\""));
    }
    Ok(digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit & 0x0f)))
}

/// A `date-time` in its quotes, as [`crate::response::date_time`] writes it; `None` if it is not one.
pub fn parse_date_time(text: &[u8]) -> Option<i64> {
    let mut cursor = Cursor::new(text);
    let seconds = parse_quoted_date_time(&mut cursor).ok()?;
    cursor.end().ok()?;
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_of_urls_are_read() {
        for (text, seconds) in [
            ("1985-04-12T23:20:50.52Z", Some(482_196_050)), // RFC 3339 §5.8
            ("1996-12-19T16:39:57-08:00", Some(851_042_397)),
            ("1990-12-31t23:59:60z", Some(662_687_999)),
            ("1996-12-19", None),
            ("1996-12-19T16:39:57", None),
            ("1996-12-19T16:39:57.Z", None),
            ("1996-12-19T24:00:00Z", None),
            ("1996-02-30T16:39:57Z", None),
            ("1996-12-19T16:39:57Z ", None),
            ("96-12-19T16:39:57Z", None),
            ("1996-12-19 16:39:57Z", None),
            ("1996-12-19T16:39:57+0100", None),
        ] {
            assert_eq!(parse_rfc3339(text.as_bytes()), seconds, "{text}");
        }
    }

    #[test]
    fn known_times_are_read() {
        for (text, seconds) in [
            ("\"17-Jul-1996 02:44:25 -0700\"", 837_596_665), // RFC 3501 §7.4.2
            ("\" 1-Jan-1970 00:00:00 +0000\"", 0),
            ("\"29-Feb-2024 23:59:60 +0530\"", 1_709_231_399),
            ("\"31-Dec-9999 23:59:59 +0000\"", 253_402_300_799),
        ] {
            assert_eq!(parse_date_time(text.as_bytes()), Some(seconds), "{text}");
        }
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for text in
            ["30-Feb-2024", "29-Feb-1900", "0-Jan-2000", "32-Jan-2000", "1-Foo-2000", "1-Jan-20", "1-1-2000"]
        {
            assert!(Date::parse(&mut Cursor::new(text.as_bytes())).is_err(), "{text}");
        }
        assert_eq!(Date::parse(&mut Cursor::new(b"\"1-feb-1994\"")), Ok(Date::new(1994, 2, 1).unwrap()));
    }

    proptest! {
        #[test]
        fn seconds_and_days_agree(seconds in -62_167_219_200i64..253_402_300_800) {
            let date = date_of(seconds);
            prop_assert_eq!(days_of(date), seconds.div_euclid(86_400));
            prop_assert_eq!(Date::new(date.year, date.month, date.day), Some(date));
            let mut text = Vec::new();
            crate::response::date_time(&mut text, seconds);
            prop_assert_eq!(parse_date_time(&text), Some(seconds), "{}", text.escape_ascii());
        }

        #[test]
        fn any_number_of_seconds_has_a_date(seconds: i64) {
            date_of(seconds);
        }
    }
}
