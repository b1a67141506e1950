//! `moxctl localserve` as a child: started, waited for, stopped.

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{failure::Failure, processes::Processes};

/// What `moxctl localserve` makes.
pub(crate) const ACCOUNT: &str = "mox";
/// See [`ACCOUNT`].
pub(crate) const PASSWORD: &str = "moxmoxmox";

/// The standard ports that an instance adds its offset to.
const PORTS: [u16; 5] = [25, 143, 993, 80, 443];

/// Where moxd's programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    moxctl: PathBuf,
}

impl Programs {
    /// In `MOXD_RELEASE`, or beside this program.
    pub(crate) fn find() -> Result<Self, Failure> {
        let directory = match env::var_os("MOXD_RELEASE") {
            Some(directory) => PathBuf::from(directory),
            None => {
                let own =
                    env::current_exe().map_err(|error| Failure::io("this program's own path", error))?;
                own.parent().map(Path::to_owned).unwrap_or_default()
            }
        };
        let moxctl = directory.join("moxctl");
        if moxctl.is_file() {
            return Ok(Self { moxctl });
        }
        let moxctl = moxctl.display();
        Err(Failure::new(format!(
            "{moxctl} is not there; run `cargo build --release --workspace --bins` first"
        )))
    }
}

/// A running instance; dropped, it is stopped.
#[derive(Debug)]
pub(crate) struct Instance {
    moxctl: Child,
    directory: PathBuf,
    offset: u16,
    /// From the start of moxctl to the line `ready`.
    pub(crate) start_took: Duration,
}

impl Instance {
    /// Starts one in `directory` and waits until every process is locked in and listens.
    pub(crate) fn start(programs: &Programs, directory: &Path) -> Result<Self, Failure> {
        Self::start_at(programs, directory, free_offset()?)
    }

    /// The same with these lines in its configuration.
    pub(crate) fn start_with(programs: &Programs, directory: &Path, lines: &str) -> Result<Self, Failure> {
        // The first start writes the file, which holds for as long as the ports stay.
        let first = Self::start(programs, directory)?;
        let offset = first.offset;
        first.stop()?;
        let path = directory.join("moxd.toml");
        let failed = |error| Failure::io(path.display().to_string(), error);
        let text = fs::read_to_string(&path).map_err(failed)?;
        fs::write(&path, format!("{text}\n{lines}\n")).map_err(failed)?;
        Self::start_at(programs, directory, offset)
    }

    fn start_at(programs: &Programs, directory: &Path, offset: u16) -> Result<Self, Failure> {
        let mut command = Command::new(&programs.moxctl);
        command.arg("localserve").arg("--dir").arg(directory);
        command.args(["--wait-ready", "--quiet", "--port-offset", &offset.to_string()]);
        let log = directory.with_extension("log");
        let file = File::create(&log).map_err(|error| Failure::io(log.display().to_string(), error))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let start = Instant::now();
        let failed = |error| Failure::io(programs.moxctl.display().to_string(), error);
        let mut moxctl = command.spawn().map_err(failed)?;
        let stdout = moxctl.stdout.take();
        let directory = directory.to_owned();
        let mut instance = Self { moxctl, directory, offset, start_took: Duration::ZERO };
        let mut said = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut said).map_err(failed)?;
        }
        instance.start_took = start.elapsed();
        if said == "ready\n" {
            return Ok(instance);
        }
        drop(instance);
        let said = fs::read_to_string(&log).unwrap_or_default();
        let why = said.lines().last().unwrap_or("it said nothing");
        Err(Failure::new(format!("moxctl localserve did not get ready: {why}")))
    }

    pub(crate) fn smtp(&self) -> SocketAddr {
        address(25, self.offset)
    }

    pub(crate) fn imap(&self) -> SocketAddr {
        address(143, self.offset)
    }

    pub(crate) fn imaps(&self) -> SocketAddr {
        address(993, self.offset)
    }

    /// One more account, with an address of the same name.
    pub(crate) fn add_account(&self, programs: &Programs, name: &str) -> Result<(), Failure> {
        self.moxctl(programs, &["account", "add", name, &format!("{name}@localhost")], "")
    }

    /// An account's password.
    pub(crate) fn set_password(
        &self,
        programs: &Programs,
        name: &str,
        password: &str,
    ) -> Result<(), Failure> {
        self.moxctl(programs, &["password", "set", name], &format!("{password}\n"))
    }

    /// moxctl on this instance.
    pub(crate) fn command(&self, programs: &Programs) -> Command {
        let mut command = Command::new(&programs.moxctl);
        command.arg("--dir").arg(&self.directory);
        command
    }

    fn moxctl(&self, programs: &Programs, arguments: &[&str], input: &str) -> Result<(), Failure> {
        let what = || format!("moxctl {}", arguments.join(" "));
        let failed = |error| Failure::io(what(), error);
        let mut command = self.command(programs);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).map_err(failed)?;
        }
        let output = child.wait_with_output().map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!("{}: {}", what(), said.trim_end())))
    }

    pub(crate) fn processes(&self) -> Result<Processes, Failure> {
        Processes::below(self.moxctl.id())
    }

    /// Stops it in order.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        self.terminate();
        let status = self.moxctl.wait().map_err(|error| Failure::io("waiting for moxctl", error))?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::new(format!("moxctl localserve ended with {status}")))
        }
    }

    fn terminate(&self) {
        if let Ok(pid) = i32::try_from(self.moxctl.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Waited for already: its number may be another's by now.
        if let Ok(None) = self.moxctl.try_wait() {
            self.terminate();
            let _ = self.moxctl.wait();
        }
    }
}

fn address(port: u16, offset: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port.saturating_add(offset)))
}

/// An offset at which nobody listens on any port of an instance.
fn free_offset() -> Result<u16, Failure> {
    let free = |offset: &u16| PORTS.iter().all(|port| TcpListener::bind(address(*port, *offset)).is_ok());
    let mut offsets = (12_000..32_000).step_by(1000);
    offsets.find(free).ok_or_else(|| Failure::new("no free ports between 12000 and 32000"))
}
