//! FILTERS (RFC 5466): searches that were given a name, and stand wherever a search key can.

use crate::cursor::{Cursor, SyntaxError};
use crate::search::{KEY_LIMIT, SearchKey};

/// How often what stands for a filter may hold another one (RFC 5466 §3.1 asks for three times at least). So a loop
/// ends, too.
const PASS_LIMIT: usize = 5;
/// Filters in one search, those within others counted.
const FILTER_LIMIT: usize = 100;

/// The name of a filter: letters of atoms, without a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterName(String);

impl FilterName {
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let name = cursor.atom()?;
        match name.contains(&b'/') || name.len() > 200 {
            true => Err(SyntaxError::Expected("the name of a filter")),
            false => Ok(Self(String::from_utf8_lossy(name).into_owned())),
        }
    }

    /// As the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a search with filters is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Unresolved<E> {
    /// There is no such filter, or what stands for it is no search, or goes in a circle, or is too much.
    Undefined(FilterName),
    /// It could not be looked up.
    Failed(E),
}

/// Knows what stands for a filter; `None`: there is no such one.
type Find<'a, E> = dyn FnMut(&FilterName) -> Result<Option<Vec<u8>>, E> + 'a;

/// Whether `value` can stand for a filter.
pub fn is_filter(value: &[u8]) -> bool {
    SearchKey::parse_within(value, 0, &mut KEY_LIMIT.clone()).is_ok()
}

impl SearchKey {
    /// The same search with what stands for each filter in its place, as one key. `find` knows the values.
    pub fn resolve_filters<E>(self, find: &mut Find<'_, E>) -> Result<Self, Unresolved<E>> {
        Resolving { find, keys: KEY_LIMIT, filters: FILTER_LIMIT }.resolve(self, 0, 0)
    }
}

struct Resolving<'a, 'f, E> {
    find: &'a mut Find<'f, E>,
    /// Keys and filters that may still come.
    keys: usize,
    filters: usize,
}

impl<E> Resolving<'_, '_, E> {
    /// As deep as a search without filters may be, whatever the filters hold.
    fn resolve(&mut self, key: SearchKey, depth: usize, passes: usize) -> Result<SearchKey, Unresolved<E>> {
        let mut boxed = |key: Box<SearchKey>| self.resolve(*key, depth + 1, passes).map(Box::new);
        Ok(match key {
            SearchKey::Not(key) => SearchKey::Not(boxed(key)?),
            SearchKey::Fuzzy(key) => SearchKey::Fuzzy(boxed(key)?),
            SearchKey::Or(one, other) => SearchKey::Or(boxed(one)?, boxed(other)?),
            SearchKey::And(keys) => {
                let keys: Result<_, _> =
                    keys.into_iter().map(|key| self.resolve(key, depth + 1, passes)).collect();
                SearchKey::And(keys?)
            }
            SearchKey::Filter(name) => {
                let value = (self.find)(&name).map_err(Unresolved::Failed)?;
                let (Some(value), true, Some(left)) =
                    (value, passes < PASS_LIMIT, self.filters.checked_sub(1))
                else {
                    return Err(Unresolved::Undefined(name));
                };
                self.filters = left;
                match SearchKey::parse_within(&value, depth + 1, &mut self.keys) {
                    Ok(key) => self.resolve(key, depth + 1, passes + 1)?,
                    Err(_) => return Err(Unresolved::Undefined(name)),
                }
            }
            key => key,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::NESTING_LIMIT;

    fn parsed(text: &str) -> SearchKey {
        SearchKey::parse_all(&mut Cursor::new(text.as_bytes())).unwrap()
    }

    fn resolved(search: &str, filters: &[(&str, &str)]) -> Result<SearchKey, Unresolved<()>> {
        parsed(search).resolve_filters(&mut |name| {
            let found = filters.iter().find(|(known, _)| *known == name.as_str());
            Ok(found.map(|(_, value)| value.as_bytes().to_vec()))
        })
    }

    fn undefined(name: &str) -> Result<SearchKey, Unresolved<()>> {
        Err(Unresolved::Undefined(FilterName(name.to_owned())))
    }

    #[test]
    fn what_stands_for_a_filter_takes_its_place() {
        let road = [
            ("on-the-road", "OR SMALLER 5000 FROM \"boss@example.com\""),
            ("two", "SEEN FILTER on-the-road"),
        ];
        for (search, same) in [
            (
                "UID 300:900 FILTER on-the-road SINCE 3-Dec-2002",
                "UID 300:900 OR SMALLER 5000 FROM boss@example.com SINCE 3-Dec-2002",
            ),
            ("NOT FILTER two", "NOT (SEEN OR SMALLER 5000 FROM boss@example.com)"),
            (
                "OR FILTER two FUZZY FILTER two",
                "OR (SEEN OR SMALLER 5000 FROM boss@example.com) FUZZY (SEEN OR SMALLER 5000 FROM boss@example.com)",
            ),
            ("SEEN", "SEEN"),
        ] {
            assert_eq!(resolved(search, &road), Ok(parsed(same)), "{search}");
        }
    }

    #[test]
    fn a_filter_that_is_none_is_named() {
        for (value, reason) in [
            ("OR SMALLER", "half a search"),
            ("", "nothing"),
            ("SEEN ", "a space too many"),
            ("CHARSET UTF-8 SEEN", "a charset"),
            ("FILTER x", "a circle"),
            ("TEXT \"\u{e4}\" )", "more than a search"),
        ] {
            assert_eq!(resolved("SEEN FILTER x", &[("x", value)]), undefined("x"), "{reason}");
            assert_eq!(is_filter(value.as_bytes()), value == "FILTER x", "{reason}");
        }
        assert_eq!(resolved("FILTER nowhere", &[]), undefined("nowhere"));
        assert_eq!(resolved("FILTER a", &[("a", "FILTER b"), ("b", "FILTER a")]), undefined("b"));
        let failed = parsed("FILTER x").resolve_filters(&mut |_| Err("disk"));
        assert_eq!(failed, Err(Unresolved::Failed("disk")));
    }

    /// Attack class 8: filters within filters are bounded in number, depth and size, however little each one holds.
    #[test]
    fn filters_within_filters_are_bounded() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let chain: Vec<(&str, String)> = names
            .iter()
            .zip(names.iter().skip(1))
            .map(|(name, next)| (*name, format!("FILTER {next}")))
            .collect();
        let chain = |last: &'static str| {
            let mut all: Vec<_> = chain.iter().map(|(name, value)| (*name, value.as_str())).collect();
            all.push(("f", last));
            all
        };
        assert_eq!(resolved("FILTER b", &chain("SEEN")), Ok(parsed("SEEN")));
        assert_eq!(resolved("FILTER a", &chain("SEEN")), undefined("f"));
        let ten = ["FILTER b"; 10].join(" ");
        let bomb = [
            ("a", ten.as_str()),
            ("b", &ten.replace('b', "c")),
            ("c", &ten.replace('b', "d")),
            ("d", "SEEN"),
        ];
        assert!(resolved("FILTER a", &bomb).is_err());
        let deep = format!("{}SEEN", "NOT ".repeat(NESTING_LIMIT - 2));
        assert!(resolved("FILTER x", &[("x", &deep)]).is_ok());
        assert_eq!(resolved("NOT NOT FILTER x", &[("x", &deep)]), undefined("x"));
        let wide = vec!["SEEN"; 600].join(" ");
        assert!(resolved("FILTER x", &[("x", &wide)]).is_ok());
        assert_eq!(resolved("FILTER x FILTER x", &[("x", &wide)]), undefined("x"));
    }

    #[test]
    fn names_have_no_slash() {
        for text in ["FILTER a/b", "FILTER \"a\"", "FILTER a*", "FILTER", "FILTER "] {
            assert!(SearchKey::parse_all(&mut Cursor::new(text.as_bytes())).is_err(), "{text}");
        }
    }
}
