//! The page of one front's process ([`ipc_proto::recorder`]), and what it is read for: whom to charge when that process
//! dies of a signal.
//!
//! The front maps it and can write anything there. So nothing of it is mapped here: it is read once, into our own memory,
//! when its process has ended. Its seals keep it as large as it was made, it holds numbers only, and what they are worth
//! is for authd to say, which knows the connections that this front had.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use ipc_proto::{
    ConnectionId,
    control::{Order, Role},
    recorder::{SIZE, connections},
};
use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};

use crate::{
    ends::{Killed, OWN_SIGNALS},
    instance::Instance,
    sys::{self, Ended},
};

/// One page, empty at first.
#[derive(Debug)]
pub struct Recorder(File);

impl Recorder {
    /// Of [`SIZE`] octets for ever.
    pub fn new() -> io::Result<Self> {
        let made = memfd_create("recorder", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        let file = File::from(sys::above_worker_fds(made)?);
        file.set_len(SIZE.try_into().map_err(io::Error::other)?)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(Self(file))
    }

    /// For its process, which maps it.
    pub fn hand_out(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }

    /// Whom its threads worked for last.
    pub fn connections(&self) -> io::Result<Vec<ConnectionId>> {
        let mut page = [0; SIZE];
        self.0.read_exact_at(&mut page, 0)?;
        Ok(connections(&page))
    }
}

/// Whether what was in hand may have brought about this end. A fault or an abort, which is how a failed allocation ends
/// too, happens in the middle of it; so does what runs so long that the watchdog ends it. Any other SIGKILL came from
/// elsewhere: the admin, or the kernel where the host is out of memory, which takes the largest process and not the
/// guilty one. (Who may signal a front can send it a fault's signal, too: that is root, and where one user has all
/// processes, that user.) A panic that ends the process is no connection's: theirs are caught.
fn is_chargeable(end: Ended, killed: Option<Killed>) -> bool {
    match (end, killed) {
        (_, Some(Killed::Hung)) => true,
        (_, Some(Killed::Rules | Killed::Accused | Killed::Stop)) | (Ended::Exited(_), None) => false,
        (Ended::Signal(signal), None) => OWN_SIGNALS.contains(&signal),
    }
}

impl Instance {
    /// Tells authd whom a front that ended so had in hand. Before anything of the front's next process.
    pub(crate) fn report_crash(
        &mut self,
        front: Role,
        end: Ended,
        killed: Option<Killed>,
        recorder: Option<&Recorder>,
    ) {
        let Some(recorder) = recorder.filter(|_| is_chargeable(end, killed)) else { return };
        match recorder.connections() {
            Ok(connections) if connections.is_empty() => {}
            Ok(connections) => {
                let line = format!("{} had {} connections in hand", front.binary(), connections.len());
                // An authd that is down, too, will know none of them.
                if self.tell(Role::Authd, &Order::Crashed { front, connections }, Vec::new()) {
                    self.log.own("WARN", &line);
                }
            }
            Err(error) => self.log.own("ERROR", &format!("{}'s recorder: {error}", front.binary())),
        }
    }
}

#[cfg(test)]
mod tests {
    use ipc_proto::recorder::{SLOTS, STRIDE};

    use super::*;

    fn size(file: &File) -> u64 {
        file.metadata().unwrap().len()
    }

    #[test]
    fn whoever_is_handed_the_page_can_write_and_not_grow_shrink_or_unseal_it() {
        let recorder = Recorder::new().unwrap();
        let handed = File::from(recorder.hand_out().unwrap());
        let free = File::from(memfd_create("free", MFdFlags::MFD_CLOEXEC).unwrap());
        for length in [0, SIZE as u64 - 1, SIZE as u64 + 1, 1 << 30] {
            assert_eq!(
                handed.set_len(length).unwrap_err().raw_os_error(),
                Some(libc::EPERM),
                "to {length} octets"
            );
            free.set_len(length).unwrap();
        }
        assert_eq!(size(&handed), SIZE as u64);
        // Behind the end nothing can be written either; before it, all.
        assert!(handed.write_at(&[1], SIZE as u64).is_err());
        handed.write_all_at(&[0xff; SIZE], 0).unwrap();
        assert_eq!(size(&handed), SIZE as u64);
        let more = fcntl(&handed, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE));
        assert_eq!(more, Err(nix::errno::Errno::EPERM), "nor may it take the page's writing away");
        assert_eq!(recorder.connections().unwrap(), [ConnectionId(u64::MAX)]);
    }

    /// Attack class 26: whatever a captured front writes, there are numbers, and never more than slots.
    #[test]
    fn hostile_and_half_written_pages_are_a_few_numbers() {
        let recorder = Recorder::new().unwrap();
        let handed = File::from(recorder.hand_out().unwrap());
        assert_eq!(recorder.connections().unwrap(), []);
        // One octet of a number that was being written.
        handed.write_all_at(&[0x11], (STRIDE + 7) as u64).unwrap();
        assert_eq!(recorder.connections().unwrap(), [ConnectionId(0x11 << 56)]);
        let noise: Vec<u8> = (1..=8).flat_map(|slot| [slot; STRIDE]).collect();
        handed.write_all_at(&noise, 0).unwrap();
        assert_eq!(recorder.connections().unwrap().len(), SLOTS);
    }

    #[test]
    fn only_what_a_front_brought_upon_itself_is_charged_to_whom_it_worked_for() {
        for (end, killed, charged, reason) in [
            (Ended::Signal(libc::SIGSEGV), None, true, "a fault, or the end of a stack"),
            (Ended::Signal(libc::SIGBUS), None, true, "a fault"),
            (Ended::Signal(libc::SIGILL), None, true, "a fault"),
            (Ended::Signal(libc::SIGFPE), None, true, "a fault"),
            (Ended::Signal(libc::SIGABRT), None, true, "abort, as when RLIMIT_DATA is reached"),
            (Ended::Signal(libc::SIGSYS), None, true, "a forbidden system call"),
            (Ended::Signal(libc::SIGKILL), Some(Killed::Hung), true, "it did not come back from somebody"),
            (Ended::Signal(libc::SIGKILL), None, false, "the admin's, or the host is out of memory"),
            (Ended::Signal(libc::SIGTERM), None, false, "the admin's"),
            (
                Ended::Signal(libc::SIGKILL),
                Some(Killed::Rules),
                false,
                "what it wrote by then is worth nothing",
            ),
            (Ended::Signal(libc::SIGKILL), Some(Killed::Stop), false, "the grace was too short"),
            (Ended::Exited(101), None, false, "a panic outside of connections"),
            (Ended::Exited(78), None, false, "it said what is wrong"),
            (Ended::Exited(0), None, false, "in order"),
        ] {
            assert_eq!(is_chargeable(end, killed), charged, "{reason}");
        }
    }
}
