//! Values of the configuration that have a form of their own.

use std::time::Duration;

use serde::Deserialize;

/// Octets: `"100 MiB"`, `"64 KiB"`, or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub struct Size(pub u64);

/// A time span: `"30s"`, `"5m"`, `"2h"`, `"250ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pause(pub Duration);

/// A host name, as A-labels in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostName(pub String);

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LogFilter(pub String);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl TryFrom<NumberOrText> for Size {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Self, String> {
        match value {
            NumberOrText::Number(octets) => Ok(Self(octets)),
            NumberOrText::Text(text) => {
                let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
                let (digits, unit) = text.split_at(split);
                let shift = match unit.trim() {
                    "" | "B" => 0,
                    "KiB" => 10,
                    "MiB" => 20,
                    "GiB" => 30,
                    _ => return Err(not_a_size(&text)),
                };
                let number: u64 = digits.parse().map_err(|_| not_a_size(&text))?;
                number.checked_mul(1 << shift).map(Self).ok_or_else(|| not_a_size(&text))
            }
        }
    }
}

fn not_a_size(text: &str) -> String {
    format!("{text:?} is not a size; write for example \"100 MiB\" (KiB, MiB, GiB)")
}

impl TryFrom<String> for Pause {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a time span; write for example \"30s\" (ms, s, m, h)");
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (digits, unit) = text.split_at(split);
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let milliseconds = match unit.trim() {
            "ms" => Some(number),
            "s" => number.checked_mul(1000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            _ => None,
        };
        // Workers carry spans as 32-bit milliseconds: 49 days.
        match milliseconds.map(u32::try_from) {
            Some(Ok(milliseconds)) => Ok(Self(Duration::from_millis(u64::from(milliseconds)))),
            Some(Err(_)) | None => Err(wrong()),
        }
    }
}

impl Pause {
    /// As workers carry it.
    #[must_use]
    pub fn milliseconds(self) -> u32 {
        u32::try_from(self.0.as_millis()).unwrap_or(u32::MAX)
    }
}

impl TryFrom<String> for HostName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match mail_lib::address::Domain::parse(&text) {
            Ok(domain) if !text.starts_with('[') => Ok(Self(domain.as_str().to_owned())),
            Ok(_) | Err(_) => {
                Err(format!("{text:?} is not a host name; write for example \"mail.example.org\""))
            }
        }
    }
}

impl TryFrom<String> for LogFilter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let level = |text: &str| matches!(text, "error" | "warn" | "info" | "debug" | "trace" | "off");
        let target = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"_:".contains(&octet))
        };
        let good = text.split(',').all(|part| match part.split_once('=') {
            Some((name, value)) => target(name) && level(value),
            None => level(part),
        });
        if good {
            Ok(Self(text))
        } else {
            Err(format!(
                "{text:?} is not a log level; one of error, warn, info, debug, or info,mox_smtpd=debug"
            ))
        }
    }
}
