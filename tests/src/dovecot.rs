//! Dovecot on loopback: somebody else's IMAP server, with mail in a Maildir.

use std::{
    fs::{self, File, Permissions},
    io::{BufReader, Read},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User},
};

/// Who logs in.
pub const USER: &str = "old";
/// See [`USER`].
pub const PASSWORD: &str = "old-enough";

/// A running one; dropped, it is stopped.
#[derive(Debug)]
pub struct Dovecot {
    master: Child,
    /// In the clear.
    pub imap: SocketAddr,
    /// Over TLS.
    pub imaps: SocketAddr,
    /// The Maildir.
    pub mail: PathBuf,
}

impl Dovecot {
    /// In a directory of its own below `place`, with this certificate and key (PEM) for localhost. Root only.
    #[must_use]
    pub fn start(place: &Path, certificate: &str, key: &str) -> Self {
        let directory = place.join("dovecot");
        let mail = directory.join("mail");
        fs::create_dir_all(&mail).expect("its directory");
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).expect("its mode");
        let nobody = User::from_name("nobody").expect("users").expect("a user nobody");
        let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
        chown(&mail, Some(uid), Some(gid)).expect("its owner");
        fs::write(directory.join("certificate.pem"), certificate).expect("the certificate");
        fs::write(directory.join("key.pem"), key).expect("the key");
        let (imap, imaps) = (free_address(), free_address());
        let text = configuration(&directory, imap, imaps, uid, gid);
        fs::write(directory.join("dovecot.conf"), text).expect("the configuration");
        let log = File::create(directory.join("stderr")).expect("the log");
        let mut command = Command::new("/usr/sbin/dovecot");
        command.arg("-F").arg("-c").arg(directory.join("dovecot.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let master = command.spawn().expect("Dovecot (Debian: dovecot-imapd)");
        let mut dovecot = Self { master, imap, imaps, mail };
        dovecot.await_greeting(&directory);
        dovecot
    }

    fn await_greeting(&mut self, directory: &Path) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if let Ok(Some(status)) = self.master.try_wait() {
                let said = fs::read_to_string(directory.join("stderr")).unwrap_or_default();
                panic!("Dovecot ended with {status}: {said}");
            }
            if let Ok(stream) = TcpStream::connect(self.imap)
                && BufReader::new(stream).read(&mut [0; 1]).is_ok_and(|read| read == 1)
            {
                return;
            }
            std::thread::yield_now();
        }
        panic!("Dovecot does not listen");
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

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its address")
}

fn configuration(directory: &Path, imap: SocketAddr, imaps: SocketAddr, uid: u32, gid: u32) -> String {
    let (directory, imap, imaps) = (directory.display(), imap.port(), imaps.port());
    format!(
        "base_dir = {directory}/run\nstate_dir = {directory}/run\nlog_path = {directory}/log\n\
         protocols = imap\nlisten = 127.0.0.1\nfirst_valid_uid = 1\nfirst_valid_gid = 1\n\
         ssl = yes\nssl_cert = <{directory}/certificate.pem\nssl_key = <{directory}/key.pem\n\
         disable_plaintext_auth = no\nauth_mechanisms = plain login\n\
         mail_location = maildir:{directory}/mail\n\
         namespace inbox {{\n  inbox = yes\n  prefix = INBOX.\n  separator = .\n\
         \u{20} mailbox Outgoing {{\n    special_use = \\Sent\n    auto = subscribe\n  }}\n}}\n\
         passdb {{\n  driver = static\n  args = password={PASSWORD}\n}}\n\
         userdb {{\n  driver = static\n  args = uid={uid} gid={gid} home={directory}/mail\n}}\n\
         service imap-login {{\n  inet_listener imap {{\n    port = {imap}\n  }}\n  inet_listener imaps {{\n    port = {imaps}\n    ssl = yes\n  }}\n}}\n"
    )
}
