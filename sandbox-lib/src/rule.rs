//! A syscall, when it is allowed, and which feature needs it; and how a list of them becomes a filter.

use std::collections::BTreeMap;

use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::{digest, profiles::Profile, sys};

/// One line of a profile.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The syscall's number.
    pub syscall: i64,
    /// Allowed if all checks of any entry hold; empty: always.
    pub when: &'static [&'static [Check]],
    /// Which feature needs it.
    pub feature: &'static str,
}

/// A condition on one argument, counted from 0.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    /// The argument, an int, is this.
    Is(u8, u64),
    /// The argument, a pointer or a long, is this.
    IsLong(u8, u64),
    /// Of the argument's bits in the mask, exactly those of the value are set.
    Bits(u8, u64, u64),
    /// The argument is this process's own id.
    OwnPid(u8),
}

/// Allowed with any arguments.
pub(crate) const fn any(syscall: i64, feature: &'static str) -> Rule {
    Rule { syscall, when: &[], feature }
}

/// Allowed under conditions.
pub(crate) const fn when(syscall: i64, when: &'static [&'static [Check]], feature: &'static str) -> Rule {
    Rule { syscall, when, feature }
}

impl Check {
    fn condition(self) -> Result<SeccompCondition, seccompiler::BackendError> {
        let (argument, length, operator, value) = match self {
            Self::Is(argument, value) => (argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value),
            Self::IsLong(argument, value) => (argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value),
            Self::Bits(argument, mask, value) => {
                (argument, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value)
            }
            Self::OwnPid(argument) => {
                (argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::from(std::process::id()))
            }
        };
        SeccompCondition::new(argument, length, operator, value)
    }
}

/// Installs two filters. The first only makes clone3 answer ENOSYS: its flags lie in memory where no filter can read
/// them, and the C library then uses clone. The second is the profile; of two refusals the kernel takes the stricter,
/// so it has to allow clone3. Gives the digest of both; `None`: this
/// kernel has no filters.
pub(crate) fn apply(profile: &Profile) -> Result<Option<u64>, String> {
    let no_clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let enosys = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let profile = rules(profile).map_err(|error| error.to_string())?;
    let filters =
        [compile(no_clone3, SeccompAction::Allow, enosys)?, compile(profile, refuse, SeccompAction::Allow)?];
    for filter in &filters {
        if !install(filter)? {
            return Ok(None);
        }
    }
    let filters = filters.map(|filter| filter.iter().map(instruction).collect::<Vec<_>>());
    Ok(Some(digest::of_filters(&filters, std::process::id())))
}

/// As the kernel has it in memory.
fn instruction(from: &seccompiler::sock_filter) -> u64 {
    u64::from(from.code) | u64::from(from.jt) << 16 | u64::from(from.jf) << 24 | u64::from(from.k) << 32
}

/// The profile's rules by syscall.
fn rules(profile: &Profile) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let mut unconditional = Vec::new();
    for rule in profile.rules() {
        if rule.when.is_empty() {
            unconditional.push(rule.syscall);
        }
        for checks in rule.when {
            let conditions = checks.iter().map(|check| check.condition()).collect::<Result<_, _>>()?;
            rules.entry(rule.syscall).or_default().push(SeccompRule::new(conditions)?);
        }
    }
    for syscall in unconditional {
        rules.insert(syscall, Vec::new());
    }
    Ok(rules)
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<seccompiler::BpfProgram, String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let filter = SeccompFilter::new(rules, otherwise, matched, arch).map_err(|error| error.to_string())?;
    filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())
}

/// False: this kernel has no filters.
fn install(filter: &[seccompiler::sock_filter]) -> Result<bool, String> {
    match sys::install_filter(filter) {
        Ok(()) => Ok(true),
        // Without CONFIG_SECCOMP the call is not there, without CONFIG_SECCOMP_FILTER the mode is not.
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOSYS | libc::EINVAL) => Ok(false),
            Some(_) | None => Err(error.to_string()),
        },
    }
}
