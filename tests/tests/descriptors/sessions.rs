//! Sessions of every kind: whole ones, and ones that break off where it hurts most.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use moxd_tests::{ADDRESS, Imap, Instance, Smtp, mail::message, smtp::stuffed};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

/// Where they go, and whom they trust.
pub(crate) struct Doors {
    smtp: SocketAddr,
    submission: SocketAddr,
    imap: SocketAddr,
    imaps: SocketAddr,
    https: SocketAddr,
    tls: Arc<ClientConfig>,
}

/// The beginning of a TLS record that says more is to come.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

impl Doors {
    /// `certificates`: what the servers have, in PEM.
    pub(crate) fn of(instance: &Instance, certificates: &[&Path]) -> Self {
        let mut roots = RootCertStore::empty();
        for path in certificates {
            roots.add(CertificateDer::from_pem_file(path).unwrap()).unwrap();
        }
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self {
            smtp: instance.smtp(),
            submission: instance.submission(),
            imap: instance.imap(),
            imaps: instance.imaps(),
            https: instance.https(),
            tls: Arc::new(tls),
        }
    }

    /// One of a hundred kinds, by its number: of each hundred nine with a whole TLS handshake.
    pub(crate) fn session(&self, number: usize) {
        match number % 100 {
            0..25 => self.polite(),
            25..35 => {
                let size = if number.is_multiple_of(500) { 100_000 } else { 1000 };
                self.smtp().must_deliver(ADDRESS, &message(&format!("session-{number}"), size));
            }
            // Into a buffer, into a memfd, into a spool file.
            35..39 => self.breaks_off_in_data(2_000),
            39..41 => {
                let mut smtp = self.submission();
                smtp.log_in().unwrap();
                smtp.command("MAIL FROM:<mox@localhost>").unwrap();
            }
            // In the middle of an exchange.
            41 => drop(self.submission().command("AUTH SCRAM-SHA-256 biwsbj1tb3gscj1h").unwrap()),
            42..45 => self.breaks_off_in_data(200_000),
            45 => self.breaks_off_in_data(1_500_000),
            46..55 => drop(self.connect(self.smtp)),
            55..60 => self.starttls(|mut stream| {
                say(&mut stream, b"EHLO client.example\r\nQUIT\r\n");
                assert!(everything(&mut stream).contains("221 2.0.0"));
            }),
            60..67 => {
                let mut smtp = self.smtp();
                assert_eq!(smtp.command("STARTTLS").unwrap().code, 220);
                smtp.send(HALF_A_HELLO).unwrap();
            }
            67..77 => drop(Imap::open(self.imap).unwrap().command("LOGOUT")),
            77..85 => {
                let mut imap = self.login();
                imap.command("SELECT INBOX").unwrap();
                imap.command("SEARCH TEXT \"in none of them\"").unwrap();
                imap.command("LOGOUT").unwrap();
            }
            // Still in their session, half of them with a pipe for NOTIFY.
            85..87 => drop(self.login().command("EXAMINE INBOX").unwrap()),
            87..89 => {
                let mut imap = self.login();
                imap.command("EXAMINE INBOX").unwrap();
                imap.command("NOTIFY SET (SELECTED (MessageNew MessageExpunge))").unwrap();
            }
            89 => assert!(Imap::open(self.imap).unwrap().command("LOGIN mox wrong").is_err()),
            90..92 => {
                let mut stream = self.encrypt(self.connect(self.imaps));
                say(&mut stream, b"a LOGIN mox moxmoxmox\r\nb NOOP\r\nc LOGOUT\r\n");
                let text = everything(&mut stream);
                assert!(text.contains("c OK"), "{text}");
            }
            // Over TLS, and gone without a word.
            92 => drop(self.encrypt(self.connect(self.imaps))),
            93..96 => say(&mut self.connect(self.imaps), HALF_A_HELLO),
            96..98 => say(&mut self.connect(self.https), HALF_A_HELLO),
            _ => {
                let mut stream = self.encrypt(self.connect(self.https));
                say(&mut stream, b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
                assert!(everything(&mut stream).starts_with("HTTP/1.1 200"));
            }
        }
    }

    fn smtp(&self) -> Smtp {
        Smtp::connect(self.smtp).unwrap()
    }

    fn submission(&self) -> Smtp {
        Smtp::connect(self.submission).unwrap()
    }

    /// Where too many log in at once some are told to come again, and do.
    fn login(&self) -> Imap {
        for _ in 0..1000 {
            match Imap::login(self.imap) {
                Ok(imap) => return imap,
                Err(error) => assert!(error.to_string().contains("[UNAVAILABLE]"), "{error}"),
            }
        }
        panic!("no login in a thousand attempts");
    }

    fn polite(&self) {
        let mut smtp = self.smtp();
        for (command, code) in [("MAIL FROM:<a@example.org>", 250), ("RSET", 250), ("QUIT", 221)] {
            assert_eq!(smtp.command(command).unwrap().code, code);
        }
    }

    fn breaks_off_in_data(&self, size: usize) {
        let mut smtp = self.smtp();
        let recipient = format!("RCPT TO:<{ADDRESS}>");
        for (command, code) in [("MAIL FROM:<a@example.org>", 250), (&recipient, 250), ("DATA", 354)] {
            assert_eq!(smtp.command(command).unwrap().code, code);
        }
        smtp.send(&stuffed(&message("never whole", size))).unwrap();
    }

    fn connect(&self, to: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(20)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// A whole handshake.
    fn encrypt(&self, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream =
            StreamOwned::new(ClientConnection::new(Arc::clone(&self.tls), name).unwrap(), stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        stream
    }

    fn starttls(&self, then: impl FnOnce(StreamOwned<ClientConnection, TcpStream>)) {
        let mut stream = self.connect(self.smtp);
        let line = |stream: &mut TcpStream| {
            let mut octets = [0; 1024];
            let read = stream.read(&mut octets).unwrap();
            String::from_utf8_lossy(&octets[..read]).into_owned()
        };
        assert!(line(&mut stream).starts_with("220"));
        say(&mut stream, b"EHLO client.example\r\n");
        assert!(line(&mut stream).starts_with("250"));
        say(&mut stream, b"STARTTLS\r\n");
        assert!(line(&mut stream).starts_with("220"));
        then(self.encrypt(stream));
    }
}

fn say(stream: &mut impl Write, octets: &[u8]) {
    stream.write_all(octets).unwrap();
    stream.flush().unwrap();
}

/// Until the server ends it.
fn everything(stream: &mut impl Read) -> String {
    let mut text = Vec::new();
    // A server that closes without TLS's goodbye has said all the same what it said.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}
