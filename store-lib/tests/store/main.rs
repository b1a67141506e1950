//! The store through its public API. Every test ends with a recount of everything it stored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod account;
mod acl;
mod importing;
mod mailboxes;
mod messages;
mod metadata;
mod model;
mod opening;
mod quota;
mod searching;
mod threads;
mod undelete;
