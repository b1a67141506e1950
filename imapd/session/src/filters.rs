//! FILTERS (RFC 5466): the values of filters are annotations of the account as a whole.

use imapd::{Command, FilterName, SearchKey, SearchReturn, Unresolved};
use store_lib::{Annotated, EntryName, Reader, StoreError};

use crate::reply::{Reply, Stop};
use crate::session::Session;

/// Where values are kept; one's own goes before all others' (RFC 5466 §3.1).
const ROOTS: [&str; 2] = ["/private/filters/values/", "/shared/filters/values/"];

/// Whether what is set there has to be a search.
pub(crate) fn is_filter_entry(entry: &EntryName) -> bool {
    ROOTS.iter().any(|root| entry.as_str().starts_with(root))
}

impl Session {
    /// The same command, with what filters stand for in the place of each.
    pub(crate) fn resolve_filters(&mut self, mut command: Command) -> Result<Command, Stop> {
        let (Command::Search { key, .. }
        | Command::Sort { key, .. }
        | Command::Thread { key, .. }
        | Command::Esearch { key, .. }) = &mut command
        else {
            return Ok(command);
        };
        if !key.any(&|key| matches!(key, SearchKey::Filter(_))) {
            return Ok(command);
        }
        let search = std::mem::replace(key, SearchKey::All);
        // Those that are kept here are not a guest's.
        let guest = self.is_guest();
        let resolved = search.resolve_filters(&mut |name| match guest {
            true => Ok(None),
            false => self.read(|reader| value(reader, name)),
        });
        match resolved {
            Ok(resolved) => *key = resolved,
            Err(Unresolved::Failed(error)) => return Err(error.into()),
            Err(Unresolved::Undefined(name)) => {
                self.forget_saved(&command);
                let name = name.as_str();
                return Err(Reply::no(format!("[UNDEFINED-FILTER {name}] that filter is no search")).into());
            }
        }
        Ok(command)
    }

    /// A search that was to be saved and failed leaves nothing saved (RFC 5182 §2.1).
    fn forget_saved(&mut self, command: &Command) {
        let results: Option<SearchReturn> =
            if let Command::Search { results, .. } | Command::Sort { results, .. } = command {
                *results
            } else if let Command::Esearch { results, .. } = command {
                Some(*results)
            } else {
                None
            };
        if let (Some(selected), true) = (&mut self.selected, results.is_some_and(|results| results.save)) {
            selected.save([]);
        }
    }
}

fn value(reader: &Reader<'_>, name: &FilterName) -> Result<Option<Vec<u8>>, StoreError> {
    for root in ROOTS {
        // What is no name of an entry has no value.
        let Ok(entry) = EntryName::parse(format!("{root}{}", name.as_str()).as_bytes()) else { continue };
        if let Some(value) = reader.metadata_value(Annotated::Server, &entry)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}
