//! GENURLAUTH, RESETKEY and URLFETCH (RFC 4467; RFC 5524). A URL is good for the account whose key made its token: the key
//! of the mailbox that it names, in this account, says whether it was made here. So a session needs to know no names,
//! and URLs of other accounts get the answer that all get that are not to be had: NIL.

use imapd::response::{self, Status};
use imapd::{Access, AuthorisedUrl, FetchItem, SectionText, UrlFetch, UrlItems};
use store_lib::{Body, Columns, Mailbox, StoreError, Uid, UnixSeconds};

use crate::End;
use crate::binary::{self, Decoding, Measured};
use crate::fetch::write_structure;
use crate::reply::{Reply, Stop};
use crate::section::{self, Content};
use crate::session::Session;
use crate::structure;

/// The only mechanism, which every server has (RFC 4467 §2.4).
const INTERNAL: &str = "INTERNAL";
/// URLMECH of RESETKEY, SELECT and EXAMINE (RFC 4467 §8).
pub(crate) const MECHANISMS: &str = "[URLMECH INTERNAL]";

/// What a URL names.
struct Named {
    body: Body,
    structure: Option<Vec<u8>>,
    url: AuthorisedUrl,
}

impl Session {
    pub(crate) fn generate_urls(&mut self, urls: &[(Vec<u8>, String)]) -> Result<Reply, Stop> {
        self.check_writable_account()?;
        let mut generated = Vec::with_capacity(urls.len());
        for (url, mechanism) in urls {
            if mechanism != INTERNAL {
                return Err(Reply::bad("the only mechanism is INTERNAL").into());
            }
            let url = AuthorisedUrl::parse(url).filter(|url| url.token.is_none());
            let url = url.ok_or(Reply::bad("that is no URL of a message to be authorised"))?;
            let mailbox = self.mailbox_of(&url)?.ok_or(Reply::bad("no mailbox has that URL"))?;
            let token = self.store.authorise(mailbox.id, &url.rump)?;
            generated.push(url.with_token(&token));
        }
        let out = &mut self.connection.out;
        out.extend_from_slice(b"* GENURLAUTH");
        for url in generated {
            out.push(b' ');
            response::string(out, &url);
        }
        out.extend_from_slice(b"\r\n");
        Ok(Reply::ok("GENURLAUTH completed"))
    }

    pub(crate) fn reset_key(&mut self, mailbox: Option<&str>, mechanisms: &[String]) -> Result<Reply, Stop> {
        self.check_writable_account()?;
        if mechanisms.iter().any(|mechanism| mechanism != INTERNAL) {
            return Err(Reply::bad("the only mechanism is INTERNAL").into());
        }
        let Some(mailbox) = mailbox else {
            self.store.remove_access_keys(self.origin)?;
            return Ok(Reply::ok("RESETKEY completed, of all mailboxes"));
        };
        let found = self.find(mailbox)?.ok_or(StoreError::NoSuchMailbox)?;
        self.store.reset_access_key(found.id, self.origin)?;
        Ok(Reply::ok(format!("{MECHANISMS} RESETKEY completed")))
    }

    /// Another session gave the selected mailbox another key (RFC 4467 §7).
    pub(crate) fn tell_access_key(&mut self) {
        let Some(selected) = &mut self.selected else { return };
        if std::mem::take(&mut selected.access_key_reset) {
            let text = format!("{MECHANISMS} URLs of this mailbox are to be authorised anew");
            response::untagged(&mut self.connection.out, Status::Ok, &text);
        }
    }

    pub(crate) fn fetch_urls(&mut self, urls: &[UrlFetch]) -> Result<Reply, Stop> {
        let mut decoding = Decoding::new(self.limits.search);
        for UrlFetch { url, items } in urls {
            let named = self.named(url)?;
            self.connection.out.extend_from_slice(b"* URLFETCH ");
            response::astring(&mut self.connection.out, url);
            let told = match named {
                Some(named) => self.write_url(&named, *items, &mut decoding)?,
                None => false,
            };
            if !told {
                self.connection.out.extend_from_slice(b" NIL");
            }
            self.connection.out.extend_from_slice(b"\r\n");
            self.connection.flush_if_full()?;
        }
        Ok(Reply::ok("URLFETCH completed"))
    }

    /// What a URL names, if this session may have it.
    fn named(&self, url: &[u8]) -> Result<Option<Named>, Stop> {
        let Some(url) = AuthorisedUrl::parse(url) else { return Ok(None) };
        let Some(token) = &url.token else { return Ok(None) };
        let Some(mailbox) = self.mailbox_of(&url)? else { return Ok(None) };
        // First of all: who has no token learns nothing of what is there, nor when it expires.
        if !self.read(|reader| reader.is_authorised(mailbox.id, &url.rump, token))? {
            return Ok(None);
        }
        let expired = url.expire.is_some_and(|expire| UnixSeconds::now().0 >= expire);
        let may_use = match &url.access {
            // Nobody submits mail by URL here.
            Access::Submit(_) => false,
            // Whoever made the URL is this account, and said which name it has.
            Access::User(user) => *user == url.user,
            Access::AuthUser | Access::Anonymous => true,
        };
        let Some(uid) = Uid::new(url.message.uid.get()).filter(|_| may_use && !expired) else {
            return Ok(None);
        };
        let (body, structure) = self.read(|reader| {
            let mut structure = None;
            reader.fetch(mailbox.id, uid..=uid, Columns::Summary, |message| {
                structure = message.summary.map(|summary| summary.bodystructure.to_vec());
                std::ops::ControlFlow::Continue(())
            })?;
            Ok((reader.body(mailbox.id, uid)?, structure))
        })?;
        Ok(body.map(|body| Named { body, structure, url }))
    }

    /// The mailbox of a URL, with the UIDVALIDITY that it says.
    fn mailbox_of(&self, url: &AuthorisedUrl) -> Result<Option<Mailbox>, Stop> {
        let Some(name) = &url.message.mailbox else { return Ok(None) };
        let found = match self.find(name) {
            Ok(found) => found,
            // What is no name is no mailbox.
            Err(Stop::Reply(_)) => None,
            Err(Stop::End(end)) => return Err(end.into()),
        };
        let wanted = url.message.uidvalidity.map(|validity| validity.get());
        Ok(found.filter(|found| wanted.is_none_or(|wanted| wanted == found.uidvalidity.value())))
    }

    /// `false`, and nothing is written: the message has no such part.
    fn write_url(
        &mut self,
        named: &Named,
        items: Option<UrlItems>,
        decoding: &mut Decoding,
    ) -> Result<bool, Stop> {
        let Named { body, structure, url } = named;
        let message = &url.message;
        let mut content = Content::new(body);
        let whole = section::whole();
        let section = message.section.as_ref().unwrap_or(&whole);
        if section::find(&mut content, section, message.partial)?.is_none() {
            return Ok(false);
        }
        let connection = &mut self.connection;
        let Some(items) = items else {
            connection.out.push(b' ');
            section::write_section(connection, &mut content, section, message.partial)?;
            return Ok(true);
        };
        let is_part = section.text == SectionText::Whole;
        let part = match structure.as_deref().filter(|_| !section.part.is_empty()) {
            Some(structure) => structure::part(structure, &section.part),
            None => structure.as_deref(),
        };
        if items.structure {
            // Of what is no part there is none.
            if !is_part || structure.is_some() && part.is_none() {
                return Ok(false);
            }
            connection.out.extend_from_slice(b" (BODYPARTSTRUCTURE ");
            write_structure(&mut connection.out, part, body.size());
            connection.out.push(b')');
        }
        if items.body || items.binary && !is_part {
            connection.out.extend_from_slice(if items.body { b" (BODY " } else { b" (BINARY " });
            section::write_section(connection, &mut content, section, message.partial)?;
            connection.out.push(b')');
        } else if items.binary {
            let (part, partial) = (section.part.clone(), message.partial);
            let item = FetchItem::Binary { part, partial, peek: true };
            let measured = decoding.measure(connection, &mut content, &item)?;
            connection.out.extend_from_slice(b" (BINARY ");
            write_decoded(self, &content, measured)?;
            self.connection.out.push(b')');
        }
        Ok(true)
    }
}

/// NIL is what nobody can decode (RFC 5524 §3.2).
fn write_decoded(
    session: &mut Session,
    content: &Content<'_>,
    measured: Option<Measured>,
) -> Result<(), End> {
    match measured {
        Some(measured) => binary::write_value(&mut session.connection, content, &measured),
        None => {
            session.connection.out.extend_from_slice(b"NIL");
            Ok(())
        }
    }
}
