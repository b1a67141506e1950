//! The account's process: mailboxes, and messages in blocks that it fills.

use std::{
    fs::File,
    os::{fd::OwnedFd, unix::fs::FileExt},
};

use ipc_proto::{
    admin::{AccountdToAdmin, AdminAccountd, AdminToAccountd},
    blocking::Asker,
    transfer::{BLOCK, ExportMailbox, ExportReply, ExportRequest, Mail, MailHead, NAMES, Piece, PieceReader},
};
use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};

use super::{spool::Spool, unwritten};
use crate::{
    care,
    control::{self, pages},
    failure::{Failure, reason},
};

/// The channel and the block.
#[derive(Debug)]
pub(super) struct Account {
    asker: Asker<AdminAccountd>,
    block: File,
}

impl Account {
    pub(super) fn new(asker: Asker<AdminAccountd>) -> Result<Self, Failure> {
        let block = block()
            .map_err(|error| Failure::Unavailable(format!("no memory for a block: {}", reason(&error))))?;
        Ok(Self { asker, block })
    }

    fn ask(&self, request: ExportRequest, fds: Vec<OwnedFd>) -> Result<ExportReply, Failure> {
        let (reply, _) = self.asker.call(&AdminToAccountd::Export(request), fds).map_err(|error| {
            Failure::Unavailable(format!("the account's process: {error}; its log says more; try again"))
        })?;
        match reply {
            AccountdToAdmin::Export(reply) => Ok(reply),
            other => Err(care::odd(other)),
        }
    }

    pub(super) fn mailboxes(&self) -> Result<Vec<ExportMailbox>, Failure> {
        pages(
            NAMES,
            |after| match self.ask(ExportRequest::Mailboxes { after }, Vec::new())? {
                ExportReply::Mailboxes(page) => Ok(page),
                ExportReply::Subscriptions(_) | ExportReply::Written { .. } => Err(control::odd_answer()),
            },
            |mailbox| mailbox.name.clone(),
        )
    }

    pub(super) fn subscriptions(&self) -> Result<Vec<String>, Failure> {
        pages(
            NAMES,
            |after| match self.ask(ExportRequest::Subscriptions { after }, Vec::new())? {
                ExportReply::Subscriptions(page) => Ok(page),
                ExportReply::Mailboxes(_) | ExportReply::Written { .. } => Err(control::odd_answer()),
            },
            Clone::clone,
        )
    }

    /// Every message of a mailbox, by UID.
    pub(super) fn messages(
        &mut self,
        mailbox: &str,
        mut each: impl FnMut(&MailHead, &mut Spool) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (mut next, mut spool, mut head) = (Some((1, 0)), Spool::default(), None);
        while let Some((from, offset)) = next {
            let mut reader = PieceReader::<Mail>::default();
            let before = next;
            next = self.block(mailbox, from, offset, &mut reader)?;
            while let Some(piece) = reader.next_piece().map_err(|_| control::odd_answer())? {
                match piece {
                    Piece::Octets(octets) => spool.push(octets).map_err(|error| unwritten(&error))?,
                    Piece::Value(Mail::Begin(began)) => {
                        spool.clear();
                        head = Some(began);
                    }
                    Piece::Value(Mail::Gone) => head = None,
                    Piece::Value(Mail::End) => {
                        let whole = head.take().ok_or_else(control::odd_answer)?;
                        each(&whole, &mut spool)?;
                    }
                }
            }
            // One that says the same again and again holds nobody up.
            if next.is_some() && next <= before {
                return Err(control::odd_answer());
            }
        }
        Ok(())
    }

    fn block(
        &self,
        mailbox: &str,
        from: u32,
        offset: u64,
        reader: &mut PieceReader<Mail>,
    ) -> Result<Option<(u32, u64)>, Failure> {
        let failed = |error: std::io::Error| Failure::Unavailable(reason(&error));
        let block = self.block.try_clone().map_err(failed)?;
        let request = ExportRequest::Messages { mailbox: mailbox.to_owned(), from, offset };
        let (octets, next) = match self.ask(request, vec![block.into()])? {
            ExportReply::Written { octets, next } => (octets, next),
            ExportReply::Mailboxes(_) | ExportReply::Subscriptions(_) => return Err(control::odd_answer()),
        };
        let size = usize::try_from(octets).ok().filter(|size| *size <= BLOCK);
        let mut stream = vec![0; size.ok_or_else(control::odd_answer)?];
        self.block.read_exact_at(&mut stream, 0).map_err(failed)?;
        reader.push(&stream);
        Ok(next)
    }
}

/// Memory of a fixed size: whoever else holds it cannot make it larger.
fn block() -> std::io::Result<File> {
    let block = File::from(memfd_create(c"block", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    block.set_len(BLOCK as u64)?;
    let fixed = SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&block, FcntlArg::F_ADD_SEALS(fixed))?;
    Ok(block)
}
