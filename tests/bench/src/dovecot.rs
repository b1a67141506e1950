//! Dovecot on loopback, with the same messages or users: what they cost elsewhere.

use std::{
    fs::{self, File, Permissions},
    io::{BufReader, Read},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};

use crate::{
    failure::Failure,
    instance::{ACCOUNT, PASSWORD},
    processes::Processes,
    scram::Keys,
};

const PROGRAM: &str = "/usr/sbin/dovecot";

/// No server takes longer to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running Dovecot; dropped, it is stopped.
#[derive(Debug)]
pub(crate) struct Dovecot {
    master: Child,
    address: SocketAddr,
    pub(crate) version: String,
}

/// What one has to serve.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Serves<'a> {
    /// These messages as the account's INBOX, in the clear.
    Messages(&'a [Vec<u8>]),
    /// These users with what it keeps of their passwords, by TLS from the start; empty mailboxes.
    Users(&'a [(String, Keys)]),
}

/// Whose the mailboxes are: not root, whose mail Dovecot does not serve.
struct Owner {
    uid: u32,
    gid: u32,
}

impl Dovecot {
    /// Starts one in `directory`. `Err` in the outer sense: it is there and does not work; in the inner: why it cannot
    /// be compared with.
    pub(crate) fn start(directory: &Path, serves: Serves<'_>) -> Result<Result<Self, &'static str>, Failure> {
        if !Path::new(PROGRAM).is_file() {
            return Ok(Err("Dovecot is not installed (Debian: dovecot-imapd)"));
        }
        if !geteuid().is_root() {
            return Ok(Err("Dovecot is started as root only"));
        }
        let nobody = User::from_name("nobody").ok().flatten();
        let nobody = nobody.ok_or_else(|| Failure::new("there is no user nobody for Dovecot's mailbox"))?;
        let owner = Owner { uid: nobody.uid.as_raw(), gid: nobody.gid.as_raw() };
        let failed = |error| Failure::io(directory.display().to_string(), error);
        fs::create_dir_all(directory).map_err(failed)?;
        fs::set_permissions(directory, Permissions::from_mode(0o755)).map_err(failed)?;
        let address = free_address()?;
        let own = match serves {
            Serves::Messages(messages) => {
                fill(&directory.join("mail"), messages, &owner).map_err(failed)?;
                mailbox(directory, address, &owner)
            }
            Serves::Users(users) => {
                let mail = directory.join("mail");
                fs::create_dir_all(&mail).map_err(failed)?;
                chown(&mail, Some(owner.uid), Some(owner.gid)).map_err(failed)?;
                let passwords = users.iter().map(|(user, keys)| format!("{user}:{}\n", keys.verifier()));
                fs::write(directory.join("passwords"), passwords.collect::<String>()).map_err(failed)?;
                certify(directory)?;
                logins(directory, address, &owner)
            }
        };
        let configuration = directory.join("dovecot.conf");
        fs::write(&configuration, common(directory, address) + &own).map_err(failed)?;
        let log = File::create(directory.join("stderr")).map_err(failed)?;
        let mut command = Command::new(PROGRAM);
        command.arg("-F").arg("-c").arg(&configuration);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let master = command.spawn().map_err(|error| Failure::io(PROGRAM, error))?;
        let mut dovecot = Self { master, address, version: version() };
        dovecot.await_greeting(directory, matches!(serves, Serves::Messages(_)))?;
        Ok(Ok(dovecot))
    }

    pub(crate) fn imap(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn processes(&self) -> Result<Processes, Failure> {
        Processes::of(self.master.id())
    }

    /// In the clear it speaks first; over TLS that it listens has to do.
    fn await_greeting(&mut self, directory: &Path, in_the_clear: bool) -> Result<(), Failure> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Ok(Some(status)) = self.master.try_wait() {
                let said = fs::read_to_string(directory.join("stderr")).unwrap_or_default();
                let why = said.lines().next_back().unwrap_or("it said nothing").to_owned();
                return Err(Failure::new(format!("Dovecot ended with {status}: {why}")));
            }
            if let Ok(stream) = TcpStream::connect(self.address) {
                let mut greeting = [0; 1];
                if !in_the_clear || BufReader::new(stream).read(&mut greeting).is_ok_and(|read| read == 1) {
                    return Ok(());
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(Failure::new("Dovecot does not listen"))
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if let (Ok(None), Ok(pid)) = (self.master.try_wait(), i32::try_from(self.master.id())) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            let _ = self.master.wait();
        }
    }
}

/// As Dovecot's own delivery leaves them: lines that end in LF, sizes in the names.
fn fill(maildir: &Path, messages: &[Vec<u8>], owner: &Owner) -> std::io::Result<()> {
    let own = |path: &PathBuf| chown(path, Some(owner.uid), Some(owner.gid));
    for directory in [maildir.to_owned(), maildir.join("cur"), maildir.join("new"), maildir.join("tmp")] {
        fs::create_dir_all(&directory)?;
        own(&directory)?;
    }
    for (number, message) in (1_u32..).zip(messages) {
        let mut stored = message.clone();
        stored.retain(|octet| *octet != b'\r');
        let (size, whole) = (stored.len(), message.len());
        let name = format!("1767225600.M{number}P1.bench,S={size},W={whole}:2,");
        let path = maildir.join("cur").join(name);
        fs::write(&path, stored)?;
        own(&path)?;
    }
    Ok(())
}

fn common(directory: &Path, address: SocketAddr) -> String {
    let directory = directory.display();
    format!(
        "base_dir = {directory}/run\nstate_dir = {directory}/run\nlog_path = {directory}/log\n\
         protocols = imap\nlisten = {}\nfirst_valid_uid = 1\nfirst_valid_gid = 1\ndefault_vsz_limit = 2 G\n",
        address.ip()
    )
}

fn mailbox(directory: &Path, address: SocketAddr, owner: &Owner) -> String {
    let (directory, Owner { uid, gid }) = (directory.display(), owner);
    format!(
        "ssl = no\ndisable_plaintext_auth = no\nauth_mechanisms = plain login\nmail_max_userip_connections = 0\n\
         mail_location = maildir:{directory}/mail\nmailbox_list_index = yes\n\
         passdb {{\n  driver = static\n  args = password={PASSWORD}\n}}\n\
         userdb {{\n  driver = static\n  args = uid={uid} gid={gid} home={directory}/mail user={ACCOUNT}\n}}\n\
         service imap-login {{\n  inet_listener imap {{\n    port = {}\n  }}\n  inet_listener imaps {{\n    port = 0\n  }}\n}}\n",
        address.port()
    )
}

/// Its login processes in the mode that its documentation calls high-performance, its cache of passwords on, no limit in
/// the way.
fn logins(directory: &Path, address: SocketAddr, owner: &Owner) -> String {
    let (directory, Owner { uid, gid }) = (directory.display(), owner);
    format!(
        "ssl = required\nssl_cert = <{directory}/certificate.pem\nssl_key = <{directory}/key.pem\n\
         auth_mechanisms = plain scram-sha-256\nauth_cache_size = 10 M\nmail_max_userip_connections = 0\n\
         mail_location = maildir:~\n\
         passdb {{\n  driver = passwd-file\n  args = {directory}/passwords\n}}\n\
         userdb {{\n  driver = static\n  args = uid={uid} gid={gid} home={directory}/mail/%u\n}}\n\
         service imap-login {{\n  service_count = 0\n  process_min_avail = 2\n  client_limit = 2000\n  vsz_limit = 1 G\n\
         \u{20} inet_listener imap {{\n    port = 0\n  }}\n  inet_listener imaps {{\n    port = {}\n  }}\n}}\n\
         service imap {{\n  process_limit = 2000\n}}\nservice auth {{\n  client_limit = 10000\n}}\n\
         service anvil {{\n  client_limit = 10000\n}}\n",
        address.port()
    )
}

/// A certificate of the kind that moxd makes for itself.
fn certify(directory: &Path) -> Result<(), Failure> {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let pair = pair.map_err(|error| Failure::new(format!("a certificate for Dovecot: {error}")))?;
    let parts = [
        ("certificate.pem", "CERTIFICATE", pair.cert.der().to_vec()),
        ("key.pem", "PRIVATE KEY", pair.signing_key.serialize_der()),
    ];
    for (name, label, der) in parts {
        let lines = der.chunks(48).map(|octets| STANDARD.encode(octets) + "\n").collect::<String>();
        let text = format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n");
        let path = directory.join(name);
        fs::write(&path, text).map_err(|error| Failure::io(path.display().to_string(), error))?;
    }
    Ok(())
}

fn version() -> String {
    let output = Command::new(PROGRAM).arg("--version").output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    said.split_whitespace().next().unwrap_or("of unknown version").to_owned()
}

fn free_address() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map_err(|error| Failure::io("a port for Dovecot", error))
}
