//! Logins by a client certificate's key, with other people's clients and keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use moxd_tests::{ACCOUNT, ADDRESS, Instance, client, process::eventually};
use serde_json::{Value, json};

/// A directory of certificates and keys that openssl made.
struct Keys<'a>(&'a Path);

impl Keys<'_> {
    /// `NAME.pem` and `NAME.key`, self-signed, of no use to whoever looks at names.
    fn make(&self, name: &str, algorithm: &[&str]) {
        let mut openssl = Command::new("openssl");
        openssl
            .args(["req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=nobody", "-newkey"])
            .args(algorithm);
        openssl.arg("-keyout").arg(self.path(name, "key")).arg("-out").arg(self.path(name, "pem"));
        client::run(&mut openssl);
    }

    fn path(&self, name: &str, kind: &str) -> PathBuf {
        self.0.join(format!("{name}.{kind}"))
    }

    /// As openssl and sha256sum have it.
    fn fingerprint(&self, name: &str) -> String {
        let script = "openssl x509 -in \"$1\" -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum";
        let text = client::run(Command::new("sh").args(["-c", script, "sh"]).arg(self.path(name, "pem")));
        text.split_whitespace().next().unwrap().to_owned()
    }
}

const P256: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const P384: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"];

fn json(instance: &Instance, arguments: &[&str]) -> Value {
    let output = instance.moxctl(&[&["--json"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The server's certificate.
fn trusted(instance: &Instance) -> PathBuf {
    let path = instance.home().path().join("localhost.pem");
    client::save_certificate(instance.imaps(), &path);
    path
}

/// imaplib and ssl of Python. `way`: `tls`, `starttls` or `old`. Prints `in`, or what the server answered.
const PYTHON: &str = r#"
import imaplib, ssl, sys
way, tls_port, port, cafile, name, key, authzid = sys.argv[1:]
context = ssl.create_default_context(cafile=cafile)
if name:
    context.load_cert_chain(name, key)
if way == "old":
    context.maximum_version = ssl.TLSVersion.TLSv1_2
if way == "starttls":
    imap = imaplib.IMAP4("localhost", int(port))
    assert "AUTH=EXTERNAL" not in imap.capability()[1][0].decode()
    imap.starttls(context)
else:
    imap = imaplib.IMAP4_SSL("localhost", int(tls_port), ssl_context=context)
mechanisms = [word for word in imap.capability()[1][0].decode().split() if word.startswith("AUTH=")]
assert ("AUTH=EXTERNAL" in mechanisms) == (bool(name) and way != "old"), mechanisms
if "AUTH=EXTERNAL" in mechanisms:
    assert mechanisms[:2] == ["AUTH=EXTERNAL", "AUTH=SCRAM-SHA-256-PLUS"], mechanisms
try:
    assert imap.authenticate("EXTERNAL", lambda _: authzid.encode())[0] == "OK"
    assert imap.select("INBOX")[0] == "OK"
    imap.logout()
    print("in")
except imaplib.IMAP4.error as error:
    print(error)
"#;

fn python(
    instance: &Instance,
    trusted: &Path,
    keys: &Keys<'_>,
    way: &str,
    name: &str,
    authzid: &str,
) -> String {
    let (pem, key) = match name {
        "" => (PathBuf::new(), PathBuf::new()),
        name => (keys.path(name, "pem"), keys.path(name, "key")),
    };
    let mut python = client::python(PYTHON);
    python.args([way, &instance.imaps().port().to_string(), &instance.imap().port().to_string()]);
    python.arg(trusted).arg(pem).arg(key).arg(authzid);
    client::run(&mut python).trim().to_owned()
}

/// The exit code: 0, or 67 (CURLE_LOGIN_DENIED) and others.
fn curl(instance: &Instance, trusted: &Path, keys: &Keys<'_>, name: &str, more: &[&str]) -> Option<i32> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "20", "--request", "NOOP"]);
    curl.args(["--login-options", "AUTH=EXTERNAL", "--user", &format!("{ADDRESS}:")]).args(more);
    curl.arg("--cacert").arg(trusted);
    curl.arg("--cert").arg(keys.path(name, "pem")).arg("--key").arg(keys.path(name, "key"));
    client::output(curl.arg(format!("imaps://localhost:{}/", instance.imaps().port()))).status.code()
}

/// GNU SASL's own IMAP client, over STARTTLS, with GnuTLS.
fn gsasl(instance: &Instance, trusted: &Path, keys: &Keys<'_>, name: &str) -> bool {
    let mut gsasl = Command::new("gsasl");
    gsasl.args(["--imap", "--starttls", "--quiet", "--mechanism", "EXTERNAL", "--authorization-id", ""]);
    gsasl.args(["--hostname", "localhost", "--connect", &format!("localhost:{}", instance.imap().port())]);
    gsasl.arg(format!("--x509-ca-file={}", trusted.display()));
    gsasl.arg(format!("--x509-cert-file={}", keys.path(name, "pem").display()));
    gsasl.arg(format!("--x509-key-file={}", keys.path(name, "key").display()));
    let output = client::output(&mut gsasl);
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains(" OK [CAPABILITY ")
}

/// Attack class 42: independent clients with keys of every kind; the certificates are of no authority's.
#[test]
fn python_curl_and_gsasl_log_in_with_keys_that_openssl_made() {
    let instance = Instance::start();
    let trusted = trusted(&instance);
    let keys = Keys(instance.home().path());
    for (name, algorithm) in [
        ("p256", P256),
        ("p384", P384),
        ("rsa", &["rsa:2048"]),
        ("rsa4096", &["rsa:4096"]),
        ("ed25519", &["ed25519"]),
    ] {
        keys.make(name, algorithm);
        assert!(
            python(&instance, &trusted, &keys, "tls", name, "").contains("AUTHENTICATIONFAILED"),
            "{name}"
        );
        let pem = keys.path(name, "pem");
        let added =
            json(&instance, &["loginkey", "add", ACCOUNT, name, "--certificate", pem.to_str().unwrap()]);
        assert_eq!(added["fingerprint"], keys.fingerprint(name), "{name}");
        for way in ["tls", "starttls"] {
            for authzid in ["", ACCOUNT, ADDRESS] {
                assert_eq!(
                    python(&instance, &trusted, &keys, way, name, authzid),
                    "in",
                    "{name} {way} {authzid}"
                );
            }
        }
        assert_eq!(curl(&instance, &trusted, &keys, name, &[]), Some(0), "{name}");
        assert!(gsasl(&instance, &trusted, &keys, name), "{name}");
    }
    let refused = python(&instance, &trusted, &keys, "tls", "p256", "somebody@localhost");
    assert!(refused.contains("AUTHORIZATIONFAILED"), "{refused}");
    let attempts = json(&instance, &["login", "list", ACCOUNT]);
    let ok = |name: &str| {
        let with = json!({ "mechanism": "EXTERNAL", "login_key": name, "result": "ok" });
        let has = |row: &Value| with.as_object().unwrap().iter().all(|(field, value)| row[field] == *value);
        attempts.as_array().unwrap().iter().any(has)
    };
    assert!(["p256", "p384", "rsa", "rsa4096", "ed25519"].into_iter().all(ok), "{attempts}");
    instance.finish();
}

/// Attack classes 16, 17 and 42: whatever is not right, the answer is the same.
#[test]
fn keys_that_are_not_good_for_it_are_refused_alike_and_a_removed_one_ends_its_sessions() {
    let instance = Instance::start();
    let trusted = trusted(&instance);
    let keys = Keys(instance.home().path());
    instance.add_account("eve", "moxmoxmox");
    for name in ["good", "unknown", "late", "sender", "removed", "eve"] {
        keys.make(name, P256);
    }
    let add = |account: &str, name: &str, more: &[&str]| {
        let fingerprint = keys.fingerprint(name);
        let add = ["loginkey", "add", account, name, "--fingerprint", &fingerprint];
        assert!(instance.moxctl(&[&add[..], more].concat()).status.success(), "{name}");
    };
    let soon = Command::new("date").args(["-u", "-d", "+2 seconds", "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    let soon = String::from_utf8(soon.stdout).unwrap();
    add(ACCOUNT, "late", &["--expires", soon.trim()]);
    add(ACCOUNT, "good", &["--expires", "90d"]);
    add(ACCOUNT, "sender", &["--protocols", "submission"]);
    add(ACCOUNT, "removed", &["--protocols", "imap"]);
    add("eve", "eve", &[]);
    assert_eq!(python(&instance, &trusted, &keys, "tls", "removed", ""), "in");
    assert_eq!(python(&instance, &trusted, &keys, "tls", "eve", ""), "in");
    assert!(instance.moxctl(&["loginkey", "rm", ACCOUNT, "removed"]).status.success());
    assert!(instance.moxctl(&["account", "disable", "eve"]).status.success());
    let refused = |name: &str| python(&instance, &trusted, &keys, "tls", name, "");
    assert!(eventually(Duration::from_secs(10), || refused("late") != "in"), "it does not expire");
    let said = refused("unknown");
    assert!(said.contains("AUTHENTICATIONFAILED"), "{said}");
    for name in ["late", "sender", "removed", "eve"] {
        assert_eq!(refused(name), said, "{name}");
        assert_ne!(curl(&instance, &trusted, &keys, name, &[]), Some(0), "{name}");
    }
    // Without a certificate, or in TLS 1.2, there is no such mechanism.
    for (way, name) in [("tls", ""), ("old", ""), ("old", "good")] {
        let said = python(&instance, &trusted, &keys, way, name, "");
        assert!(said.contains("no such mechanism"), "{way} {name}: {said}");
    }
    assert_ne!(curl(&instance, &trusted, &keys, "good", &["--tls-max", "1.2"]), Some(0));

    // One that is there, until its key is taken away.
    let mut session = client::python(SESSION);
    session.arg(instance.imaps().port().to_string()).arg(&trusted);
    session.arg(keys.path("good", "pem")).arg(keys.path("good", "key"));
    session.arg(moxd_tests::instance::programs().join("moxctl")).arg(instance.home().data()).arg(ACCOUNT);
    assert_eq!(client::run(&mut session).trim(), "ended");
    assert_eq!(refused("good"), said);
    instance.finish();
}

/// A session by `good`, which is then removed: its end is seen.
const SESSION: &str = r#"
import imaplib, ssl, subprocess, sys
port, cafile, pem, key, moxctl, data, account = sys.argv[1:]
context = ssl.create_default_context(cafile=cafile)
context.load_cert_chain(pem, key)
imap = imaplib.IMAP4_SSL("localhost", int(port), ssl_context=context)
assert imap.authenticate("EXTERNAL", lambda _: b"")[0] == "OK"
assert imap.noop()[0] == "OK"
subprocess.run([moxctl, "--dir", data, "loginkey", "rm", account, "good"], check=True, stdout=subprocess.DEVNULL)
imap.socket().settimeout(20)
while imap.readline():
    pass
print("ended")
"#;

#[test]
fn moxctl_says_in_one_line_why_a_login_key_is_not_taken() {
    let instance = Instance::start();
    let keys = Keys(instance.home().path());
    keys.make("weak", &["rsa:1024"]);
    keys.make("p521", &["ec", "-pkeyopt", "ec_paramgen_curve:P-521"]);
    keys.make("good", P384);
    instance.add_account("eve", "moxmoxmox");
    let run = |account: &str, name: &str, source: &[&str]| {
        let output = instance.moxctl(&[&["loginkey", "add", account, name][..], source].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() || said.lines().count() == 1, "{said}");
        (output.status.code().unwrap(), said)
    };
    let path = |name: &str, kind: &str| keys.path(name, kind).to_str().unwrap().to_owned();
    for (file, why) in [
        (path("weak", "pem"), "an RSA key of 1024 bits; take one of 2048 to 4096 bits"),
        (path("p521", "pem"), "a key of a kind that is not taken"),
        (path("good", "key"), "no certificate and no public key in PEM"),
        (path("absent", "pem"), "No such file or directory"),
    ] {
        let (code, said) = run(ACCOUNT, "laptop", &["--certificate", &file]);
        assert!(code == 2 && said.contains(why) && said.contains(&file), "{said}");
    }
    assert_eq!(run(ACCOUNT, "laptop", &["--fingerprint", "abcd"]).0, 2);
    assert_eq!(run(ACCOUNT, "laptop", &[]).0, 2);
    assert_eq!(run(ACCOUNT, "laptop", &["--certificate", &path("good", "pem")]).0, 0);
    let (code, said) = run("eve", "stolen", &["--fingerprint", &keys.fingerprint("good")]);
    assert!(code == 1 && said.contains("this key is laptop of the account"), "{said}");
    let listed = json(&instance, &["loginkey", "list", ACCOUNT]);
    assert_eq!(listed[0]["name"], "laptop");
    assert_eq!(listed[0]["fingerprint"], keys.fingerprint("good"));
    assert_eq!(listed[0]["protocols"], json!(["imap", "submission"]));

    // It outlives a restart.
    let instance = Instance::start_in(instance.finish());
    assert_eq!(json(&instance, &["loginkey", "list", ACCOUNT]), listed);
    instance.finish();
}
