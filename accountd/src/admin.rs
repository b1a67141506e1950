//! What moxctl asks of an account: is all mail there and whole, may what was expunged come back, how long does it stay? And
//! mail that it brings and takes.

mod retention;
mod undelete;

use std::os::{fd::OwnedFd, unix::net::UnixStream};

use ipc_proto::{
    ChannelId,
    admin::{AccountdToAdmin, AdminAccountd, AdminToAccountd, Verified},
    blocking::{Answerer, Question},
};
use store_lib::{Budget, Store, StoreError};

use crate::{account::Supervisor, export, import::Importer};

/// Problems that are told; the first ones say enough.
const MAX_PROBLEMS: usize = 100;

/// The longest line about one problem, octets.
const MAX_LINE: usize = 300;

/// Serves one channel of moxctl until it is over.
pub(crate) fn serve(store: &Store, message_size: u64, supervisor: &dyn Supervisor, stream: UnixStream) {
    let mut answerer = match Answerer::<AdminAccountd>::new(stream, 1) {
        Ok(answerer) => answerer,
        Err(error) => return tracing::debug!("the channel of moxctl did not start: {error}"),
    };
    let mut importer = Importer::new(store, message_size);
    loop {
        match answerer.next_question() {
            Ok(Some(Question { request, fds, responder })) => {
                let answer = answer(store, &mut importer, request, fds);
                responder.reply(&answer.unwrap_or_else(AccountdToAdmin::Refused), &[]);
            }
            Ok(None) => return,
            Err(violation) => return supervisor.violation(ChannelId::AdminAccountd, violation),
        }
    }
}

fn answer(
    store: &Store,
    importer: &mut Importer<'_>,
    request: AdminToAccountd,
    fds: Vec<OwnedFd>,
) -> Result<AccountdToAdmin, String> {
    match request {
        AdminToAccountd::Verify => {
            verify(store).map(AccountdToAdmin::Verified).map_err(|error| error.to_string())
        }
        AdminToAccountd::DeletedList { which, after } => {
            undelete::list(store, which, after).map(AccountdToAdmin::Deleted)
        }
        AdminToAccountd::Undelete { which, into } => {
            undelete::restore(store, which, into).map(AccountdToAdmin::Undeleted)
        }
        AdminToAccountd::RetentionList => retention::list(store).map(AccountdToAdmin::Retentions),
        AdminToAccountd::RetentionSet { mailbox, rule } => {
            retention::set(store, &mailbox, rule).map(|()| AccountdToAdmin::Done)
        }
        AdminToAccountd::Import(request) => {
            importer.answer(request, fds).map(AccountdToAdmin::Import).map_err(|error| error.to_string())
        }
        AdminToAccountd::Export(request) => {
            let answer = export::answer(store, request, fds).map(AccountdToAdmin::Export);
            answer.map_err(|error| error.to_string())
        }
    }
}

fn verify(store: &Store) -> Result<Verified, StoreError> {
    let report = store.verify()?;
    let octets = store.read(&Budget::default(), |reader| {
        Ok(reader.mailboxes()?.iter().map(|mailbox| mailbox.counts.size).sum())
    })?;
    let line = |problem: &store_lib::Problem| {
        let mut line = problem.to_string();
        line.truncate(line.floor_char_boundary(MAX_LINE));
        line
    };
    Ok(Verified {
        mailboxes: u32::try_from(report.mailboxes).unwrap_or(u32::MAX),
        messages: report.messages,
        octets,
        problems: report.problems.iter().take(MAX_PROBLEMS).map(line).collect(),
    })
}
