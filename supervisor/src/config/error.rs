//! Errors of the configuration: file, line, key, what is wrong, what would be right, on one line.

use std::path::Path;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub(super) String);

impl ConfigError {
    /// From the TOML reader: unknown keys, wrong types, values that do not parse.
    pub(super) fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.get(..at).unwrap_or(text).matches('\n').count() + 1;
        let what = error.message().lines().collect::<Vec<_>>().join("; ");
        let key = key_at(text, line);
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        Self(format!("{}:{line}: {key}{what}", path.display()))
    }

    /// From our own checks.
    pub(super) fn value(path: &Path, text: &str, key: &[&str], what: String) -> Self {
        let name = key.join(".");
        match line_of(text, key) {
            Some(line) => Self(format!("{}:{line}: {name}: {what}", path.display())),
            None => Self(format!("{}: {name}: {what}", path.display())),
        }
    }
}

/// The section that a line stands in, and the lines before it.
fn sections(text: &str) -> impl Iterator<Item = (usize, String, &str)> {
    let mut section = String::new();
    text.lines().enumerate().map(move |(index, line)| {
        let trimmed = line.trim();
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim().to_owned();
        }
        (index + 1, section.clone(), trimmed)
    })
}

fn key_of(line: &str) -> Option<&str> {
    line.split_once('=').map(|(key, _)| key.trim()).filter(|key| !key.starts_with('#'))
}

/// The dotted key that is set on `line`.
fn key_at(text: &str, line: usize) -> String {
    match sections(text).find(|(number, ..)| *number == line) {
        Some((_, section, content)) => match key_of(content) {
            Some(key) if section.is_empty() => key.to_owned(),
            Some(key) => format!("{section}.{key}"),
            None => section,
        },
        None => String::new(),
    }
}

/// Where a key is set, or at least its section.
fn line_of(text: &str, key: &[&str]) -> Option<usize> {
    let (last, parents) = key.split_last()?;
    let section = parents.join(".");
    sections(text)
        .find(|(_, name, content)| *name == section && key_of(content) == Some(last))
        .or_else(|| sections(text).find(|(_, name, _)| *name == section && !name.is_empty()))
        .map(|(line, ..)| line)
}
