//! Logins by other people's clients, by every mechanism, and what ends a session.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use moxd_tests::{ACCOUNT, ADDRESS, Imap, Instance, PASSWORD, client, process::eventually};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// GNU SASL's own IMAP client, over STARTTLS.
fn gsasl(instance: &Instance, certificate: &Path, mechanism: &str, password: &str, priority: &str) -> Output {
    // Without -PLUS it would say that it could bind the channel, and is then right to be refused.
    let binding = if mechanism == "SCRAM-SHA-256" { &["--no-cb"][..] } else { &[] };
    let mut gsasl = Command::new("gsasl");
    gsasl
        .args(["--imap", "--starttls", "--quiet", "--mechanism", mechanism])
        .args(["--authentication-id", ADDRESS, "--authorization-id", "", "--password", password])
        .args(["--priority", priority, "--hostname", "localhost"])
        .args(binding)
        .arg("--connect")
        .arg(format!("localhost:{}", instance.imap().port()))
        .arg(format!("--x509-ca-file={}", certificate.display()));
    client::output(&mut gsasl)
}

/// It has logged in, and the server's proof was right if the mechanism has one.
fn is_in(output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stdout);
    output.status.success() && said.contains(" OK [CAPABILITY ")
}

/// Attack class 17: GNU SASL asks for the channel's binding wherever it can, and takes no answer but the right one.
#[test]
fn gsasl_logs_in_by_every_mechanism_and_with_no_other_password() {
    let instance = Instance::start();
    let certificate = client::certificate(&instance);
    for mechanism in ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"] {
        let output = gsasl(&instance, &certificate, mechanism, PASSWORD, "NORMAL");
        assert!(is_in(&output), "{mechanism}: {output:?}");
        let output = gsasl(&instance, &certificate, mechanism, "moxmoxmo", "NORMAL");
        assert!(!is_in(&output), "{mechanism} with a wrong password: {output:?}");
    }
    // With TLS 1.2 there is nothing to bind to.
    let output = gsasl(&instance, &certificate, "SCRAM-SHA-256-PLUS", PASSWORD, "NORMAL:-VERS-TLS1.3");
    assert!(!is_in(&output), "{output:?}");
    instance.finish();
}

#[test]
fn curl_logs_in_by_plain_and_login() {
    let instance = Instance::start();
    let certificate = client::certificate(&instance);
    let curl = |mechanism: &str, password: &str| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--request", "NOOP"])
            .arg("--cacert")
            .arg(&certificate)
            .args([
                "--login-options",
                &format!("AUTH={mechanism}"),
                "--user",
                &format!("{ADDRESS}:{password}"),
            ])
            .arg(format!("imaps://localhost:{}/", instance.imaps().port()));
        client::output(&mut curl)
    };
    for mechanism in ["PLAIN", "LOGIN"] {
        let output = curl(mechanism, PASSWORD);
        assert!(output.status.success(), "{mechanism}: {output:?}");
        // CURLE_LOGIN_DENIED.
        assert_eq!(curl(mechanism, "moxmoxmo").status.code(), Some(67), "{mechanism}");
    }
    instance.finish();
}

/// imaplib and ssl of Python, with the exchange by scramp.
const PYTHON: &str = r#"
import base64, imaplib, ssl, sys
from scramp import ScramClient
port, user, password, cafile = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]

def connect(version=None):
    context = ssl.create_default_context(cafile=cafile)
    if version:
        context.maximum_version = version
    return imaplib.IMAP4_SSL("localhost", port, ssl_context=context)

def words(imap):
    return imap.capability()[1][0].decode().split()

def refused(work, code):
    try:
        work()
    except imaplib.IMAP4.error as error:
        assert code in str(error), error
        return
    raise Exception("was not refused")

# What is announced where.
mechanisms = ["AUTH=SCRAM-SHA-256", "AUTH=PLAIN", "AUTH=LOGIN"]
imap = connect()
assert [w for w in words(imap) if w.startswith("AUTH=")] == ["AUTH=SCRAM-SHA-256-PLUS"] + mechanisms, words(imap)
old = connect(ssl.TLSVersion.TLSv1_2)
assert [w for w in words(old) if w.startswith("AUTH=")] == mechanisms, words(old)

# PLAIN by imaplib alone.
assert imap.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())[0] == "OK"
imap.logout()
refused(lambda: connect().authenticate("PLAIN", lambda _: f"\0{user}\0moxmoxmo".encode()), "AUTHENTICATIONFAILED")

# SCRAM by scramp, which checks the server's signature.
def scram(imap, password):
    client = ScramClient(["SCRAM-SHA-256"], user, password)
    def step(message):
        if client.stage is None:
            return client.get_client_first().encode()
        if client.stage.name == "get_client_first":
            client.set_server_first(message.decode())
            return client.get_client_final().encode()
        client.set_server_final(message.decode())
        return b""
    return imap.authenticate("SCRAM-SHA-256", step), client.stage.name

for imap in [old, connect()]:
    (ok, _), stage = scram(imap, password)
    assert ok == "OK" and stage == "set_server_final", (ok, stage)
    assert imap.select("INBOX")[0] == "OK"
    imap.logout()
refused(lambda: scram(connect(), "moxmoxmo"), "AUTHENTICATIONFAILED")

# A client that could bind the channel and was told that it cannot: somebody took the offer away.
first = f"n={user},r=abcdefgh".encode()
refused(lambda: connect().authenticate("SCRAM-SHA-256", lambda _: b"y,," + first), "AUTHENTICATIONFAILED")
steps = [b"y,," + first, None]
refused(lambda: connect(ssl.TLSVersion.TLSv1_2).authenticate("SCRAM-SHA-256", lambda _: steps.pop(0)), "cancelled")

# Not this channel's binding, and none at all.
def foreign(message):
    if not message:
        return b"p=tls-exporter,," + first
    nonce = message.decode().split(",")[0]
    binding = base64.b64encode(b"p=tls-exporter,," + bytes(32)).decode()
    return f"c={binding},{nonce},p={base64.b64encode(bytes(32)).decode()}".encode()
refused(lambda: connect().authenticate("SCRAM-SHA-256-PLUS", foreign), "AUTHENTICATIONFAILED")
refused(lambda: connect().authenticate("SCRAM-SHA-256-PLUS", lambda _: b"n,," + first), "AUTHENTICATIONFAILED")
for left_out in ["CRAM-MD5", "SCRAM-SHA-1", "NTLM", "EXTERNAL"]:
    refused(lambda: connect().authenticate(left_out, lambda _: b""), "no such mechanism")

# Nobody is told apart from somebody.
def salt(name):
    got = []
    def step(message):
        if not message:
            return f"n,,n={name},r=abcdefgh".encode()
        got.append(message.decode().split(",")[1:])
        return None
    refused(lambda: connect().authenticate("SCRAM-SHA-256", step), "cancelled")
    return got[0]
assert salt("nobody@localhost") == salt("nobody@localhost") != salt("nobodyelse@localhost")
assert salt("nobody@localhost")[1] == salt(user)[1] and len(salt("nobody")[0]) == len(salt(user)[0])
print("all is well")
"#;

/// Attack classes 16 and 17.
#[test]
fn python_logs_in_by_plain_and_scram_and_is_refused_whatever_is_not_right() {
    let instance = Instance::start();
    let certificate = client::certificate(&instance);
    let mut python = client::python(PYTHON);
    python.arg(instance.imaps().port().to_string()).args([ADDRESS, PASSWORD]).arg(certificate);
    assert_eq!(client::run(&mut python).trim(), "all is well");
    instance.finish();
}

/// imapflow, over TLS and STARTTLS with the certificate verified.
const IMAPFLOW: &str = r#"
import { ImapFlow } from 'imapflow';
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
const ca = readFileSync(process.env.CERTIFICATE);
const { USER: user, PASSWORD: right } = process.env;
const client = (secure, loginMethod, pass) => new ImapFlow({ host: 'localhost',
    port: Number(secure ? process.env.IMAPS : process.env.IMAP), secure, doSTARTTLS: !secure, logger: false, tls: { ca },
    auth: { user, pass, loginMethod } });
for (const secure of [true, false]) {
    for (const method of ['AUTH=PLAIN', 'AUTH=LOGIN', 'LOGIN']) {
        const imap = client(secure, method, right);
        await imap.connect();
        assert(imap.secureConnection, method);
        assert.strictEqual(await imap.mailboxOpen('INBOX').then(box => box.path), 'INBOX');
        await imap.logout();
        const wrong = client(secure, method, 'moxmoxmo');
        const refused = await wrong.connect().then(() => null, error => error);
        assert(refused && refused.authenticationFailed, `${method}: ${refused}`);
        wrong.close();
    }
}
console.log('all is well');
"#;

#[test]
fn imapflow_logs_in_by_plain_login_and_the_login_command_and_with_no_other_password() {
    let instance = Instance::start();
    let mut node = client::node(IMAPFLOW);
    node.env("CERTIFICATE", client::certificate(&instance)).env("USER", ADDRESS).env("PASSWORD", PASSWORD);
    node.env("IMAPS", instance.imaps().port().to_string()).env("IMAP", instance.imap().port().to_string());
    assert_eq!(client::run(&mut node).trim(), "all is well");
    let attempts = instance.json(&["login", "list", ACCOUNT]);
    for mechanism in ["PLAIN", "LOGIN", "LOGIN command"] {
        for result in ["ok", "denied"] {
            let is_it = |row: &serde_json::Value| row["mechanism"] == mechanism && row["result"] == result;
            let row = attempts.as_array().unwrap().iter().find(|row| is_it(row));
            assert_eq!(row.unwrap()["count"], 2, "{mechanism} {result}: {attempts}");
        }
    }
    instance.finish();
}

/// Attack class 31: whatever opened a session, a new password, a disabled or a removed account ends it, and so does one
/// that authd learns of only after it was killed and started again.
#[test]
fn a_changed_password_ends_sessions_from_before_a_restart_of_authd() {
    let instance = Instance::start();
    let mut before = Imap::login(instance.imap()).unwrap();
    let old = instance.pid("mox-authd").unwrap();
    kill(Pid::from_raw(old), Signal::SIGKILL).unwrap();
    assert!(eventually(Duration::from_secs(20), || {
        instance.pid("mox-authd").is_some_and(|pid| pid != old) && instance.status()["ready"] == true
    }));
    before.command("NOOP").unwrap();
    let mut after = None;
    assert!(eventually(Duration::from_secs(20), || {
        after = Imap::login(instance.imap()).ok();
        after.is_some()
    }));
    let mut after = after.unwrap();
    after.command("SELECT INBOX").unwrap();

    instance.set_password(ACCOUNT, "otherother");
    assert!(before.response().is_err(), "the session from before the restart is still there");
    assert!(after.response().is_err(), "the session from after it is still there");
    assert!(Imap::login(instance.imap()).is_err(), "with the old password");
    let mut imap = Imap::open(instance.imap()).unwrap();
    imap.command(&format!("LOGIN {ACCOUNT} otherother")).unwrap();

    assert!(instance.moxctl(&["account", "disable", ACCOUNT]).status.success());
    assert!(imap.response().is_err(), "a disabled account has a session");
    let login = Imap::open(instance.imap()).unwrap().command(&format!("LOGIN {ACCOUNT} otherother"));
    assert!(login.unwrap_err().to_string().contains("AUTHENTICATIONFAILED"));
    assert!(instance.moxctl(&["account", "enable", ACCOUNT]).status.success());
    let mut imap = Imap::open(instance.imap()).unwrap();
    imap.command(&format!("LOGIN {ACCOUNT} otherother")).unwrap();
    let log = fs::read_to_string(instance.home().log()).unwrap();
    assert!(!log.contains("otherother"), "a password is in the log");
    instance.finish();
}

fn login(instance: &Instance, password: &str) -> std::io::Result<Imap> {
    let mut imap = Imap::open(instance.imap())?;
    imap.command(&format!("LOGIN {ADDRESS} {password}"))?;
    Ok(imap)
}

#[test]
fn an_app_password_opens_what_it_is_for_until_it_is_removed_and_every_attempt_is_listed() {
    let instance = Instance::start();
    let certificate = client::certificate(&instance);
    let made = instance.json(&["apppassword", "add", ACCOUNT, "phone", "--for", "imap", "--expires", "90d"]);
    let phone = made["password"].as_str().unwrap();
    let output = instance.moxctl(&["apppassword", "add", ACCOUNT, "printer", "--for", "submission"]);
    let printer = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert_eq!((phone.len(), printer.len()), (24, 24));

    // Both by PLAIN and by SCRAM, which shows one salt for all of an account's passwords.
    let mut session = login(&instance, phone).unwrap();
    for mechanism in ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"] {
        for (password, right) in [(phone, true), (PASSWORD, true), (&printer, false), ("moxmoxmo", false)] {
            let output = gsasl(&instance, &certificate, mechanism, password, "NORMAL");
            assert_eq!(is_in(&output), right, "{mechanism} {password}: {output:?}");
        }
    }
    assert!(login(&instance, &printer).is_err());
    let again = instance.moxctl(&["apppassword", "add", ACCOUNT, "phone"]);
    assert_eq!(again.status.code(), Some(1));
    let listed = instance.json(&["apppassword", "list", ACCOUNT]);
    let row = |name: &str| listed.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
    assert!(row("phone")["last_use"].is_string() && row("phone")["expires"].is_string(), "{listed}");
    assert_eq!(row("printer")["last_use"], serde_json::Value::Null, "{listed}");
    assert_eq!(row("phone")["protocols"], serde_json::json!(["imap"]));
    let shown = instance.json(&["account", "show", ACCOUNT]);
    assert_eq!(shown["app_passwords"], serde_json::json!(["phone", "printer"]));

    assert!(login(&instance, "nobodys guess").is_err());
    let mut stranger = Imap::open(instance.imap()).unwrap();
    stranger.command("LOGIN nobody@localhost guess").unwrap_err();
    let attempts = instance.json(&["login", "list"]);
    let has = |account: Option<&str>, mechanism: &str, app: Option<&str>, result: &str| {
        attempts.as_array().unwrap().iter().any(|row| {
            row["account"].as_str() == account
                && row["mechanism"] == mechanism
                && row["app_password"].as_str() == app
                && row["result"] == result
        })
    };
    for mechanism in ["LOGIN command", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"] {
        assert!(has(Some(ACCOUNT), mechanism, Some("phone"), "ok"), "{mechanism}: {attempts}");
        assert!(has(Some(ACCOUNT), mechanism, None, "denied"), "{mechanism}: {attempts}");
    }
    assert!(has(None, "LOGIN command", None, "denied"), "{attempts}");
    let of_mox = instance.json(&["login", "list", ACCOUNT]);
    assert!(of_mox.as_array().unwrap().iter().all(|row| row["account"] == ACCOUNT), "{of_mox}");

    assert!(instance.moxctl(&["apppassword", "rm", ACCOUNT, "phone"]).status.success());
    assert!(session.response().is_err(), "its session goes on");
    assert!(login(&instance, phone).is_err());
    assert!(login(&instance, PASSWORD).is_ok());

    // What was made and what was tried outlives a restart.
    let instance = Instance::start_in(instance.finish());
    assert_eq!(instance.json(&["apppassword", "list", ACCOUNT]).as_array().unwrap().len(), 1);
    let after = instance.json(&["login", "list", "--limit", "1000"]);
    assert!(after.as_array().unwrap().len() >= attempts.as_array().unwrap().len(), "{after}");
    let log = fs::read_to_string(instance.home().log()).unwrap();
    assert!(!log.contains(phone) && !log.contains(&printer), "an app password is in the log");
    instance.finish();
}
