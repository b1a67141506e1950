//! How a worker locks itself in: Landlock, then seccomp, with one readable profile per role.
//!
//!   worker: settings read, own files open ──▶ [`lock_in`] ──▶ report of what is in force ──▶ first input
//!
//! The supervisor has already taken away the user, the groups, the capabilities, the network namespace and the
//! resource limits before the worker's first instruction; what only the process itself can give up, it gives up here.
//!
//! Always true: (1) a syscall that no line of [`profiles`] names fails with EPERM and is logged; (2) every line says
//! which feature needs it; (3) what is not in force is not reported.

mod digest;
pub mod profiles;
mod rule;
pub mod sys;

use std::{io, path::Path};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
};

pub use digest::{Digest, of_filters};
pub use profiles::Profile;
pub use rule::Rule;

/// Why a process could not lock itself in.
#[derive(Debug, thiserror::Error)]
pub enum LockInError {
    /// The directory to keep cannot be opened.
    #[error("cannot open {0}: {1}")]
    Directory(String, io::Error),
    /// Landlock's rules were refused.
    #[error("landlock: {0}; does this kernel have Landlock enabled? see `cat /sys/kernel/security/lsm`")]
    Landlock(String),
    /// The filter was refused.
    #[error("seccomp: {0}; does this kernel have CONFIG_SECCOMP_FILTER?")]
    Seccomp(String),
}

/// What is in force on this process after [`lock_in`], each read back or known from the kernel's own answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// No capability, effective or to be had again.
    pub no_capabilities: bool,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
    /// Not dumpable: no core, no ptrace by the same user.
    pub not_dumpable: bool,
    /// RLIMIT_CORE is zero.
    pub limits: bool,
    /// The syscall filter.
    pub seccomp: bool,
    /// Landlock's file rules (ABI 1).
    pub landlock_files: bool,
    /// Landlock's TCP rules (ABI 4).
    pub landlock_network: bool,
    /// Landlock's scopes (ABI 6).
    pub landlock_scopes: bool,
    /// The kernel's ABI, 0 for none.
    pub landlock_abi: u8,
    /// A digest of the filter's instructions, the same in every process of a role; 0 for none.
    pub filter: u64,
    /// A digest of what Landlock was told to leave, and of the ABI it was told it in.
    pub rules: u64,
}

/// Keeps `directory` (read and write, no execute) and the syscalls of `profile`, gives up the rest. Call while the
/// process has one thread and no input was read. What the kernel does not have is missing in the report: whether that
/// ends the start is the supervisor's to say, and until then it hands over nothing.
pub fn lock_in(profile: &Profile, directory: Option<&Path>) -> Result<Report, LockInError> {
    let mut report = Report {
        no_capabilities: sys::no_capabilities(),
        not_dumpable: sys::not_dumpable(),
        limits: sys::no_core_files(),
        ..Report::default()
    };
    restrict_files(directory, &mut report)?;
    report.no_new_privs = sys::no_new_privs();
    let filter = rule::apply(profile).map_err(LockInError::Seccomp)?;
    report.seccomp = filter.is_some();
    report.filter = filter.unwrap_or_default();
    Ok(report)
}

/// Landlock: nothing of the file system but `directory`, no TCP, no signals or abstract sockets to outside.
fn restrict_files(directory: Option<&Path>, report: &mut Report) -> Result<(), LockInError> {
    let failed = |error: landlock::RulesetError| LockInError::Landlock(error.to_string());
    let (files, network, scopes) =
        (AccessFs::from_all(ABI::V5), AccessNet::from_all(ABI::V4), Scope::from_all(ABI::V6));
    let left = directory.map_or(0, |_| own_files().bits());
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(files)
        .and_then(|rules| rules.handle_access(network))
        .and_then(|rules| rules.scope(scopes))
        .and_then(Ruleset::create)
        .map_err(failed)?;
    if let Some(directory) = directory {
        let fd = PathFd::new(directory).map_err(|error| {
            LockInError::Directory(directory.display().to_string(), io::Error::other(error))
        })?;
        rules = rules.add_rule(PathBeneath::new(fd, own_files())).map_err(failed)?;
    }
    let status = rules.restrict_self().map_err(failed)?;
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            kernel_abi.map_or(effective_abi as i32, |kernel| kernel)
        }
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    };
    report.landlock_abi = u8::try_from(abi).unwrap_or(u8::MAX);
    report.landlock_files = abi >= ABI::V1 as i32;
    report.landlock_network = abi >= ABI::V4 as i32;
    report.landlock_scopes = abi >= ABI::V6 as i32;
    let mut digest = Digest::default();
    for told in [files.bits(), network.bits(), scopes.bits(), left, u64::from(report.landlock_abi)] {
        digest.take(&told.to_le_bytes());
    }
    report.rules = digest.value();
    Ok(())
}

/// Regular files and directories; no device, socket, pipe or link is ever made, nothing is executed.
fn own_files() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}
