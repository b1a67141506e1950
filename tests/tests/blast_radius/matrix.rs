//! `matrix.toml`, read and checked: a row that says nothing of a role is an error, not a gap.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use ipc_proto::{ChannelId, control::Role};
use serde::Deserialize;

use crate::attempt::NOT_TRIED;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Matrix {
    #[serde(rename = "role")]
    pub(crate) roles: Vec<Captured>,
    #[serde(rename = "row")]
    pub(crate) rows: Vec<Row>,
    #[serde(rename = "verb")]
    pub(crate) verbs: Vec<Verb>,
    #[serde(rename = "forgery")]
    pub(crate) forgeries: Vec<Forgery>,
    #[serde(rename = "event")]
    pub(crate) events: Vec<crate::events::Said>,
}

/// One process.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Captured {
    pub(crate) name: String,
    kind: String,
    asks: Vec<String>,
    pub(crate) gets: String,
    pub(crate) does_not_get: String,
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
    #[serde(default)]
    ordinary: BTreeMap<String, Outcome>,
    pub(crate) unlocked: Unlocked,
    pub(crate) why: String,
}

/// How it ends without the sandbox.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unlocked {
    /// For another of moxd's users.
    pub(crate) another: Outcome,
    /// For the one that all processes share where an ordinary user runs moxd.
    pub(crate) same: Outcome,
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
    #[serde(rename = "EINVAL")]
    Einval,
    #[serde(rename = "absent")]
    Absent,
    #[serde(rename = "varies")]
    Varies,
}

impl Outcome {
    /// Whether an attempt ended so.
    pub(crate) fn is(self, errno: i32) -> bool {
        match self {
            Self::Ok => errno == 0,
            Self::Eperm => errno == libc::EPERM,
            Self::Eacces => errno == libc::EACCES,
            Self::Einval => errno == libc::EINVAL,
            Self::Absent => errno == NOT_TRIED,
            Self::Varies => true,
        }
    }

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Ok => "allowed",
            Self::Eperm => "EPERM",
            Self::Eacces => "EACCES",
            Self::Einval => "EINVAL",
            Self::Absent => "has none",
            Self::Varies => "varies",
        }
    }
}

/// One request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verb {
    pub(crate) what: String,
    pub(crate) roles: Vec<String>,
    pub(crate) to: String,
    pub(crate) send: String,
    pub(crate) outcome: String,
    pub(crate) filed: Option<usize>,
    pub(crate) why: String,
}

/// Octets into every channel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forgery {
    pub(crate) what: String,
    pub(crate) send: String,
    ends: Option<Side>,
    pub(crate) outcome: Effect,
    pub(crate) why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Asks,
    Answers,
}

/// What octets in a channel come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Effect {
    Violation,
    Contained,
    Bounded,
}

/// One end of a channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) role: Role,
    pub(crate) channel: ChannelId,
    pub(crate) asks: bool,
    /// Who answers on it: this end or the other.
    pub(crate) answers: Role,
}

impl Matrix {
    pub(crate) fn read() -> Self {
        let path = crate::root().join("tests/blast-radius/matrix.toml");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let matrix: Self =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let named = |name: &String| {
            name == "all" || matrix.roles.iter().any(|role| role.name == *name || role.kind == *name)
        };
        for row in &matrix.rows {
            if let Some(stranger) = row.expect.keys().chain(row.ordinary.keys()).find(|name| !named(name)) {
                panic!("{}: {stranger}", row.what);
            }
            for role in &matrix.roles {
                row.outcome(role);
            }
        }
        matrix
    }

    /// Both ends of every channel between two roles.
    pub(crate) fn ends(&self) -> Vec<End> {
        let mut ends = Vec::new();
        for role in &self.roles {
            for other in &role.asks {
                let answers = self.role(other).role();
                let channel = role.channel(other);
                ends.push(End { role: role.role(), channel, asks: true, answers });
                ends.push(End { role: answers, channel, asks: false, answers });
            }
        }
        ends
    }

    /// Everybody who answers somebody.
    pub(crate) fn answering(&self) -> BTreeSet<Role> {
        self.ends().into_iter().map(|end| end.answers).collect()
    }

    pub(crate) fn role(&self, name: &str) -> &Captured {
        let found = self.roles.iter().find(|role| role.name == name);
        found.unwrap_or_else(|| panic!("{name}: no such role in the matrix"))
    }
}

impl Captured {
    pub(crate) fn role(&self) -> Role {
        let mut all = Role::FIXED.into_iter().chain([Role::Accountd]);
        let found = all.find(|role| role.binary().trim_start_matches("mox-") == self.name);
        found.unwrap_or_else(|| panic!("{}: moxd has no such role", self.name))
    }

    /// The one to another role.
    pub(crate) fn channel(&self, to: &str) -> ChannelId {
        let capital = |name: &str| name[..1].to_uppercase() + &name[1..];
        let wanted = capital(&self.name) + &capital(to);
        let found = crate::forgery::CHANNELS.into_iter().find(|channel| format!("{channel:?}") == wanted);
        found.unwrap_or_else(|| panic!("{wanted}: moxd has no such channel"))
    }
}

impl Row {
    pub(crate) fn outcome(&self, role: &Captured) -> Outcome {
        let found = of_role(&self.expect, role);
        found.unwrap_or_else(|| panic!("{}: nothing is expected of {}", self.what, role.name))
    }

    /// Where an ordinary user runs moxd.
    pub(crate) fn ordinary_outcome(&self, role: &Captured) -> Outcome {
        of_role(&self.ordinary, role).unwrap_or_else(|| self.outcome(role))
    }
}

fn of_role(outcomes: &BTreeMap<String, Outcome>, role: &Captured) -> Option<Outcome> {
    let mut names = [&role.name, &role.kind].into_iter().map(String::as_str).chain(["all"]);
    names.find_map(|name| outcomes.get(name)).copied()
}

impl Forgery {
    pub(crate) fn goes_into(&self, end: End) -> bool {
        self.ends.is_none_or(|side| (side == Side::Asks) == end.asks)
    }

    /// For the table.
    pub(crate) const fn into(&self) -> &'static str {
        match self.ends {
            None => "any",
            Some(Side::Asks) => "asking",
            Some(Side::Answers) => "answering",
        }
    }
}

/// The switchboard's own table: a channel between two roles that the matrix does not know is never attacked.
#[test]
fn the_matrix_has_every_channel_of_the_switchboard() {
    let source = include_str!("../../../supervisor/src/topology.rs");
    let edges = source.lines().filter_map(|line| line.trim().strip_prefix("edge(ChannelId::"));
    let mut edges: Vec<_> = edges.filter_map(|line| line.split(',').next()).map(str::to_owned).collect();
    // Accounts' are made when their processes are, so not in that table.
    edges.extend(["QueuedAccountd", "AccountdAuthd"].map(str::to_owned));
    edges.sort();
    let ends = Matrix::read().ends();
    let mut asked: Vec<_> =
        ends.iter().filter(|end| end.asks).map(|end| format!("{:?}", end.channel)).collect();
    asked.sort();
    assert_eq!(asked, edges);
}
