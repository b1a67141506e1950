//! LIST below `Other Users/`: who shares something, and what.

use imapd::{List, NameForm, Tag, response};
use store_lib::SEPARATOR;

use crate::pattern::Pattern;
use crate::reply::{Reply, Stop};
use crate::session::Session;
use crate::sharing::OTHER_USERS;

/// Accounts whose processes one LIST asks.
const MOST: usize = 32;

/// What a pattern says of mailboxes of others.
#[derive(Debug, PartialEq, Eq)]
struct Asks {
    /// It may show names below an account's level.
    mailboxes: bool,
}

/// `None`: nothing. A pattern has to say `Other Users`: who lists all mailboxes means the account's own (RFC 2342 §5 has
/// clients look at the other namespaces themselves).
fn asks(pattern: &str) -> Option<Asks> {
    let rest = pattern.strip_prefix(OTHER_USERS)?;
    let below = match rest.strip_prefix(SEPARATOR) {
        Some(below) => below,
        None if rest.is_empty() || rest.starts_with(['*', '%']) => rest,
        None => return None,
    };
    let mailboxes =
        below.contains('*') || below.split_once(SEPARATOR).is_some_and(|(_, rest)| !rest.is_empty());
    Some(Asks { mailboxes })
}

impl Session {
    /// What a LIST says of other accounts' mailboxes comes behind what it says of this one's. `Ok(None)`: nothing.
    pub(super) fn list_elsewhere(&mut self, tag: &Tag, list: &List) -> Result<Option<Reply>, Stop> {
        let patterns: Vec<String> =
            list.patterns.iter().map(|pattern| format!("{}{pattern}", list.reference)).collect();
        let asked: Vec<Asks> = patterns.iter().filter_map(|pattern| asks(pattern)).collect();
        // Subscriptions, special uses and annotations are this account's.
        let own_only =
            list.selection.subscribed || list.selection.special_use || !list.returns.metadata.is_empty();
        if asked.is_empty() || own_only {
            return Ok(None);
        }
        let reply = self.list(list)?;
        let raw = std::mem::take(&mut self.remotes.raw);
        let compiled: Vec<Pattern> =
            list.patterns.iter().map(|pattern| Pattern::new(&list.reference, pattern)).collect();
        let matches = |name: &str| compiled.iter().any(|pattern| pattern.matches(name));
        let owners = self.neighbours()?.owners()?;
        let names = self.names;
        if matches(OTHER_USERS) && !owners.is_empty() {
            write_level(&mut self.connection.out, OTHER_USERS, names);
        }
        let mut left = MOST;
        for owner in owners {
            let level = format!("{OTHER_USERS}{SEPARATOR}{}", owner.name);
            if matches(&level) {
                write_level(&mut self.connection.out, &level, names);
            }
            self.connection.flush_if_full()?;
            let may_show = asked.iter().any(|asked| asked.mailboxes)
                && patterns.iter().any(|pattern| may_be_below(pattern, &level));
            if !may_show || left == 0 {
                continue;
            }
            left -= 1;
            // One that cannot be reached now is left out.
            let listed = self
                .remote(&owner.name)
                .and_then(|number| self.ask(number, &raw, tag.as_bytes(), &mut super::show));
            if let Err(Stop::End(end)) = listed {
                return Err(end.into());
            }
        }
        Ok(Some(reply))
    }
}

/// Whether a pattern can match anything below this level: up to its first wildcard it agrees with it.
fn may_be_below(pattern: &str, level: &str) -> bool {
    let literal = pattern.split(['*', '%']).next().unwrap_or_default();
    let level = format!("{level}{SEPARATOR}");
    level.starts_with(literal) || literal.starts_with(&level)
}

fn write_level(out: &mut Vec<u8>, name: &str, form: NameForm) {
    out.extend_from_slice(b"* LIST (\\Noselect \\HasChildren) \"/\" ");
    response::mailbox(out, name, form);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_say_whether_they_mean_others() {
        for (pattern, mailboxes) in [
            ("*", None),
            ("%", None),
            ("Other", None),
            ("Other Users2/x", None),
            ("Other Users", Some(false)),
            ("Other Users/%", Some(false)),
            ("Other Users/bob", Some(false)),
            ("Other Users/bob/", Some(false)),
            ("Other Users*", Some(true)),
            ("Other Users/*", Some(true)),
            ("Other Users/bob/%", Some(true)),
            ("Other Users/%/Plans", Some(true)),
        ] {
            assert_eq!(asks(pattern).map(|asks| asks.mailboxes), mailboxes, "{pattern}");
        }
        assert!(may_be_below("Other Users/%/Plans", "Other Users/bob"));
        assert!(may_be_below("Other Users/bob/*", "Other Users/bob"));
        assert!(may_be_below("Other Users/b*", "Other Users/bob"));
        assert!(!may_be_below("Other Users/bob/*", "Other Users/bobby"));
        assert!(!may_be_below("Other Users/carol/%", "Other Users/bob"));
    }
}
