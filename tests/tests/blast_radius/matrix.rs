//! `matrix.toml`, read and checked: a row that says nothing of a role is an error, not a gap.

use std::{collections::BTreeMap, fs};

use ipc_proto::control::Role;
use serde::Deserialize;

use crate::attempt::NOT_TRIED;

/// All of them.
pub(crate) const ROLES: [Role; 7] =
    [Role::Smtpd, Role::Imapd, Role::Webd, Role::Queued, Role::Authd, Role::Keyd, Role::Accountd];

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Matrix {
    #[serde(rename = "row")]
    pub(crate) rows: Vec<Row>,
    #[serde(rename = "forgery")]
    pub(crate) forgeries: Vec<Forgery>,
}

/// One attack and its outcome in every role.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) what: String,
    #[serde(rename = "try")]
    pub(crate) attempt: String,
    pub(crate) control: Option<String>,
    expect: BTreeMap<String, Outcome>,
    pub(crate) why: String,
}

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Outcome {
    #[serde(rename = "ok")]
    Ok,
    #[serde(rename = "EPERM")]
    Eperm,
    #[serde(rename = "EACCES")]
    Eacces,
    #[serde(rename = "absent")]
    Absent,
}

impl Outcome {
    pub(crate) const fn errno(self) -> i32 {
        match self {
            Self::Ok => 0,
            Self::Eperm => libc::EPERM,
            Self::Eacces => libc::EACCES,
            Self::Absent => NOT_TRIED,
        }
    }

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Ok => "allowed",
            Self::Eperm => "EPERM",
            Self::Eacces => "EACCES",
            Self::Absent => "has none",
        }
    }
}

/// Octets into every channel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forgery {
    pub(crate) what: String,
    pub(crate) send: String,
    #[serde(rename = "outcome", deserialize_with = "is_violation")]
    pub(crate) violation: bool,
    pub(crate) why: String,
}

fn is_violation<'de, D: serde::Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match String::deserialize(from)?.as_str() {
        "violation" => Ok(true),
        "contained" => Ok(false),
        other => Err(serde::de::Error::custom(format!("{other:?}: violation or contained"))),
    }
}

impl Matrix {
    pub(crate) fn read() -> Self {
        let path = crate::root().join("tests/blast-radius/matrix.toml");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let matrix: Self =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for row in &matrix.rows {
            for name in row.expect.keys() {
                assert!(
                    name == "all" || ROLES.iter().any(|role| short(*role) == name),
                    "{}: {name}",
                    row.what
                );
            }
            for role in ROLES {
                row.outcome(role);
            }
        }
        matrix
    }
}

impl Row {
    pub(crate) fn outcome(&self, role: Role) -> Outcome {
        let found = self.expect.get(short(role)).or_else(|| self.expect.get("all"));
        *found.unwrap_or_else(|| panic!("{}: nothing is expected of {}", self.what, short(role)))
    }
}

/// Its name in the table.
pub(crate) fn short(role: Role) -> &'static str {
    role.binary().trim_start_matches("mox-")
}
