//! An IMAP server. The connection is made here; what comes over it is read by the reader only, TLS included.

use std::{
    fs, io,
    net::{TcpStream, ToSocketAddrs},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use import_lib::{name, reader::certificates};
use ipc_proto::{
    Secret,
    reader::{ImapJob, ImapTls, Job, SourceMailbox, ToReader},
    transfer::ImportTarget,
};

use super::{
    bring::{Bringer, Ended, Source},
    child::Reader,
    options::{Common, Imap, Tls},
};
use crate::{
    failure::{Failure, reason},
    output::complain,
    password,
};

/// To connect.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections that brought nothing, one after the other.
const ATTEMPTS: u32 = 6;
/// Where systems keep the certificates that they trust.
const TRUSTED: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// Of a file of certificates, octets.
const MAX_CERTIFICATES: u64 = 8 << 20;

pub(super) fn bring(options: &Imap, common: &Common, bringer: &mut Bringer) -> Result<(), Failure> {
    let server = Server::parse(options)?;
    let roots = match options.insecure || options.tls == Tls::None {
        true => Vec::new(),
        false => trusted(options.ca.as_deref())?,
    };
    let password = password::of_a_source(&options.user, options.password_file.as_deref())?;
    let template = bringer.target(String::new(), "");
    let mut mailboxes =
        Mailboxes { server: &server, user: &options.user, common, begun: Vec::new(), template };
    let (mut attempt, mut before) = (0, 0);
    loop {
        let ended = match once(&server, options, &roots, &password, &mut mailboxes, bringer) {
            Ok(()) => return Ok(()),
            Err(ended) => ended,
        };
        let why = match ended {
            Ended::Failure(failure) => return Err(failure),
            Ended::Source { again: false, why } => {
                return Err(Failure::Refused(format!("{}: {why}", server.host)));
            }
            Ended::Source { again: true, why } => why,
        };
        // What came is counted: an hour's work and then a lost connection is no failure.
        let now = bringer.brought();
        attempt = if now > before { 1 } else { attempt + 1 };
        before = now;
        if attempt >= ATTEMPTS {
            return Err(Failure::Unavailable(format!(
                "{}: {why}; what came is kept; run the same again to go on",
                server.host
            )));
        }
        let pause = Duration::from_secs(1 << attempt.min(5));
        complain(&format!("{}: {why}; the next attempt is in {} s", server.host, pause.as_secs()));
        thread::sleep(pause);
    }
}

/// One connection.
fn once(
    server: &Server,
    options: &Imap,
    roots: &[Vec<u8>],
    password: &Secret,
    mailboxes: &mut Mailboxes<'_>,
    bringer: &mut Bringer,
) -> Result<(), Ended> {
    let socket = server.connect().map_err(|error| Ended::Source { again: true, why: reason(&error) })?;
    let mut reader = Reader::start(Some(OwnedFd::from(socket)))?;
    let teller = reader.teller();
    for root in roots {
        teller.tell(&ToReader::Root(root.clone()))?;
    }
    teller.tell(&ToReader::Job(Job::Imap(Box::new(ImapJob {
        host: server.host.clone(),
        user: options.user.clone(),
        password: password.clone(),
        tls: match options.tls {
            Tls::Implicit => ImapTls::Implicit,
            Tls::Starttls => ImapTls::Starttls,
            Tls::None => ImapTls::None,
        },
        insecure: options.insecure,
        mailboxes: options.only.clone(),
    }))))?;
    bringer.connected();
    bringer.read(&mut reader, mailboxes)
}

#[derive(Debug)]
struct Server {
    host: String,
    port: u16,
}

impl Server {
    /// `HOST`, `HOST:PORT`, `[ADDRESS]:PORT`.
    fn parse(options: &Imap) -> Result<Self, Failure> {
        let text = &options.server;
        let standard = if options.tls == Tls::Implicit { 993 } else { 143 };
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => match text.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') => (host, Some(port)),
                Some(_) | None => (text.as_str(), None),
            },
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| Failure::Usage(format!("{text}: {port} is no port")))?,
            None => standard,
        };
        if host.is_empty() {
            return Err(Failure::Usage(format!("{text}: write the server as HOST or HOST:PORT")));
        }
        Ok(Self { host: host.to_owned(), port })
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// The certificates to trust.
fn trusted(ca: Option<&Path>) -> Result<Vec<Vec<u8>>, Failure> {
    let path = match ca {
        Some(path) => path.to_owned(),
        None => TRUSTED.iter().map(PathBuf::from).find(|path| path.is_file()).ok_or_else(|| {
            Failure::Usage(
                "no certificates to trust were found; install ca-certificates or use --ca".to_owned(),
            )
        })?,
    };
    let failed = |error: io::Error| Failure::Usage(format!("{}: {}", path.display(), reason(&error)));
    if fs::metadata(&path).map_err(failed)?.len() > MAX_CERTIFICATES {
        return Err(Failure::Usage(format!("{}: it is too large for certificates", path.display())));
    }
    let roots = certificates(&fs::read(&path).map_err(failed)?);
    if roots.is_empty() {
        return Err(Failure::Usage(format!("{}: there is no certificate in it", path.display())));
    }
    Ok(roots)
}

/// Where the server's mailboxes go.
struct Mailboxes<'a> {
    server: &'a Server,
    user: &'a str,
    common: &'a Common,
    /// What began on an earlier connection is not forgotten again.
    begun: Vec<String>,
    /// What the command line says of all.
    template: ImportTarget,
}

impl Source for Mailboxes<'_> {
    fn target(&mut self, mailbox: &SourceMailbox) -> Option<ImportTarget> {
        let template = self.template.clone();
        let validity = mailbox.uids.map_or(0, |(validity, _)| validity);
        // By whatever port: the same mail is behind all.
        let host = self.server.host.to_ascii_lowercase();
        let source = format!("imap://{}@{host}/{};{validity}", self.user, mailbox.source);
        let name = match &self.common.mailbox {
            Some(below) => name::from_levels(below.split('/').chain(mailbox.name.split('/'))),
            None => mailbox.name.clone(),
        };
        let again = template.again && !self.begun.contains(&source);
        self.begun.push(source.clone());
        Some(ImportTarget { mailbox: name, source: name::source(&source), again, ..template })
    }

    fn want(&mut self, _: Vec<u32>) -> Result<(), Failure> {
        Err(super::child::broken())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port() {
        let parse = |server: &str, tls| {
            let options = Imap { server: server.to_owned(), tls, ..Imap::default() };
            Server::parse(&options).map(|server| (server.host, server.port))
        };
        for (server, tls, host, port) in [
            ("imap.example.org", Tls::Implicit, "imap.example.org", 993),
            ("imap.example.org", Tls::Starttls, "imap.example.org", 143),
            ("imap.example.org:1993", Tls::Implicit, "imap.example.org", 1993),
            ("[::1]:1143", Tls::None, "::1", 1143),
            ("[::1]", Tls::Implicit, "::1", 993),
            ("::1", Tls::Implicit, "::1", 993),
        ] {
            assert_eq!(parse(server, tls).unwrap(), (host.to_owned(), port), "{server}");
        }
        for server in ["a:b", "a:99999", "", ":993"] {
            assert_eq!(parse(server, Tls::Implicit).unwrap_err().exit_code(), 2, "{server}");
        }
    }
}
