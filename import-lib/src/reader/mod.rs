//! The confined child of moxctl in which a source is taken apart: its own program once more, with the source as fd 0 and
//! a stream pair to moxctl as fd 1. It locks itself in before it reads an octet of either.
//!
//! Left to it: reading and writing these two, memory, the clock. As root also: a user of its own, an empty network
//! namespace (the connection to an IMAP server was made before, by moxctl).

mod imap;
mod link;
mod maildir;
mod mbox;

use std::{
    collections::HashSet,
    fs::File,
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    process::ExitCode,
};

use ipc_proto::{
    Violation,
    reader::{FromReader, Job, SourceMailbox, ToReader},
    transfer::ImportKey,
};
use nix::{
    sched::{CloneFlags, unshare},
    sys::resource::{Resource, setrlimit},
    unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use sandbox_lib::profiles;

use link::{Link, Stop};

/// What makes the program a reader, as its only argument.
pub const ARGUMENT: &str = "--confined-reader";

/// Whose the process is where root started it: above every range that systems and containers use, and nobody else's of
/// moxd's.
const USER: u32 = 1_900_000_015;

/// Address space, octets.
const MEMORY: u64 = 1 << 30;

/// The most certificates to trust.
const MAX_ROOTS: usize = 1000;

/// The most keys of messages that came before.
const MAX_KNOWN: usize = 8_000_000;

/// The certificates of a file in PEM, DER.
#[must_use]
pub fn certificates(pem: &[u8]) -> Vec<Vec<u8>> {
    CertificateDer::pem_slice_iter(pem).flatten().map(|certificate| certificate.to_vec()).collect()
}

/// The whole life of a reader.
#[must_use]
pub fn main() -> ExitCode {
    let Some((source, stream)) = handed() else { return ExitCode::FAILURE };
    // What is wrong is said on the stream, which is all there is.
    let mut link = Link::new(stream);
    let done = lock_in().and_then(|()| run(source, &mut link));
    let said = match done {
        Ok(()) => link.say(&FromReader::Done),
        Err(Stop::Source { again, why }) => link.say(&FromReader::Failed { again, why }),
        Err(Stop::Gone(_) | Stop::Violation(_)) => return ExitCode::FAILURE,
    };
    match said.and_then(|()| link.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Descriptors 0 and 1, as they were handed over.
fn handed() -> Option<(File, UnixStream)> {
    let source = io::stdin().as_fd().try_clone_to_owned().ok()?;
    let stream = io::stdout().as_fd().try_clone_to_owned().ok()?;
    Some((source.into(), stream.into()))
}

fn lock_in() -> Result<(), Stop> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Stop::source(format!("the reader cannot lock itself in: {what}: {error}"))
    };
    let _ = sandbox_lib::sys::name_process(c"moxctl-reader");
    sandbox_lib::sys::become_undumpable().map_err(|error| failed("dumpable", &error))?;
    for (resource, limit) in [
        (Resource::RLIMIT_AS, MEMORY),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NOFILE, 16),
    ] {
        setrlimit(resource, limit, limit).map_err(|error| failed("limits", &error))?;
    }
    if geteuid().is_root() {
        // Best effort: a container may not let its root do that, and seccomp refuses every new socket anyway.
        let _ = unshare(CloneFlags::CLONE_NEWNET);
        let (uid, gid) = (Uid::from_raw(USER), Gid::from_raw(USER));
        setgroups(&[])
            .and_then(|()| setresgid(gid, gid, gid))
            .and_then(|()| setresuid(uid, uid, uid))
            .map_err(|error| failed("its user", &error))?;
        // The change of user made it dumpable again.
        sandbox_lib::sys::become_undumpable().map_err(|error| failed("dumpable", &error))?;
    }
    nix::sys::prctl::set_no_new_privs().map_err(|error| failed("privileges", &error))?;
    let report =
        sandbox_lib::lock_in(&profiles::READER, None).map_err(|error| failed("the sandbox", &error))?;
    if report.seccomp && report.landlock_files && report.no_new_privs && report.no_capabilities {
        Ok(())
    } else {
        Err(failed("the sandbox", &"this kernel lacks seccomp or Landlock"))
    }
}

fn run(source: File, link: &mut Link) -> Result<(), Stop> {
    link.say(&FromReader::Ready)?;
    let mut roots = Vec::new();
    loop {
        match link.next_value()? {
            ToReader::Root(root) if roots.len() < MAX_ROOTS => roots.push(root),
            ToReader::Job(job) => return take_apart(source, roots, job, link),
            _ => return Err(Violation::Unexpected.into()),
        }
    }
}

fn take_apart(source: File, roots: Vec<Vec<u8>>, job: Job, link: &mut Link) -> Result<(), Stop> {
    match job {
        Job::Mbox { size, quoting } => mbox::read(source, size, quoting, link),
        Job::Maildir => maildir::read(link),
        Job::Imap(job) => imap::read(source, roots, *job, link),
    }
}

/// Asks whether to read a mailbox: which of its messages to leave out, or `None`: all of them.
fn begin(link: &mut Link, mailbox: SourceMailbox) -> Result<Option<HashSet<ImportKey>>, Stop> {
    link.say(&FromReader::Mailbox(mailbox))?;
    let mut known = HashSet::new();
    loop {
        match link.next_value()? {
            ToReader::Known(keys) if known.len() < MAX_KNOWN => known.extend(keys),
            ToReader::Read => return Ok(Some(known)),
            ToReader::Skip => return Ok(None),
            _ => return Err(Violation::Unexpected.into()),
        }
    }
}
