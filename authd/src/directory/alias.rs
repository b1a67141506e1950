//! Aliases on disk, and what the admin does to them.

use std::collections::BTreeSet;

use ipc_proto::{
    alias::{AliasOptions, AliasRequest, MAX_MEMBERS, Post},
    authd::{AuthdToAdmin, Pattern},
};
use mail_lib::address::Address;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{
    Applied, Directory, Refusal,
    book::{Alias, Book},
    database::{for_each, nonsense},
};
use crate::name::address_key;

impl Directory {
    pub(super) fn apply_to_aliases(&mut self, request: AliasRequest) -> Result<Applied, Refusal> {
        match request {
            AliasRequest::Add { alias, members, options } => self.add_alias(alias, &members, options),
            AliasRequest::Remove(alias) => {
                let key = self.alias_key(&alias)?;
                self.database.execute("DELETE FROM alias WHERE key = ?1", [&key])?;
                self.book.write().remove_alias(&key);
                Ok(AuthdToAdmin::Done.into())
            }
            AliasRequest::Disable(alias, disabled) => {
                let key = self.alias_key(&alias)?;
                self.database
                    .execute("UPDATE alias SET disabled = ?2 WHERE key = ?1", params![key, disabled])?;
                self.book.write().change_alias(&key, |alias| alias.disabled = disabled);
                Ok(AuthdToAdmin::Done.into())
            }
            AliasRequest::Set { alias, post, list_members, from } => {
                self.set_alias(&alias, post, list_members, from)
            }
            AliasRequest::MemberAdd { alias, members } => self.add_members(&alias, &members),
            AliasRequest::MemberRemove { alias, members } => self.remove_members(&alias, &members),
            AliasRequest::List { after } => {
                let after = after.map(|after| address_key(&after));
                Ok(AuthdToAdmin::Aliases(self.book.read().aliases_after(after)).into())
            }
            AliasRequest::Members { alias, after } => {
                let key = address_key(&alias);
                let book = self.book.read();
                let found = book.alias(&key).ok_or_else(|| Refusal::NoAlias(alias.to_string()))?;
                let after = after.map(|after| address_key(&after));
                Ok(AuthdToAdmin::Members(book.members_after(found, after)).into())
            }
        }
    }

    fn add_alias(
        &mut self,
        address: Address,
        members: &[Address],
        options: AliasOptions,
    ) -> Result<Applied, Refusal> {
        let members = {
            let book = self.book.read();
            Self::check_free(&book, &Pattern::Address(address.clone()))?;
            checked(&book, members)?
        };
        if members.is_empty() {
            return Err(Refusal::NoMembers);
        }
        let key = address_key(&address);
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(
            "INSERT INTO alias (key, address, domain, members_post, list_members, members_from)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                key,
                address.to_string(),
                address.domain.as_str(),
                options.post == Post::Members,
                options.list_members,
                options.from
            ],
        )?;
        insert_members(&transaction, &key, &members)?;
        transaction.commit()?;
        self.book.write().insert_alias(Alias { address, options, disabled: false, members });
        Ok(AuthdToAdmin::Done.into())
    }

    fn set_alias(
        &mut self,
        alias: &Address,
        post: Option<Post>,
        list_members: Option<bool>,
        from: Option<bool>,
    ) -> Result<Applied, Refusal> {
        let key = self.alias_key(alias)?;
        self.database.execute(
            "UPDATE alias SET members_post = ifnull(?2, members_post), list_members = ifnull(?3, list_members),
                              members_from = ifnull(?4, members_from) WHERE key = ?1",
            params![key, post.map(|post| post == Post::Members), list_members, from],
        )?;
        self.book.write().change_alias(&key, |alias| {
            let now = alias.options;
            alias.options = AliasOptions {
                post: post.unwrap_or(now.post),
                list_members: list_members.unwrap_or(now.list_members),
                from: from.unwrap_or(now.from),
            };
        });
        Ok(AuthdToAdmin::Done.into())
    }

    fn add_members(&mut self, alias: &Address, members: &[Address]) -> Result<Applied, Refusal> {
        let key = self.alias_key(alias)?;
        let members = {
            let book = self.book.read();
            let mut members = checked(&book, members)?;
            let present = book.alias(&key).map(|alias| &alias.members);
            members.retain(|member| !present.is_some_and(|present| present.contains(member)));
            if present.map_or(0, BTreeSet::len) + members.len() > MAX_MEMBERS {
                return Err(Refusal::TooManyMembers);
            }
            members
        };
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        insert_members(&transaction, &key, &members)?;
        transaction.commit()?;
        self.book.write().change_alias(&key, |alias| alias.members.extend(members));
        Ok(AuthdToAdmin::Done.into())
    }

    fn remove_members(&mut self, alias: &Address, members: &[Address]) -> Result<Applied, Refusal> {
        let key = self.alias_key(alias)?;
        let left = {
            let book = self.book.read();
            let mut left = book.alias(&key).map(|alias| alias.members.clone()).unwrap_or_default();
            for member in members {
                if !left.remove(&address_key(member)) {
                    let (alias, member) = (alias.to_string(), member.to_string());
                    return Err(Refusal::NotAMember { alias, member });
                }
            }
            left
        };
        if left.is_empty() {
            return Err(Refusal::NoMembers);
        }
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for member in members {
            transaction
                .prepare_cached("DELETE FROM alias_member WHERE alias = ?1 AND address = ?2")?
                .execute([&key, &address_key(member)])?;
        }
        transaction.commit()?;
        self.book.write().change_alias(&key, |alias| alias.members = left);
        Ok(AuthdToAdmin::Done.into())
    }

    fn alias_key(&self, alias: &Address) -> Result<String, Refusal> {
        let key = address_key(alias);
        match self.book.read().alias(&key) {
            Some(_) => Ok(key),
            None => Err(Refusal::NoAlias(alias.to_string())),
        }
    }
}

/// Addresses that accounts have, not too many.
fn checked(book: &Book, members: &[Address]) -> Result<BTreeSet<String>, Refusal> {
    if members.len() > MAX_MEMBERS {
        return Err(Refusal::TooManyMembers);
    }
    let key_of = |member: &Address| {
        let key = address_key(member);
        if book.alias(&key).is_some() {
            return Err(Refusal::AliasInAlias(member.to_string()));
        }
        if book.has_address(&key) { Ok(key) } else { Err(Refusal::NotAMemberAddress(member.to_string())) }
    };
    members.iter().map(key_of).collect()
}

fn insert_members(database: &Connection, alias: &str, members: &BTreeSet<String>) -> rusqlite::Result<()> {
    let mut add = database.prepare_cached("INSERT INTO alias_member (alias, address) VALUES (?1, ?2)")?;
    members.iter().try_for_each(|member| add.execute([alias, member.as_str()]).map(drop))
}

/// Behind the addresses.
pub(super) fn read(database: &Connection, book: &mut Book) -> rusqlite::Result<()> {
    let all = "SELECT address, members_post, list_members, members_from, disabled FROM alias";
    for_each(database, all, |row| {
        let address: String = row.get(0)?;
        let address = Address::parse(&address).map_err(|_| nonsense("alias"))?;
        let post = if row.get(1)? { Post::Members } else { Post::Anyone };
        let options = AliasOptions { post, list_members: row.get(2)?, from: row.get(3)? };
        book.insert_alias(Alias { address, options, disabled: row.get(4)?, members: BTreeSet::new() });
        Ok(())
    })?;
    for_each(database, "SELECT alias, address FROM alias_member", |row| {
        let (alias, member): (String, String) = (row.get(0)?, row.get(1)?);
        if book.alias(&alias).is_none_or(|alias| alias.members.len() >= MAX_MEMBERS)
            || !book.has_address(&member)
        {
            return Err(nonsense("member of an alias"));
        }
        book.change_alias(&alias, |alias| alias.members.extend([member]));
        Ok(())
    })
}
