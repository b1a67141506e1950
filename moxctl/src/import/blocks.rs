//! The way to the account: mail is gathered in blocks, of which one is under way while the next is filled.

use std::{
    fs::File,
    io::Write,
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use ipc_proto::{
    CallError,
    admin::{AccountdToAdmin, AdminAccountd, AdminToAccountd},
    blocking::Asker,
    channel::Message,
    transfer::{
        BLOCK, BLOCK_MESSAGES, ImportReply, ImportRequest, Imported, PIECE, piece_size, write_octets,
        write_value,
    },
};
use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};

use crate::{
    care, control,
    failure::{Failure, reason},
};

/// The channel, and the block that is filled.
#[derive(Debug)]
pub(super) struct Account {
    asker: Arc<Asker<AdminAccountd>>,
    block: Vec<u8>,
    /// Messages that end in the block.
    ended: usize,
    under_way: Option<JoinHandle<Result<Vec<Imported>, Failure>>>,
    filed: mpsc::Receiver<Imported>,
    tell: mpsc::Sender<Imported>,
}

impl Account {
    pub(super) fn new(asker: Asker<AdminAccountd>) -> Self {
        let (tell, filed) = mpsc::channel();
        let block = Vec::with_capacity(BLOCK);
        Self { asker: Arc::new(asker), block, ended: 0, under_way: None, filed, tell }
    }

    /// Asks when nothing is under way.
    pub(super) fn ask(&mut self, request: ImportRequest) -> Result<ImportReply, Failure> {
        self.settle()?;
        ask(&self.asker, request, Vec::new())
    }

    /// A value of the stream of mail.
    pub(super) fn value(&mut self, value: &impl Message) -> Result<(), Failure> {
        if self.block.len() + piece_size(PIECE) > BLOCK {
            self.send()?;
        }
        write_value(value, &mut self.block).map_err(|_| super::child::broken())
    }

    /// Octets of the message that began.
    pub(super) fn octets(&mut self, octets: &[u8]) -> Result<(), Failure> {
        if self.block.len() + piece_size(octets.len()) > BLOCK {
            self.send()?;
        }
        write_octets(octets, &mut self.block);
        Ok(())
    }

    /// A message is whole.
    pub(super) fn ended(&mut self) -> Result<(), Failure> {
        self.ended += 1;
        if self.ended >= BLOCK_MESSAGES { self.send() } else { Ok(()) }
    }

    /// What became of a message since this was asked last, in their order.
    pub(super) fn filed(&self) -> Option<Imported> {
        self.filed.try_recv().ok()
    }

    /// Sends what is there and waits for all.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        self.send()?;
        self.wait()
    }

    fn send(&mut self) -> Result<(), Failure> {
        self.wait()?;
        self.ended = 0;
        if self.block.is_empty() {
            return Ok(());
        }
        let octets = u32::try_from(self.block.len()).unwrap_or(u32::MAX);
        let block = sealed(&self.block)
            .map_err(|error| Failure::Unavailable(format!("no memory for a block: {}", reason(&error))))?;
        self.block.clear();
        let asker = Arc::clone(&self.asker);
        self.under_way = Some(std::thread::spawn(move || {
            match ask(&asker, ImportRequest::Block { octets }, vec![block])? {
                ImportReply::Filed(filed) => Ok(filed),
                ImportReply::Ready { .. } | ImportReply::Known(_) | ImportReply::Done => {
                    Err(control::odd_answer())
                }
            }
        }));
        Ok(())
    }

    fn wait(&mut self) -> Result<(), Failure> {
        let Some(under_way) = self.under_way.take() else { return Ok(()) };
        let filed = under_way.join().unwrap_or_else(|_| Err(control::odd_answer()))?;
        filed.into_iter().for_each(|filed| {
            let _ = self.tell.send(filed);
        });
        Ok(())
    }
}

fn ask(
    asker: &Asker<AdminAccountd>,
    request: ImportRequest,
    fds: Vec<OwnedFd>,
) -> Result<ImportReply, Failure> {
    let (reply, _) = asker.call(&AdminToAccountd::Import(request), fds).map_err(|error| match error {
        CallError::TooLarge => Failure::Usage("that is too long for moxd; write less".to_owned()),
        error => Failure::Unavailable(format!(
            "the account's process: {error}; its log says more; run the same again to go on"
        )),
    })?;
    match reply {
        AccountdToAdmin::Import(reply) => Ok(reply),
        other => Err(care::odd(other)),
    }
}

/// In memory that nobody can change any more.
fn sealed(octets: &[u8]) -> std::io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"block", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    file.write_all(octets)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::all()))?;
    Ok(file.into())
}
