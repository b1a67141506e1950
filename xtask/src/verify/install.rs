//! Debian packages, without any of their servers starting.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    failure::Failure,
    say,
    sys::SignalsHeld,
    workspace::{announce_and_run, run},
};

/// Asked by packages before they start a service; 101: do not.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Tells our policy from the administrator's.
const MARK: &str = "# Written by cargo verify; it takes this away again.";

/// Installs packages, as root.
pub(super) fn packages(names: &[&str]) -> Result<(), Failure> {
    // A Ctrl-C ends apt-get, and us only after the policy is away.
    let held = SignalsHeld::now();
    let _policy = Policy::put(Path::new(POLICY))
        .map_err(|error| Failure::Failed(format!("{POLICY}: {error}; without it servers would start")))?;
    let apt = || {
        let mut apt = Command::new("apt-get");
        // A fresh machine may be at its own upgrades.
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(["--quiet", "-o", "DPkg::Lock::Timeout=300"]);
        apt
    };
    say("--- apt-get update");
    run(held.not_in(apt().arg("update")), "apt-get update")?;
    let mut install = apt();
    install.args(["install", "--yes", "--no-install-recommends"]).args(names);
    announce_and_run(held.not_in(&mut install), "installing packages")
}

/// No service starts while this lives; then the policy is as it was before.
struct Policy {
    path: PathBuf,
    saved: PathBuf,
}

impl Policy {
    fn put(path: &Path) -> io::Result<Self> {
        let policy = Self { path: path.to_owned(), saved: path.with_extension("d.before-verify") };
        // Left by a run that was killed.
        policy.restore()?;
        if path.exists() {
            fs::rename(path, &policy.saved)?;
        }
        fs::write(path, format!("#!/bin/sh\n{MARK}\nexit 101\n"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        Ok(policy)
    }

    fn restore(&self) -> io::Result<()> {
        if fs::read_to_string(&self.path).is_ok_and(|text| text.contains(MARK)) {
            fs::remove_file(&self.path)?;
        }
        if self.saved.exists() && !self.path.exists() {
            fs::rename(&self.saved, &self.path)?;
        }
        Ok(())
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            say(&format!("{}: {error}; remove it by hand", self.path.display()));
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn the_policy_is_taken_away_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy-rc.d");
        let policy = Policy::put(&path).unwrap();
        assert_eq!(Command::new(&path).status().unwrap().code(), Some(101));
        drop(policy);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_administrators_policy_comes_back_even_after_a_run_that_was_killed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy-rc.d");
        fs::write(&path, "#!/bin/sh\nexit 104\n").unwrap();
        std::mem::forget(Policy::put(&path).unwrap());
        let policy = Policy::put(&path).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains(MARK));
        drop(policy);
        assert_eq!(fs::read_to_string(&path).unwrap(), "#!/bin/sh\nexit 104\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
