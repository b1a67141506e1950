//! The log of login attempts: 30 days, and not more than fits.

use std::{collections::HashMap, net::IpAddr};

use ipc_proto::{
    AccountId,
    authd::{AuthdToAdmin, PAGE},
    logins::{LoginInfo, LoginResult},
    sasl::Mechanism,
    types::{ClientAddress, Protocol, Timestamp},
};
use rusqlite::{Row, TransactionBehavior, params};

use super::{
    Applied, Directory, Refusal,
    database::{id, nonsense},
};
use crate::attempts::{Counted, Kind};

/// How long an attempt is kept, seconds.
const KEPT: i64 = 30 * 24 * 3600;

/// Entries of one account, and of names that are nobody's; the oldest go.
const OF_ACCOUNT: u32 = 2000;
const OF_NOBODY: u32 = 10_000;

const RESULTS: [LoginResult; 4] =
    [LoginResult::Ok, LoginResult::Denied, LoginResult::Limited, LoginResult::Disabled];

/// As they are numbered on disk: a new one comes last.
const PROTOCOLS: [Protocol; 2] = [Protocol::Imap, Protocol::Submission];
const MECHANISMS: [Mechanism; 5] = [
    Mechanism::ScramSha256Plus,
    Mechanism::ScramSha256,
    Mechanism::Plain,
    Mechanism::Login,
    Mechanism::External,
];

fn number_of<T: PartialEq>(all: &[T], one: &T) -> i64 {
    all.iter().position(|each| each == one).and_then(|place| i64::try_from(place).ok()).unwrap_or(-1)
}

fn octets_of(address: ClientAddress) -> Vec<u8> {
    match address.0 {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address_of(octets: &[u8]) -> Option<ClientAddress> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(ClientAddress(IpAddr::from(octets)));
    }
    <[u8; 16]>::try_from(octets).ok().map(|octets| ClientAddress(IpAddr::from(octets)))
}

impl Directory {
    /// Writes them down, and forgets what is too old or too much.
    pub fn save_attempts(&mut self, attempts: HashMap<Kind, Counted>) -> Result<(), Refusal> {
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare(
                "INSERT INTO attempt (kind, account, user, address, protocol, mechanism, app_password, result, first,
                                      last, count)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
                 WHERE ?2 IS NULL OR EXISTS (SELECT 1 FROM account WHERE id = ?2)
                 ON CONFLICT (kind) DO UPDATE
                 SET last = excluded.last, count = count + excluded.count, address = excluded.address",
            )?;
            let mut trim = transaction.prepare(
                "DELETE FROM attempt WHERE account IS ?1 AND id <=
                 (SELECT id FROM attempt WHERE account IS ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            )?;
            let mut accounts: Vec<_> = attempts.keys().map(|kind| kind.account).collect();
            for (kind, counted) in attempts {
                insert.execute(params![
                    format!("{kind:?}"),
                    kind.account.map(AccountId::number),
                    kind.user,
                    octets_of(counted.address),
                    number_of(&PROTOCOLS, &kind.protocol),
                    kind.mechanism.map(|mechanism| number_of(&MECHANISMS, &mechanism)),
                    kind.app_password.as_deref(),
                    number_of(&RESULTS, &kind.result),
                    counted.first,
                    counted.last,
                    counted.count,
                ])?;
            }
            accounts.sort_unstable();
            accounts.dedup();
            for account in accounts {
                let most = if account.is_some() { OF_ACCOUNT } else { OF_NOBODY };
                trim.execute(params![account.map(AccountId::number), most])?;
            }
        }
        let old = Timestamp::now().seconds.saturating_sub(KEPT);
        transaction.execute("DELETE FROM attempt WHERE last < ?1", [old])?;
        Ok(transaction.commit()?)
    }

    pub(super) fn attempts(&self, account: Option<&str>, before: Option<u64>) -> Result<Applied, Refusal> {
        let account = account.map(|name| self.account(name)).transpose()?;
        let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
        let mut statement = self.database.prepare(
            "SELECT id, account, user, address, protocol, mechanism, app_password, result, first, last, count
             FROM attempt WHERE id < ?1 AND (?2 IS NULL OR account = ?2) AND last >= ?3 ORDER BY id DESC LIMIT ?4",
        )?;
        let old = Timestamp::now().seconds.saturating_sub(KEPT);
        let page = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let rows = statement
            .query_map(params![before, account.map(AccountId::number), old, page], |row| self.attempt(row))?;
        let infos = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(AuthdToAdmin::Logins(infos).into())
    }

    fn attempt(&self, row: &Row<'_>) -> rusqlite::Result<LoginInfo> {
        let account = row.get::<_, Option<u32>>(1)?.map(|_| id(row, 1)).transpose()?;
        let book = self.book.read();
        let mechanism = row.get::<_, Option<u8>>(5)?;
        let at = |column| row.get(column).map(|seconds| Timestamp { seconds, nanoseconds: 0 });
        Ok(LoginInfo {
            number: row.get::<_, i64>(0)?.unsigned_abs(),
            first: at(8)?,
            last: at(9)?,
            count: row.get(10)?,
            account: account.and_then(|id| Some(book.account(id)?.name.as_str().to_owned())),
            user: row.get(2)?,
            address: address_of(&row.get::<_, Vec<u8>>(3)?).ok_or_else(|| nonsense("address"))?,
            protocol: PROTOCOLS
                .get(usize::from(row.get::<_, u8>(4)?))
                .copied()
                .ok_or_else(|| nonsense("protocol"))?,
            mechanism: mechanism.and_then(|number| MECHANISMS.get(usize::from(number)).copied()),
            app_password: row.get(6)?,
            result: RESULTS
                .get(usize::from(row.get::<_, u8>(7)?))
                .copied()
                .ok_or_else(|| nonsense("result"))?,
        })
    }
}
