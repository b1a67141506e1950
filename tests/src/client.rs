//! Other people's programs.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::{ADDRESS, Instance};

/// Runs a command that has to succeed: what it printed.
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\nstdout: {}\nstderr: {}",
        output.status,
        end_of(&output.stdout),
        end_of(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command.
pub fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn end_of(octets: &[u8]) -> String {
    String::from_utf8_lossy(&octets[octets.len().saturating_sub(4000)..]).into_owned()
}

/// A Python program with the packages that the tests install.
#[must_use]
pub fn python(program: &str) -> Command {
    let packages = env::var_os("PYTHONPATH").unwrap_or_else(|| root().join("target/verify/python").into());
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", packages).args(["-c", program]);
    python
}

/// A Node program (ECMAScript module) with the packages of `tests/node`.
#[must_use]
pub fn node(program: &str) -> Command {
    let mut node = Command::new("node");
    node.current_dir(root().join("tests/node")).args(["--input-type=module", "-e", program]);
    node
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Delivers these octets as they are with swaks: dots are doubled here, because swaks would change what it finds in the message.
pub fn swaks(instance: &Instance, message: &[u8], tls: bool) {
    let mut wire = Vec::with_capacity(message.len() + 1024);
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    // swaks ends the data with a CRLF of its own.
    wire.push(b'.');
    let file = instance.home().path().join("swaks.eml");
    fs::write(&file, wire).expect("the message is saved");
    let mut swaks = Command::new("swaks");
    swaks.arg("--server").arg(instance.smtp().to_string()).args([
        "--from",
        "sender@example.org",
        "--to",
        ADDRESS,
    ]);
    swaks
        .args(["--no-data-fixup", "--suppress-data", "--timeout", "120"])
        .arg("--data")
        .arg(format!("@{}", file.display()));
    if tls {
        swaks.arg("--tls");
    }
    run(&mut swaks);
}

/// The certificate of an instance's IMAP, saved beside it.
#[must_use]
pub fn certificate(instance: &Instance) -> PathBuf {
    let path = instance.home().path().join("localhost.pem");
    save_certificate(instance.imaps(), &path);
    path
}

/// Saves the certificate of a TLS server.
pub fn save_certificate(server: SocketAddr, to: &Path) {
    save_certificate_of(server, &[], to);
}

/// The same of an SMTP server that has STARTTLS.
pub fn save_certificate_by_starttls(server: SocketAddr, to: &Path) {
    save_certificate_of(server, &["-starttls", "smtp"], to);
}

fn save_certificate_of(server: SocketAddr, how: &[&str], to: &Path) {
    let mut openssl = Command::new("openssl");
    let text = run(openssl.args(["s_client", "-connect", &server.to_string()]).args(how));
    let from = text.find("-----BEGIN CERTIFICATE-----").expect("a certificate");
    let end = "-----END CERTIFICATE-----\n";
    let until = text.find(end).expect("its end") + end.len();
    fs::write(to, &text[from..until]).expect("the certificate is saved");
}
