//! The way to a running moxd: its control socket, and the channels that it hands over.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    time::Duration,
};

use ipc_proto::{
    AccountId, CallError, Violation,
    admin::{AdminAccountd, AdminSupervisor, AdminToSupervisor, Reloaded, Status, SupervisorToAdmin},
    authd::{AccountInfo, AddressInfo, AdminAuthd, AdminToAuthd, AuthdToAdmin, DomainInfo, PAGE},
    blocking::Asker,
    channel,
    logins::{AbuseInfo, AppPasswordInfo, LoginInfo, LoginKeyInfo},
    queue::AdminQueued,
};

use crate::{
    cli,
    failure::{Failure, reason},
    localserve,
};

/// More than authd remembers of clients.
const MAX_ABUSE: usize = 100_000;

/// The control socket.
#[derive(Debug)]
pub(crate) struct Instance {
    asker: Asker<AdminSupervisor>,
    stream: UnixStream,
}

/// A channel to authd, marked as the admin's.
#[derive(Debug)]
pub(crate) struct Directory(Channel<AdminAuthd>);

/// A channel that moxd handed over, and who answers on it.
#[derive(Debug)]
pub(crate) struct Channel<C: channel::Channel> {
    asker: Asker<C>,
    who: &'static str,
}

impl<C: channel::Channel> Channel<C> {
    pub(crate) fn ask(&self, request: &C::Request) -> Result<C::Reply, Failure> {
        match self.asker.call(request, Vec::new()) {
            Ok((reply, _)) => Ok(reply),
            Err(CallError::TooLarge) => Err(Failure::Usage("that is too long for moxd; write less".into())),
            Err(error) => Err(Failure::Unavailable(cut_off(self.who, &error))),
        }
    }

    /// For requests with descriptors, and several at once.
    pub(crate) fn into_asker(self) -> Asker<C> {
        self.asker
    }
}

impl Instance {
    /// Connects to the control socket.
    pub(crate) fn connect(socket: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::Unavailable(not_reached(socket, &error));
        let stream = UnixStream::connect(socket).map_err(failed)?;
        let asker = Asker::new(stream.try_clone().map_err(failed)?).map_err(failed)?;
        Ok(Self { asker, stream })
    }

    fn ask(&self, request: &AdminToSupervisor) -> Result<(SupervisorToAdmin, Vec<OwnedFd>), Failure> {
        self.asker.call(request, Vec::new()).map_err(|error| Failure::Unavailable(cut_off("moxd", &error)))
    }

    /// All there is to know.
    pub(crate) fn status(&self) -> Result<Status, Failure> {
        match self.ask(&AdminToSupervisor::Status)?.0 {
            SupervisorToAdmin::Status(status) => Ok(status),
            SupervisorToAdmin::Refused(line) => Err(Failure::Refused(line)),
            SupervisorToAdmin::Done
            | SupervisorToAdmin::Opened
            | SupervisorToAdmin::Reloaded(_)
            | SupervisorToAdmin::Attacked(_) => Err(odd_answer()),
        }
    }

    /// Has the configuration read again.
    pub(crate) fn reload(&self) -> Result<Reloaded, Failure> {
        match self.ask(&AdminToSupervisor::Reload)?.0 {
            SupervisorToAdmin::Reloaded(reloaded) => Ok(reloaded),
            SupervisorToAdmin::Refused(line) => Err(Failure::Config(line)),
            SupervisorToAdmin::Done
            | SupervisorToAdmin::Opened
            | SupervisorToAdmin::Status(_)
            | SupervisorToAdmin::Attacked(_) => Err(odd_answer()),
        }
    }

    /// Stops moxd and waits until all is down.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        match self.ask(&AdminToSupervisor::Stop)?.0 {
            SupervisorToAdmin::Done => {}
            SupervisorToAdmin::Refused(line) => return Err(Failure::Refused(line)),
            SupervisorToAdmin::Status(_)
            | SupervisorToAdmin::Opened
            | SupervisorToAdmin::Reloaded(_)
            | SupervisorToAdmin::Attacked(_) => return Err(odd_answer()),
        }
        // moxd closes the socket last of all, and it kills what does not leave: this ends.
        let _ = self.stream.set_read_timeout(None::<Duration>);
        let _ = io::copy(&mut &self.stream, &mut io::sink());
        Ok(())
    }

    /// A channel to the directory.
    pub(crate) fn directory(&self) -> Result<Directory, Failure> {
        let asker = self.open(&AdminToSupervisor::OpenDirectory)?;
        Ok(Directory(Channel { asker, who: "moxd's directory process" }))
    }

    /// A channel to the queue.
    pub(crate) fn queue(&self) -> Result<Channel<AdminQueued>, Failure> {
        let asker = self.open(&AdminToSupervisor::OpenQueue)?;
        Ok(Channel { asker, who: "moxd's queue" })
    }

    /// A channel to one account's process.
    pub(crate) fn account(&self, account: AccountId) -> Result<Channel<AdminAccountd>, Failure> {
        let asker = self.open(&AdminToSupervisor::OpenAccount(account))?;
        Ok(Channel { asker, who: "the account's process" })
    }

    fn open<C: channel::Channel>(&self, request: &AdminToSupervisor) -> Result<Asker<C>, Failure> {
        let (reply, fds) = self.ask(request)?;
        match reply {
            SupervisorToAdmin::Opened => {
                let fd = fds.into_iter().next().ok_or_else(odd_answer)?;
                Asker::new(UnixStream::from(fd)).map_err(|error| Failure::Unavailable(reason(&error)))
            }
            SupervisorToAdmin::Refused(line) => Err(Failure::Refused(line)),
            SupervisorToAdmin::Status(_)
            | SupervisorToAdmin::Done
            | SupervisorToAdmin::Reloaded(_)
            | SupervisorToAdmin::Attacked(_) => Err(odd_answer()),
        }
    }
}

impl Directory {
    /// One operation; a refusal is a failure.
    pub(crate) fn ask(&self, request: &AdminToAuthd) -> Result<AuthdToAdmin, Failure> {
        match self.0.ask(request)? {
            AuthdToAdmin::Refused(line) => Err(Failure::Refused(line)),
            reply => Ok(reply),
        }
    }

    /// One operation that is answered by `Done`.
    pub(crate) fn change(&self, request: &AdminToAuthd) -> Result<(), Failure> {
        match self.ask(request)? {
            AuthdToAdmin::Done => Ok(()),
            other => Err(odd(&other)),
        }
    }

    pub(crate) fn accounts(&self) -> Result<Vec<AccountInfo>, Failure> {
        pages(
            PAGE,
            |after| match self.ask(&AdminToAuthd::AccountList { after })? {
                AuthdToAdmin::Accounts(page) => Ok(page),
                other => Err(odd(&other)),
            },
            |account| account.name.clone(),
        )
    }

    pub(crate) fn addresses(&self) -> Result<Vec<AddressInfo>, Failure> {
        pages(
            PAGE,
            |after| match self.ask(&AdminToAuthd::AddressList { after })? {
                AuthdToAdmin::Addresses(page) => Ok(page),
                other => Err(odd(&other)),
            },
            |address| address.pattern.to_string(),
        )
    }

    pub(crate) fn domains(&self) -> Result<Vec<DomainInfo>, Failure> {
        pages(
            PAGE,
            |after| match self.ask(&AdminToAuthd::DomainList { after })? {
                AuthdToAdmin::Domains(page) => Ok(page),
                other => Err(odd(&other)),
            },
            |domain| domain.name.clone(),
        )
    }

    pub(crate) fn app_passwords(&self, account: String) -> Result<Vec<AppPasswordInfo>, Failure> {
        match self.ask(&AdminToAuthd::AppPasswordList(account))? {
            AuthdToAdmin::AppPasswords(all) => Ok(all),
            other => Err(odd(&other)),
        }
    }

    pub(crate) fn login_keys(&self, account: String) -> Result<Vec<LoginKeyInfo>, Failure> {
        match self.ask(&AdminToAuthd::LoginKeyList(account))? {
            AuthdToAdmin::LoginKeys(all) => Ok(all),
            other => Err(odd(&other)),
        }
    }

    /// The latest attempts, at most `most`.
    pub(crate) fn logins(&self, account: Option<&str>, most: usize) -> Result<Vec<LoginInfo>, Failure> {
        let mut entries: Vec<LoginInfo> = Vec::new();
        loop {
            let before = entries.last().map(|entry| entry.number);
            let request = AdminToAuthd::LoginList { account: account.map(str::to_owned), before };
            let page = match self.ask(&request)? {
                AuthdToAdmin::Logins(page) => page,
                other => return Err(odd(&other)),
            };
            let over = page.len() < PAGE;
            entries.extend(page);
            if over
                || entries.len() >= most
                || before.is_some() && before == entries.last().map(|last| last.number)
            {
                entries.truncate(most);
                return Ok(entries);
            }
        }
    }

    /// The abuse memory, at most so many entries as it can have.
    pub(crate) fn abuse(&self) -> Result<Vec<AbuseInfo>, Failure> {
        let mut entries = Vec::new();
        while entries.len() < MAX_ABUSE {
            let skip = u32::try_from(entries.len()).unwrap_or(u32::MAX);
            let page = match self.ask(&AdminToAuthd::AbuseList { skip })? {
                AuthdToAdmin::Abuse(page) => page,
                other => return Err(odd(&other)),
            };
            let over = page.len() < PAGE;
            entries.extend(page);
            if over {
                break;
            }
        }
        Ok(entries)
    }

    /// An account by its name, whose capital letters do not matter.
    pub(crate) fn account(&self, name: &str) -> Result<AccountInfo, Failure> {
        let found = self.accounts()?.into_iter().find(|account| account.name.eq_ignore_ascii_case(name));
        found.ok_or_else(|| Failure::Refused(format!("no account named {name}; see `moxctl account list`")))
    }
}

/// Collects a list that comes in pages of that many entries: one that is not full is the last one.
pub(crate) fn pages<T, K: Clone + PartialEq>(
    page: usize,
    page_after: impl Fn(Option<K>) -> Result<Vec<T>, Failure>,
    key: impl Fn(&T) -> K,
) -> Result<Vec<T>, Failure> {
    let mut entries = Vec::new();
    let mut after = None;
    loop {
        let next = page_after(after.clone())?;
        let full = next.len() >= page;
        entries.extend(next);
        let last = entries.last().map(&key);
        if !full || last == after {
            return Ok(entries);
        }
        after = last;
    }
}

/// An answer that belongs to another question. What it was is not shown: it may hold a password.
pub(crate) fn odd(_answer: &AuthdToAdmin) -> Failure {
    odd_answer()
}

pub(crate) fn odd_answer() -> Failure {
    Failure::Unavailable("moxd answered something that was not asked; its log says more".to_owned())
}

/// Why nobody was reached, and what to do.
fn not_reached(socket: &Path, error: &io::Error) -> String {
    let (shown, why) = (socket.display(), reason(error));
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("{shown}: {why}; only root and the user that runs moxd may ask it: try with sudo")
        }
        io::ErrorKind::InvalidInput => {
            format!("{shown}: a socket's path has at most 107 octets; move the directory to a shorter path")
        }
        _ => format!("moxd is not running on {shown}: {why}; {}", how_to_reach(socket)),
    }
}

fn how_to_reach(tried: &Path) -> String {
    match localserve::default_directory().map(|directory| (cli::socket_in(&directory), directory)) {
        Some((socket, directory)) if socket != tried && socket.exists() => {
            format!("for the instance of localserve add `--dir {}`", directory.display())
        }
        Some(_) | None => {
            "start it with `moxctl localserve`, or say with --dir or --socket where it runs".to_owned()
        }
    }
}

/// Why the other side of a channel gave no answer.
fn cut_off(who: &str, error: &CallError) -> String {
    match error {
        CallError::Violation(Violation::Build) => {
            format!("{who} was built from other sources than this moxctl; use the moxctl that lies beside it")
        }
        CallError::PeerRestarted => {
            format!("{who} went away; its log says more, `moxctl status` shows how it is")
        }
        CallError::Dropped | CallError::Deadline | CallError::Busy | CallError::TooLarge => {
            format!("{who}: {error}; try again, and look at its log")
        }
        CallError::Violation(_) => format!("{who}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_collected_page_by_page() {
        let all: Vec<_> = (0..PAGE * 2 + 7).map(|number| format!("{number:05}")).collect();
        let page_after = |after: Option<String>| {
            let start = after.map_or(0, |after| all.iter().position(|name| *name == after).unwrap() + 1);
            Ok(all[start..].iter().take(PAGE).cloned().collect())
        };
        assert_eq!(pages(PAGE, page_after, Clone::clone).unwrap(), all);
    }

    #[test]
    fn a_directory_that_repeats_its_page_does_not_hold_moxctl_for_ever() {
        let asked = std::cell::Cell::new(0);
        let page_after = |_| {
            asked.set(asked.get() + 1);
            Ok(vec!["same".to_owned(); PAGE])
        };
        assert_eq!(pages(PAGE, page_after, Clone::clone).unwrap().len(), 2 * PAGE);
        assert_eq!(asked.get(), 2);
    }

    #[test]
    fn a_missing_socket_says_how_to_start_moxd() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let failure = Instance::connect(&socket).unwrap_err();
        let line = failure.line().unwrap();
        assert_eq!(failure.exit_code(), 69);
        assert!(line.starts_with("moxd is not running on /"), "{line}");
        assert!(line.contains("No such file or directory; "), "{line}");
    }

    #[test]
    fn a_socket_that_nobody_serves_any_more_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let line = Instance::connect(&socket).unwrap_err().line().unwrap();
        assert!(line.contains("Connection refused; "), "{line}");
    }
}
