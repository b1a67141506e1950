//! What to do with an instance that runs: lines to copy that work as they stand.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use serde::Serialize;
use supervisor::config::Protocol;

use super::{
    configuration::Wanted,
    setup::{ACCOUNT, ADDRESS, PASSWORD},
};

/// For people as text, for programs as JSON.
#[derive(Debug, Serialize)]
pub(super) struct NextSteps {
    directory: String,
    account: &'static str,
    address: &'static str,
    /// The first one; it may have been changed since.
    password: &'static str,
    /// In brackets where a port follows.
    ip: String,
    /// What a client compares with the certificate.
    host: String,
    smtp: u16,
    submission: u16,
    submissions: u16,
    imap: u16,
    imaps: u16,
    http: String,
    https: String,
    moxctl: String,
}

impl NextSteps {
    pub(super) fn new(directory: &Path, wanted: &Wanted, program: &Path) -> Self {
        let reached = Wanted { ip: reachable(wanted.ip), ..*wanted };
        let at = |protocol| reached.address(protocol);
        Self {
            directory: directory.display().to_string(),
            account: ACCOUNT,
            address: ADDRESS,
            password: PASSWORD,
            ip: match reached.ip {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            },
            host: named(reached.ip),
            smtp: at(Protocol::Smtp).port(),
            submission: at(Protocol::Submission).port(),
            submissions: at(Protocol::Submissions).port(),
            imap: at(Protocol::Imap).port(),
            imaps: at(Protocol::Imaps).port(),
            http: format!("http://{}/", at(Protocol::Http)),
            https: format!("https://{}/", at(Protocol::Https)),
            moxctl: format!(
                "{} --dir {}",
                shell(&program.to_string_lossy()),
                shell(&directory.to_string_lossy())
            ),
        }
    }

    pub(super) fn text(&self) -> String {
        let Self {
            directory,
            account,
            address,
            password,
            ip,
            host,
            smtp,
            imap,
            imaps,
            http,
            https,
            moxctl,
            ..
        } = self;
        let Self { submission, submissions, .. } = self;
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let hint = if host == "localhost" { "" } else { NAMES_ONLY };
        let certificate = format!("{directory}/localhost.pem");
        let certificate = certificate.as_str();
        let (quoted, for_mutt) =
            (shell(certificate), shell(&format!("set certificate_file=\"{certificate}\"")));
        format!(
            r#"
moxd runs in {directory} until Ctrl-C.

  account   {account}, password {password} (until you change it)
  address   {address}; mail for every other address goes there too
  SMTP      {ip}:{smtp}, STARTTLS
  sending   {ip}:{submission}, STARTTLS; {ip}:{submissions}, TLS; after login
  IMAP      {ip}:{imap}, STARTTLS; {ip}:{imaps}, TLS
  web       {http} and {https}

Send a message:

  swaks --server {ip}:{smtp} --tls --from you@example.org --to {address}

Or as a mail program does, after login:

  swaks --server {ip}:{submission} --tls --auth PLAIN --auth-user {account} --auth-password {password} \
    --from {address} --to anybody@example.org

The certificate is self-signed. Save it once, so that clients can check it:

  openssl s_client -connect {ip}:{imaps} </dev/null 2>/dev/null | openssl x509 >{quoted}

Read with mutt:

  mutt -n -F /dev/null -e {for_mutt} \
    -e 'set imap_user={account} imap_pass={password} folder=imaps://{bracketed}:{imaps}/' -f =INBOX

Fetch with mbsync: save this as moxd.mbsyncrc, then `mkdir -p ~/moxd-mail; mbsync -c moxd.mbsyncrc moxd`:
{hint}
  IMAPStore there
  Host {host}
  Port {imaps}
  User {account}
  Pass {password}
  SSLType IMAPS
  CertificateFile "{certificate}"

  MaildirStore here
  Path ~/moxd-mail/
  Inbox ~/moxd-mail/INBOX
  SubFolders Verbatim

  Channel moxd
  Far :there:
  Near :here:
  Patterns *
  Create Near
  SyncState *

See what runs, and stop it:

  {moxctl} status
  {moxctl} stop

"#
        )
    }
}

/// Where a client on this host finds it.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) | IpAddr::V6(_) => ip,
    }
}

/// Clients of mail compare names in certificates, and hardly ever addresses.
fn named(ip: IpAddr) -> String {
    if ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V6(Ipv6Addr::LOCALHOST) {
        "localhost".to_owned()
    } else {
        ip.to_string()
    }
}

/// For other addresses than those of localhost.
const NAMES_ONLY: &str = "(mbsync compares names only: give the address one in /etc/hosts and in certificate_names of \
                          moxd.toml, and write it behind Host)\n";

/// A word of a shell.
fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ip: &str, directory: &str) -> String {
        let wanted = Wanted { ip: ip.parse().unwrap(), port_offset: 2000 };
        NextSteps::new(Path::new(directory), &wanted, Path::new("/opt/my moxd/moxctl")).text()
    }

    #[test]
    fn ports_and_addresses_are_those_of_the_instance() {
        for (ip, swaks) in [
            ("127.0.0.1", "--server 127.0.0.1:2025 "),
            ("::1", "--server [::1]:2025 "),
            ("0.0.0.0", "--server 127.0.0.1:2025 "),
            ("192.0.2.1", "--server 192.0.2.1:2025 "),
            ("2001:db8::1", "--server [2001:db8::1]:2025 "),
        ] {
            let text = text(ip, "/srv/moxd");
            assert!(text.contains(swaks), "{ip}: {text}");
            assert_eq!(text.contains("/etc/hosts"), !text.contains("Host localhost\n"), "{text}");
            assert!(text.contains(":2993") && text.contains(":2143") && text.contains(":2443/"), "{text}");
            assert!(text.contains(":2587") && text.contains(":2465"), "{text}");
        }
    }

    #[test]
    fn lines_for_a_shell_survive_odd_names() {
        let text = text("127.0.0.1", "/srv/it's here");
        assert!(text.contains("'/opt/my moxd/moxctl' --dir '/srv/it'\\''s here' stop\n"), "{text}");
        assert!(text.contains(">'/srv/it'\\''s here/localhost.pem'\n"), "{text}");
    }
}
