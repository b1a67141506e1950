//! What locks a process in, as it reports it and as the kernel has it: a digest of the syscall filter and one of Landlock's
//! rules. The kernel gives back filters, never Landlock's rules.

mod sys;

use std::collections::BTreeMap;

use ipc_proto::admin::Status;

/// The digests of the filter and of Landlock's rules, by role.
pub(crate) type Digests = BTreeMap<&'static str, (u64, u64)>;

/// As the processes report them; those of one role must agree.
pub(crate) fn reported(status: &Status) -> Digests {
    let mut digests = Digests::new();
    for process in &status.processes {
        let layers = process.layers.expect("locked in");
        let found = (layers.filter, layers.rules);
        let before = digests.insert(process.role.binary(), found);
        assert!(before.is_none_or(|before| before == found), "two of {}", process.role.binary());
    }
    digests
}

/// The filters in force, by role, as the kernel gives them to root. `None`: it gives them to nobody here, because this
/// test is behind a filter itself or the kernel is built without.
pub(crate) fn in_force(status: &Status) -> Option<BTreeMap<&'static str, u64>> {
    let mut digests = BTreeMap::new();
    for process in &status.processes {
        let pid = process.pid.expect("it runs");
        let filters = sys::filters(i32::try_from(pid).unwrap())?;
        assert_eq!(filters.len(), 2, "{}: not the two filters", process.role.binary());
        let digest = sandbox_lib::of_filters(&filters, pid);
        let before = digests.insert(process.role.binary(), digest);
        assert!(before.is_none_or(|before| before == digest), "two of {}", process.role.binary());
    }
    Some(digests)
}
