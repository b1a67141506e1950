//! Mail that moxctl brings: a stream in blocks, each filed in one commit. What came from its source before, or what the
//! mailbox has, if that is wanted, is left out.

use std::os::fd::OwnedFd;

use ipc_proto::transfer::{
    self, BLOCK, ImportReply, ImportRequest, KEYS, Mail, MailFlags, MailHead, NAMES, Piece, PieceReader,
};
use store_lib::{
    BodySource, Budget, DeliveryId, Duplicates, Flags, Import, ImportKey, ImportMessage, ImportTarget,
    Imported, InHand, Keyword, MailboxName, Origin, Parse, SpecialUse, Stager, Store, StoreError, SystemFlag,
    Uid, UnixSeconds,
};

use crate::body::{Body, BodyError};

/// Octets in the name of a source.
const MAX_SOURCE: usize = 1024;

/// Why nothing more is taken. One line each, for the admin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// Of the store's.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The block's descriptor.
    #[error("a block that cannot be taken: {0}")]
    Block(#[from] BodyError),
    /// No request of moxctl's own.
    #[error("{0}; use the moxctl that lies beside moxd")]
    Nonsense(&'static str),
    /// From the source, or from the command line.
    #[error("{0:?} is no name of a mailbox: {1}")]
    Name(String, store_lib::NameError),
}

/// What one channel of moxctl brings.
#[derive(Debug)]
pub(crate) struct Importer<'a> {
    store: &'a Store,
    message_size: u64,
    open: Option<Open>,
}

/// The mailbox of the moment.
#[derive(Debug)]
struct Open {
    import: Import,
    duplicates: Option<Duplicates>,
    current: Option<Current>,
}

/// The message that began.
#[derive(Debug)]
enum Current {
    Taken { head: MailHead, stager: Box<Stager>, _in_hand: InHand },
    Passed(transfer::Imported),
}

/// What became of a message of a block: known by now, or by the next commit.
enum Outcome {
    Known(transfer::Imported),
    Waits,
}

impl<'a> Importer<'a> {
    pub(crate) fn new(store: &'a Store, message_size: u64) -> Self {
        Self { store, message_size, open: None }
    }

    /// Answers one request. After an error the mailbox has to be begun again.
    pub(crate) fn answer(
        &mut self,
        request: ImportRequest,
        fds: Vec<OwnedFd>,
    ) -> Result<ImportReply, ImportError> {
        let answered = match request {
            ImportRequest::Begin(target) => self.begin(target),
            ImportRequest::Known { after } => self.known(after),
            ImportRequest::Block { octets } => self.block(octets, fds),
            ImportRequest::Subscribe(names) => self.subscribe(&names),
        };
        if answered.is_err() {
            self.open = None;
        }
        answered
    }

    fn begin(&mut self, target: transfer::ImportTarget) -> Result<ImportReply, ImportError> {
        self.open = None;
        if target.source.len() > MAX_SOURCE {
            return Err(ImportError::Nonsense("the source's name is too long"));
        }
        let import = self.store.begin_import(ImportTarget {
            mailbox: name(&target.mailbox)?,
            source: target.source,
            special_use: target.special_use.as_deref().and_then(SpecialUse::from_attribute),
            subscribed: target.subscribed,
            uids: target.uids,
        })?;
        if target.again {
            self.store.forget_imported(import)?;
        }
        let duplicates = match target.skip_duplicates {
            true => Some(Duplicates::of(self.store, import.mailbox())?),
            false => None,
        };
        self.open = Some(Open { import, duplicates, current: None });
        Ok(ImportReply::Ready { keeps_uids: import.keeps_uids() })
    }

    fn known(&self, after: Option<transfer::ImportKey>) -> Result<ImportReply, ImportError> {
        let open = self.open.as_ref().ok_or(ImportError::Nonsense("no mailbox was begun"))?;
        let (after, most) = (after.map(|key| ImportKey(key.0)), u32::try_from(KEYS).unwrap_or(u32::MAX));
        let known =
            self.store.read(&Budget::default(), |reader| reader.imported(open.import, after, most))?;
        Ok(ImportReply::Known(known.into_iter().map(|key| transfer::ImportKey(key.0)).collect()))
    }

    fn subscribe(&self, names: &[String]) -> Result<ImportReply, ImportError> {
        for text in names.iter().take(NAMES) {
            self.store.set_subscribed(&name(text)?, true, Origin::NONE)?;
        }
        Ok(ImportReply::Done)
    }

    fn block(&mut self, octets: u32, fds: Vec<OwnedFd>) -> Result<ImportReply, ImportError> {
        let open = self.open.as_mut().ok_or(ImportError::Nonsense("no mailbox was begun"))?;
        let stream = read_block(octets, fds)?;
        let mut reader = PieceReader::<Mail>::default();
        reader.push(&stream);
        drop(stream);
        let mut batch = Batch::default();
        loop {
            let piece = reader.next_piece().map_err(|_| ImportError::Nonsense("a block that is no mail"))?;
            match piece {
                None => break,
                Some(Piece::Octets(octets)) => open.push(octets)?,
                Some(Piece::Value(Mail::Begin(head))) => open.start(self.store, head, self.message_size)?,
                Some(Piece::Value(Mail::Gone)) => open.current = None,
                Some(Piece::Value(Mail::End)) => open.end(self.store, &mut batch)?,
            }
        }
        if !reader.is_empty() {
            return Err(ImportError::Nonsense("a block that is cut off"));
        }
        Ok(ImportReply::Filed(open.commit(self.store, batch)?))
    }
}

/// What ends in one block.
#[derive(Default)]
struct Batch {
    outcomes: Vec<Outcome>,
    messages: Vec<ImportMessage>,
    /// Of each message, where duplicates are looked for.
    marks: Vec<u64>,
}

impl Open {
    fn start(&mut self, store: &Store, head: MailHead, message_size: u64) -> Result<(), ImportError> {
        if self.current.is_some() {
            return Err(ImportError::Nonsense("a message within a message"));
        }
        let key = ImportKey(head.key.0);
        if store.read(&Budget::default(), |reader| reader.is_imported(self.import, key))? {
            self.current = Some(Current::Passed(transfer::Imported::Known));
            return Ok(());
        }
        // One that has killed this process before is not looked into again.
        let id = DeliveryId(head.key.0);
        let parse = if store.is_poisoned(id) { Parse::No } else { Parse::Yes };
        let in_hand = store.begin_parse(id)?;
        let stager = Box::new(store.stager(b"", parse, message_size));
        self.current = Some(Current::Taken { head, stager, _in_hand: in_hand });
        Ok(())
    }

    fn push(&mut self, octets: &[u8]) -> Result<(), ImportError> {
        let pushed = match &mut self.current {
            None => return Err(ImportError::Nonsense("octets of no message")),
            Some(Current::Passed(_)) => return Ok(()),
            Some(Current::Taken { stager, .. }) => stager.push(octets),
        };
        match pushed {
            Err(StoreError::TooLarge { .. }) => {
                self.current = Some(Current::Passed(transfer::Imported::TooLarge));
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn end(&mut self, store: &Store, batch: &mut Batch) -> Result<(), ImportError> {
        let (head, staged) = match self.current.take() {
            None => return Err(ImportError::Nonsense("the end of no message")),
            Some(Current::Passed(outcome)) => {
                batch.outcomes.push(Outcome::Known(outcome));
                return Ok(());
            }
            Some(Current::Taken { head, stager, _in_hand }) => (head, stager.finish()?),
        };
        if self.duplicates.is_some() && batch.marks.contains(&Duplicates::mark(&staged)) {
            // Whether it is one shows when the other is filed.
            let earlier = std::mem::take(batch);
            let outcomes = self.commit(store, earlier)?;
            batch.outcomes = outcomes.into_iter().map(Outcome::Known).collect();
        }
        self.file(store, head, staged, batch)
    }

    fn file(
        &mut self,
        store: &Store,
        head: MailHead,
        staged: store_lib::Staged,
        batch: &mut Batch,
    ) -> Result<(), ImportError> {
        if let Some(duplicates) = &self.duplicates {
            if duplicates.has(store, &staged)? {
                batch.outcomes.push(Outcome::Known(transfer::Imported::Duplicate));
                return Ok(());
            }
            batch.marks.push(Duplicates::mark(&staged));
        }
        batch.messages.push(ImportMessage {
            key: ImportKey(head.key.0),
            staged,
            flags: flags(&head.flags),
            received: UnixSeconds(head.received),
            uid: head.uid.and_then(Uid::new),
        });
        batch.outcomes.push(Outcome::Waits);
        Ok(())
    }

    /// Files all that wait: what became of every message, in their order.
    fn commit(&mut self, store: &Store, batch: Batch) -> Result<Vec<transfer::Imported>, ImportError> {
        let Batch { outcomes, messages, marks } = batch;
        let imported = match messages.is_empty() {
            true => Vec::new(),
            false => store.import(self.import, messages, Origin::NONE)?,
        };
        if let Some(duplicates) = &mut self.duplicates {
            for (mark, imported) in marks.into_iter().zip(&imported) {
                if let Imported::Filed { uid, .. } = imported {
                    duplicates.add(mark, *uid);
                }
            }
        }
        let mut imported = imported.into_iter();
        let known = |outcome| match outcome {
            Outcome::Known(outcome) => outcome,
            Outcome::Waits => match imported.next() {
                Some(Imported::Filed { as_asked: true, .. }) => transfer::Imported::Filed,
                Some(Imported::Filed { as_asked: false, .. }) => transfer::Imported::Renumbered,
                Some(Imported::Known) | None => transfer::Imported::Known,
            },
        };
        Ok(outcomes.into_iter().map(known).collect())
    }
}

/// A copy: only that counts.
fn read_block(octets: u32, fds: Vec<OwnedFd>) -> Result<Vec<u8>, ImportError> {
    let fd = fds.into_iter().next().ok_or(BodyError::Missing)?;
    let mut body = Body::check(fd, u64::from(octets))?;
    let size = usize::try_from(octets).ok().filter(|size| *size <= BLOCK);
    let mut stream = vec![0; size.ok_or(ImportError::Nonsense("a block that is too large"))?];
    let mut filled = 0;
    while let Some(rest) = stream.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match body.read_at(filled as u64, rest) {
            Ok(0) => return Err(ImportError::Nonsense("a block that is too short")),
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(BodyError::Io(error).into()),
        }
    }
    Ok(stream)
}

fn name(text: &str) -> Result<MailboxName, ImportError> {
    MailboxName::parse(text).map_err(|error| ImportError::Name(text.to_owned(), error))
}

/// Keywords that are none here, and those beyond what a message can have, are left out.
fn flags(flags: &MailFlags) -> Flags {
    let mut system = Flags::NONE;
    for (place, flag) in SystemFlag::ALL.into_iter().enumerate() {
        if flags.system & (1 << place) != 0 {
            system = system.with(flag);
        }
    }
    for keyword in flags.keywords.iter().filter_map(|text| Keyword::parse(text).ok()) {
        let _ = system.add_keyword(keyword);
    }
    system
}
