//! Whole sessions against a real store: golden transcripts, limits, hostile clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod appending;
mod captured_owner;
mod compress;
mod decoded;
mod harness;
mod limits;
mod model;
mod neighbours;
mod notify;
mod properties;
mod resync;
mod rights_model;
mod searching;
mod sharing;
mod sleeping;
mod transcripts;
mod updates;
