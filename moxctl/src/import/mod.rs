//! `moxctl account import`: opens a source, has it taken apart by a confined child, and brings what comes of it to the
//! account's process, block by block.
//!
//! ```text
//!   source ── fd ──▶ reader (locked in) ── mail ──▶ moxctl ── blocks ──▶ the account's process, one commit each
//! ```
//! moxctl opens files and directories without following links, and looks into none of them.

mod blocks;
mod bring;
mod child;
mod imap;
mod maildir;
mod mbox;
mod options;
mod progress;
mod report;
mod tree;

pub(crate) use options::Import;

use crate::{
    control::{Directory, Instance},
    failure::Failure,
    output::Output,
};
use blocks::Account;
use bring::Bringer;

pub(crate) fn run(
    import: Import,
    directory: &Directory,
    instance: &Instance,
    output: &Output,
) -> Result<(), Failure> {
    let (name, common) = match &import {
        Import::Mbox { account, common, .. } | Import::Maildir { account, common, .. } => (account, common),
        Import::Imap { options, common } => (&options.account, common),
    };
    let account = directory.account(name)?;
    let mut bringer = Bringer::new(Account::new(instance.account(account.id)?.into_asker()), common, output);
    let done = match &import {
        Import::Mbox { path, quoting, common, .. } => {
            mbox::bring(path, (*quoting).into(), common, &mut bringer)
        }
        Import::Maildir { directory, common, .. } => maildir::bring(directory, common, &mut bringer),
        Import::Imap { options, common } => imap::bring(options, common, &mut bringer),
    };
    // What came is told even if not all came.
    let report = bringer.finish(account.name);
    output.show(&report, report::text);
    done?;
    report.verdict()
}
