//! Quotas on disk, and what the admin does to them.

use ipc_proto::{
    authd::AuthdToAdmin,
    quota::{QuotaLimit, QuotaLimits, QuotaRequest, QuotaSubject},
};
use mail_lib::address::Domain;
use rusqlite::{Connection, Row, params};

use super::{
    Applied, Directory, Refusal,
    book::{Book, QuotaOf},
    database::{for_each, id, nonsense},
};
use crate::name::AccountName;

/// The most octets and messages that can be set: what the database's numbers hold.
const MAX: u64 = i64::MAX as u64;

/// In a column, for no limit.
const UNLIMITED: i64 = -1;

impl Directory {
    pub(super) fn apply_to_quotas(&mut self, request: QuotaRequest) -> Result<Applied, Refusal> {
        match request {
            QuotaRequest::Set { subject, limits } => {
                let of = self.quota_of(&subject)?;
                let before = self.book.read().quota_limits(&of).unwrap_or_default();
                let limits = QuotaLimits {
                    octets: limits.octets.or(before.octets),
                    messages: limits.messages.or(before.messages),
                };
                let (account, domain) = match &of {
                    QuotaOf::All => (None, None),
                    QuotaOf::Domain(domain) => (None, Some(domain.as_str())),
                    QuotaOf::Account(account) => (Some(account.number()), None),
                };
                self.database.execute(
                    "INSERT OR REPLACE INTO quota (key, account, domain, octets, messages)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![key(&of), account, domain, column(limits.octets)?, column(limits.messages)?],
                )?;
                self.book.write().set_quota(of, Some(limits));
                Ok(AuthdToAdmin::Done.into())
            }
            QuotaRequest::Remove(subject) => {
                let of = self.quota_of(&subject)?;
                if self.book.read().quota_limits(&of).is_none() {
                    return Err(Refusal::NoQuota);
                }
                self.database.execute("DELETE FROM quota WHERE key = ?1", [key(&of)])?;
                self.book.write().set_quota(of, None);
                Ok(AuthdToAdmin::Done.into())
            }
            QuotaRequest::List { after } => {
                Ok(AuthdToAdmin::Quotas(self.book.read().quotas_after(after.as_ref())).into())
            }
            QuotaRequest::Of(name) => {
                let account = self.account(&name)?;
                Ok(AuthdToAdmin::Quota(self.book.read().quota(account)).into())
            }
        }
    }

    fn quota_of(&self, subject: &QuotaSubject) -> Result<QuotaOf, Refusal> {
        Ok(match subject {
            QuotaSubject::All => QuotaOf::All,
            QuotaSubject::Domain(name) => QuotaOf::Domain(self.local_domain(name)?.0.as_str().to_owned()),
            QuotaSubject::Account(name) => QuotaOf::Account(self.account(name)?),
        })
    }
}

/// No account's name begins so.
fn key(of: &QuotaOf) -> String {
    match of {
        QuotaOf::All => "@*".to_owned(),
        QuotaOf::Domain(domain) => format!("@{domain}"),
        QuotaOf::Account(account) => account.to_string(),
    }
}

fn column(limit: Option<QuotaLimit>) -> Result<Option<i64>, Refusal> {
    match limit {
        None => Ok(None),
        Some(QuotaLimit::Unlimited) => Ok(Some(UNLIMITED)),
        Some(QuotaLimit::Most(most)) => match i64::try_from(most) {
            Ok(most) => Ok(Some(most)),
            Err(_) => Err(Refusal::QuotaTooLarge(MAX)),
        },
    }
}

fn limit(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<QuotaLimit>> {
    match row.get::<_, Option<i64>>(at)? {
        None => Ok(None),
        Some(UNLIMITED) => Ok(Some(QuotaLimit::Unlimited)),
        Some(most) => match u64::try_from(most) {
            Ok(most) => Ok(Some(QuotaLimit::Most(most))),
            Err(_) => Err(nonsense("quota")),
        },
    }
}

/// Behind the accounts and domains.
pub(super) fn read(database: &Connection, book: &mut Book) -> rusqlite::Result<()> {
    for_each(database, "SELECT account, domain, octets, messages FROM quota", |row| {
        let domain: Option<String> = row.get(1)?;
        let of = match (row.get::<_, Option<u32>>(0)?, domain) {
            (None, None) => QuotaOf::All,
            (None, Some(domain)) => {
                let domain = Domain::parse(&domain).map_err(|_| nonsense("domain"))?;
                QuotaOf::Domain(domain.as_str().to_owned())
            }
            (Some(_), None) => QuotaOf::Account(id(row, 0)?),
            (Some(_), Some(_)) => return Err(nonsense("quota")),
        };
        book.set_quota(of, Some(QuotaLimits { octets: limit(row, 2)?, messages: limit(row, 3)? }));
        Ok(())
    })
}

/// What comes behind it in a list: all, then domains, then accounts, each in their order.
pub(super) fn subject(
    of: &QuotaOf,
    name: impl Fn(ipc_proto::AccountId) -> Option<AccountName>,
) -> Option<QuotaSubject> {
    Some(match of {
        QuotaOf::All => QuotaSubject::All,
        QuotaOf::Domain(domain) => QuotaSubject::Domain(domain.clone()),
        QuotaOf::Account(account) => QuotaSubject::Account(name(*account)?.as_str().to_owned()),
    })
}
