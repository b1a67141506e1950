//! Mail that moxctl takes out: mailboxes by name, messages in blocks that it hands over to be filled.

use std::{
    fs::File,
    ops::ControlFlow,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use ipc_proto::transfer::{
    BLOCK, BLOCK_MESSAGES, ExportMailbox, ExportReply, ExportRequest, ImportKey, Mail, MailFlags, MailHead,
    NAMES, PIECE, piece_size, write_octets, write_value,
};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use store_lib::{Body, Budget, Columns, Flags, MailboxId, MailboxName, Store, StoreError, SystemFlag, Uid};

/// Room for what stands around a message's octets.
const HEAD: usize = 4096;

/// Why nothing more is told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// Of the store's.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No request of moxctl's own.
    #[error("{0}; use the moxctl that lies beside moxd")]
    Nonsense(&'static str),
    /// The block cannot be written.
    #[error("the block cannot be written: {0}")]
    Block(#[from] std::io::Error),
}

/// Answers one request.
pub(crate) fn answer(
    store: &Store,
    request: ExportRequest,
    fds: Vec<OwnedFd>,
) -> Result<ExportReply, ExportError> {
    match request {
        ExportRequest::Mailboxes { after } => mailboxes(store, after.as_deref()),
        ExportRequest::Subscriptions { after } => {
            let names = store.read(&Budget::default(), |reader| reader.subscriptions())?;
            let names = names.iter().map(MailboxName::as_str);
            let names = names.filter(|name| after.as_deref().is_none_or(|after| *name > after));
            Ok(ExportReply::Subscriptions(names.take(NAMES).map(str::to_owned).collect()))
        }
        ExportRequest::Messages { mailbox, from, offset } => {
            let fd = fds.into_iter().next().ok_or(ExportError::Nonsense("no block came"))?;
            let block = check(fd)?;
            let mut filler = Filler { store, stream: Vec::with_capacity(BLOCK), messages: 0 };
            let next = filler.fill(&mailbox, from, offset)?;
            block.write_all_at(&filler.stream, 0)?;
            let octets = u32::try_from(filler.stream.len()).unwrap_or_default();
            Ok(ExportReply::Written { octets, next })
        }
    }
}

/// Names are compared as octets, by the store and here.
fn mailboxes(store: &Store, after: Option<&str>) -> Result<ExportReply, ExportError> {
    let all = store.read(&Budget::default(), |reader| reader.mailboxes())?;
    let page = all.into_iter().filter(|mailbox| after.is_none_or(|after| mailbox.name.as_str() > after));
    let told = page.take(NAMES).map(|mailbox| ExportMailbox {
        name: mailbox.name.as_str().to_owned(),
        special_use: mailbox.special_use.map(|special_use| special_use.attribute().to_owned()),
        uidvalidity: mailbox.uidvalidity.value(),
        uidnext: mailbox.uidnext,
        messages: mailbox.counts.total,
        octets: mailbox.counts.size,
    });
    Ok(ExportReply::Mailboxes(told.collect()))
}

/// A memfd of the right size that cannot change it: nothing that is written here makes it larger.
fn check(fd: OwnedFd) -> Result<File, ExportError> {
    let odd = ExportError::Nonsense("a block of another kind");
    let block = File::from(fd);
    let Ok(seals) = fcntl(block.as_fd(), FcntlArg::F_GET_SEALS) else { return Err(odd) };
    let seals = SealFlag::from_bits_truncate(seals);
    let fixed = seals.contains(SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK);
    if fixed && block.metadata()?.len() == BLOCK as u64 { Ok(block) } else { Err(odd) }
}

/// A block on its way.
struct Filler<'a> {
    store: &'a Store,
    stream: Vec<u8>,
    messages: usize,
}

impl Filler<'_> {
    /// Where to go on; `None`: nothing is left.
    fn fill(&mut self, mailbox: &str, from: u32, offset: u64) -> Result<Option<(u32, u64)>, ExportError> {
        let name = MailboxName::parse(mailbox).map_err(|_| StoreError::NoSuchMailbox)?;
        let found = self.store.read(&Budget::default(), |reader| reader.find(&name))?;
        let mailbox = found.ok_or(StoreError::NoSuchMailbox)?.id;
        let (mut from, mut offset) = (from.max(1), offset);
        loop {
            let heads = self.heads(mailbox, from)?;
            if heads.is_empty() {
                return self.abandoned(offset).map(|()| None);
            }
            for (uid, head) in heads {
                if uid.value() != from {
                    self.abandoned(offset)?;
                    offset = 0;
                }
                if self.stream.len() + HEAD + PIECE > BLOCK || self.messages >= BLOCK_MESSAGES {
                    return Ok(Some((uid.value(), offset)));
                }
                if let Some(next) = self.message(mailbox, uid, &head, offset)? {
                    return Ok(Some((uid.value(), next)));
                }
                offset = 0;
                let Some(next) = uid.value().checked_add(1) else { return Ok(None) };
                from = next;
            }
        }
    }

    /// The message whose beginning was told is gone.
    fn abandoned(&mut self, offset: u64) -> Result<(), ExportError> {
        if offset > 0 { self.value(&Mail::Gone) } else { Ok(()) }
    }

    fn heads(&self, mailbox: MailboxId, from: u32) -> Result<Vec<(Uid, MailHead)>, ExportError> {
        let Some(from) = Uid::new(from) else { return Ok(Vec::new()) };
        let mut heads = Vec::new();
        self.store.read(&Budget::default(), |reader| {
            reader.fetch(mailbox, from..=Uid::MAX, Columns::Flags, |message| {
                heads.push((
                    message.uid,
                    MailHead {
                        key: ImportKey([0; 16]),
                        uid: Some(message.uid.value()),
                        flags: told(&message.flags),
                        received: message.received.0,
                    },
                ));
                if heads.len() < BLOCK_MESSAGES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
        })?;
        Ok(heads)
    }

    /// One message from `offset` on. `Some`: it goes on from there.
    fn message(
        &mut self,
        mailbox: MailboxId,
        uid: Uid,
        head: &MailHead,
        offset: u64,
    ) -> Result<Option<u64>, ExportError> {
        let body = self.store.read(&Budget::default(), |reader| reader.body(mailbox, uid))?;
        let Some(body) = body else { return self.abandoned(offset).map(|()| None) };
        if offset == 0 {
            self.value(&Mail::Begin(head.clone()))?;
        }
        let next = self.octets(&body, offset)?;
        if next.is_none() {
            self.value(&Mail::End)?;
            self.messages += 1;
        }
        Ok(next)
    }

    fn octets(&mut self, body: &Body, mut offset: u64) -> Result<Option<u64>, ExportError> {
        let mut buffer = vec![0; PIECE];
        while offset < body.size() {
            if self.stream.len() + piece_size(PIECE) + HEAD > BLOCK {
                return Ok(Some(offset));
            }
            let read = body.read_at(offset, &mut buffer)?;
            if read == 0 {
                break;
            }
            write_octets(buffer.get(..read).unwrap_or_default(), &mut self.stream);
            offset += read as u64;
        }
        Ok(None)
    }

    fn value(&mut self, value: &Mail) -> Result<(), ExportError> {
        let written = write_value(value, &mut self.stream);
        written.map_err(|_| ExportError::Nonsense("a message with too many keywords"))
    }
}

fn told(flags: &Flags) -> MailFlags {
    let bits = SystemFlag::ALL.into_iter().enumerate();
    let set = bits.filter(|(_, flag)| flags.has(*flag)).map(|(place, _)| 1 << place);
    let keywords = flags.keywords().iter().map(|keyword| keyword.as_str().to_owned());
    MailFlags { system: set.sum(), keywords: keywords.collect() }
}
