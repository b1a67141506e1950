//! CATENATE: parts of a new message that are in another one already (RFC 4469).

use imapd::MessageUrl;
use store_lib::Uid;

use crate::reply::{Reply, Stop};
use crate::section::{self, Content, Found};
use crate::session::Session;

/// Of a URL, so much is shown in an answer.
const SHOWN: usize = 500;

/// Gives `each` the octets that `url` names, piece by piece.
pub(crate) fn part(
    session: &Session,
    url: &[u8],
    each: &mut dyn FnMut(&[u8]) -> Result<(), Reply>,
) -> Result<(), Stop> {
    let bad = || Stop::from(bad_url(url));
    // A guest's URL means a mailbox of its own account, which is not here.
    if session.is_guest() {
        return Err(bad());
    }
    let parsed = MessageUrl::parse(url).ok_or_else(bad)?;
    let mailbox = match (&parsed.mailbox, &session.selected) {
        (Some(name), _) => session.find(name).map_err(|_| bad())?.ok_or_else(bad)?,
        (None, Some(selected)) => {
            let id = selected.mailbox;
            session.read(|reader| reader.mailbox(id))?.ok_or_else(bad)?
        }
        (None, None) => return Err(bad()),
    };
    if parsed.uidvalidity.is_some_and(|wanted| wanted.get() != mailbox.uidvalidity.value()) {
        return Err(bad());
    }
    let uid = Uid::new(parsed.uid.get()).ok_or_else(bad)?;
    let body = session.read(|reader| reader.body(mailbox.id, uid))?.ok_or_else(bad)?;
    let mut content = Content::new(&body);
    let whole = section::whole();
    let found = section::find(&mut content, parsed.section.as_ref().unwrap_or(&whole), parsed.partial)?;
    match found.ok_or_else(bad)? {
        Found::Range(range) => content.pieces(range, |piece| {
            if session.connection.is_abandoned()? {
                return Err(crate::End::Disconnected.into());
            }
            each(piece)?;
            Ok::<_, Stop>(true)
        }),
        Found::Fields(fields) => Ok(each(&fields)?),
    }
}

/// Which one it was (RFC 4469 §4), as far as it can stand in a response code.
fn bad_url(url: &[u8]) -> Reply {
    let shown = url.iter().take(SHOWN).filter(|octet| octet.is_ascii_graphic());
    let shown: String =
        shown.filter(|octet| !matches!(octet, b'"' | b']' | b'\\')).map(|octet| char::from(*octet)).collect();
    Reply::no(format!("[BADURL \"{shown}\"] nothing in this account has that URL"))
}
