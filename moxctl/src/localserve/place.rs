//! The directory of an instance: made, checked, and locked against a second localserve.

use std::{
    env,
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::unistd::{Uid, geteuid};

use crate::{
    cli,
    failure::{Failure, reason},
};

/// A directory that is ours, while this lives.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    /// Where the kernel keeps the lock.
    _lock: File,
}

/// Where localserve puts its instance when it is not told. `None`: this user has no home.
pub(crate) fn default_directory() -> Option<PathBuf> {
    if geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/moxd-localserve"));
    }
    // Relative paths are to be ignored (XDG Base Directory Specification).
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("moxd-localserve"))
}

impl Place {
    /// Makes what is missing of `directory` and checks the rest.
    pub(super) fn prepare(directory: &Path) -> Result<Self, Failure> {
        Self::prepare_as(directory, geteuid())
    }

    fn prepare_as(directory: &Path, us: Uid) -> Result<Self, Failure> {
        let absolute = std::path::absolute(directory).map_err(|error| wrong(directory, &error))?;
        // As root the roles have users of their own, which must get through to their directories.
        make_all(&absolute, if us.is_root() { 0o755 } else { 0o700 })?;
        // The configuration gets the real path: a link may point elsewhere tomorrow.
        let directory = absolute.canonicalize().map_err(|error| wrong(&absolute, &error))?;
        check_name(&directory)?;
        check_owner(&directory, us)?;
        if us.is_root() {
            check_passable(&directory)?;
        }
        let run = directory.join("run");
        make_all(&run, 0o700)?;
        check_owner(&run, us)?;
        let lock = lock(&directory, &run.join("localserve.lock"))?;
        Ok(Self { directory, _lock: lock })
    }

    /// Absolute, without links.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.directory.join("moxd.toml")
    }

    pub(super) fn control(&self) -> PathBuf {
        cli::socket_in(&self.directory)
    }

    /// Where moxd says that it is ready.
    pub(super) fn notify(&self) -> PathBuf {
        self.directory.join("run/notify.sock")
    }
}

fn wrong(path: &Path, error: &io::Error) -> Failure {
    Failure::Config(format!("{}: {}; choose another place with --dir", path.display(), reason(error)))
}

/// Makes a directory and its parents; what is there already stays as it is.
fn make_all(path: &Path, mode: u32) -> Result<(), Failure> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_all(parent, mode)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        // Whatever the umask is.
        Ok(()) => {
            fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|error| wrong(path, &error))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(wrong(path, &error)),
    }
}

/// The configuration, TOML, carries the path as text; the control socket's path has a limit (sockaddr_un).
fn check_name(directory: &Path) -> Result<(), Failure> {
    let shown = directory.display();
    if directory.to_str().is_none_or(|text| text.chars().any(char::is_control)) {
        let what = format!("{shown}: not plain text; choose a directory with another name");
        return Err(Failure::Config(what));
    }
    let socket = cli::socket_in(directory);
    let length = socket.as_os_str().len();
    if length > 107 {
        let what = format!(
            "{}: a socket's path has at most 107 octets, this one {length}; choose a shorter --dir",
            socket.display()
        );
        return Err(Failure::Config(what));
    }
    Ok(())
}

/// Another user's directory may change under us at any moment.
fn check_owner(directory: &Path, us: Uid) -> Result<(), Failure> {
    let owner = fs::metadata(directory).map_err(|error| wrong(directory, &error))?.uid();
    if owner == us.as_raw() {
        return Ok(());
    }
    Err(Failure::Config(format!(
        "{} belongs to uid {owner}, this is uid {us}; choose another place with --dir, or run localserve as that user",
        directory.display()
    )))
}

/// Whether users who are neither owner nor group get through.
fn check_passable(directory: &Path) -> Result<(), Failure> {
    // The topmost first: it is the one to mend first.
    let mut parents: Vec<_> = directory.ancestors().collect();
    parents.reverse();
    for parent in parents {
        let mode = fs::metadata(parent).map_err(|error| wrong(parent, &error))?.mode();
        if mode & 0o001 == 0 {
            return Err(Failure::Config(format!(
                "the users that moxd's processes run as cannot pass {0} (mode {1:04o}); run `chmod o+x {0}`, or choose \
                 another place with --dir",
                parent.display(),
                mode & 0o7777
            )));
        }
    }
    Ok(())
}

fn lock(directory: &Path, path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let file = file.map_err(|error| wrong(path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let shown = directory.display();
            Err(Failure::Config(format!(
                "another localserve runs in {shown}; stop it with `moxctl --dir {shown} stop`, or choose another place \
                 with --dir and other ports with --port-offset"
            )))
        }
        Err(TryLockError::Error(error)) => Err(wrong(path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn line(result: Result<Place, Failure>) -> String {
        let failure = result.unwrap_err();
        assert_eq!(failure.exit_code(), 78);
        failure.line().unwrap()
    }

    #[test]
    fn roles_can_pass_what_root_makes_and_nobody_what_others_make() {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        let directory = home.path().join("a/b");
        Place::prepare(&directory).unwrap();
        let open = if geteuid().is_root() { 0o755 } else { 0o700 };
        assert_eq!((mode(&home.path().join("a")), mode(&directory)), (open, open));
        assert_eq!(mode(&directory.join("run")), 0o700);
    }

    #[test]
    fn a_second_localserve_is_refused_and_a_later_one_is_not() {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        let directory = home.path().join("moxd");
        let first = Place::prepare(&directory).unwrap();
        let said = line(Place::prepare(&directory));
        assert!(said.contains("another localserve runs in ") && said.contains("--port-offset"), "{said}");
        drop(first);
        assert!(Place::prepare(&directory).is_ok());
    }

    #[test]
    fn a_parent_that_other_users_cannot_pass_is_named() {
        let home = tempfile::tempdir().unwrap();
        let closed = home.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o750)).unwrap();
        let failure = check_passable(&closed).unwrap_err().line().unwrap();
        let advice = format!("run `chmod o+x {}`", closed.display());
        assert!(failure.contains(&advice) && failure.contains("(mode 0750)"), "{failure}");
        fs::set_permissions(&closed, Permissions::from_mode(0o711)).unwrap();
        assert_eq!(check_passable(&closed), Ok(()));
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let stranger = Uid::from_raw(geteuid().as_raw() + 1);
        let said = line(Place::prepare_as(home.path(), stranger));
        assert!(said.contains(" belongs to uid ") && said.contains("--dir"), "{said}");
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_named() {
        let home = tempfile::tempdir().unwrap();
        let said = line(Place::prepare(&home.path().join("d".repeat(100))));
        assert!(said.contains("run/control.sock: a socket's path has at most 107 octets"), "{said}");
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "").unwrap();
        let said = line(Place::prepare(&file.join("moxd")));
        assert!(said.contains("/file"), "{said}");
    }
}
