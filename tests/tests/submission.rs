//! Sending mail after login, by other people's clients, and what is refused to them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use moxd_tests::{ACCOUNT, ADDRESS, Home, Imap, Instance, PASSWORD, Smtp, client, process::eventually};

fn certificate(instance: &Instance) -> PathBuf {
    let path = instance.home().path().join("localhost.pem");
    client::save_certificate(instance.submissions(), &path);
    path
}

/// A message with this in it.
fn letter(token: &str) -> String {
    format!("From: Mox <{ADDRESS}>\nTo: Somebody <somebody@example.org>\nSubject: {token}\n\n{token}\n")
}

/// Messages in the mailbox with this in them.
fn filed(instance: &Instance, token: &str) -> Vec<String> {
    let mail = Imap::login(instance.imap()).unwrap().messages("INBOX").unwrap();
    let text = mail.iter().map(|octets| String::from_utf8_lossy(octets).into_owned());
    text.filter(|text| text.contains(token)).collect()
}

fn with_input(command: &mut Command, input: &str) -> Output {
    use std::io::Write;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn must(output: &Output, what: &str) {
    assert!(output.status.success(), "{what}: {output:?}");
}

fn msmtp(instance: &Instance, certificate: &Path, mechanism: &str, tls: &str, password: &str) -> Command {
    let port = if tls == "on" { instance.submissions().port() } else { instance.submission().port() };
    let starttls = if tls == "on" { "off" } else { "on" };
    let mut msmtp = Command::new("msmtp");
    msmtp
        .args(["--file=/dev/null", "--host=localhost", &format!("--port={port}"), "--tls=on"])
        .args([
            &format!("--tls-starttls={starttls}"),
            &format!("--auth={mechanism}"),
            &format!("--user={ACCOUNT}"),
        ])
        .arg(format!("--passwordeval=echo {password}"))
        .arg(format!("--tls-trust-file={}", certificate.display()))
        .args([&format!("--from={ADDRESS}"), "somebody@example.org"]);
    msmtp
}

/// Attack class 17: msmtp asks by every mechanism that it has, over STARTTLS and over TLS, and with no other password.
#[test]
fn msmtp_sends_by_every_mechanism_and_with_no_other_password() {
    let instance = Instance::start();
    let certificate = certificate(&instance);
    for mechanism in ["scram-sha-256", "plain", "login"] {
        for tls in ["starttls", "on"] {
            let token = format!("by-{mechanism}-{tls}");
            let output =
                with_input(&mut msmtp(&instance, &certificate, mechanism, tls, PASSWORD), &letter(&token));
            must(&output, &token);
            let found = filed(&instance, &token);
            assert_eq!(found.len(), 1, "{token}: {found:?}");
            assert!(found[0].contains(" with ESMTPSA "), "{}", found[0]);
        }
        let wrong =
            with_input(&mut msmtp(&instance, &certificate, mechanism, "on", "moxmoxmo"), &letter("wrong"));
        assert!(!wrong.status.success(), "{mechanism}: {wrong:?}");
    }
    assert!(filed(&instance, "Subject: wrong").is_empty());
    instance.finish();
}

/// Attack class 42: by the key of a certificate that no authority knows, and by none that was not added.
#[test]
fn msmtp_sends_by_the_key_of_a_certificate() {
    let instance = Instance::start();
    let certificate = certificate(&instance);
    let (pem, key) = (instance.home().path().join("laptop.pem"), instance.home().path().join("laptop.key"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=laptop"]);
    openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    client::run(openssl.arg("-keyout").arg(&key).arg("-out").arg(&pem));
    let send = |tls: &str, token: &str| {
        let mut msmtp = msmtp(&instance, &certificate, "external", tls, PASSWORD);
        msmtp.arg(format!("--tls-cert-file={}", pem.display()));
        msmtp.arg(format!("--tls-key-file={}", key.display()));
        with_input(&mut msmtp, &letter(token))
    };
    let of_key = |what: &[&str]| {
        let output = instance.moxctl(&[&["loginkey"], what].concat());
        must(&output, &format!("{what:?}"));
    };
    assert!(!send("on", "not-added").status.success());
    of_key(&["add", ACCOUNT, "laptop", "--certificate", pem.to_str().unwrap()]);
    for tls in ["starttls", "on"] {
        let token = format!("by-key-{tls}");
        must(&send(tls, &token), &token);
        let found = filed(&instance, &token);
        assert_eq!(found.len(), 1, "{token}: {found:?}");
        assert!(found[0].contains(" with ESMTPSA "), "{}", found[0]);
    }
    of_key(&["rm", ACCOUNT, "laptop"]);
    assert!(!send("on", "removed").status.success());
    assert!(
        filed(&instance, "Subject: not-added").is_empty() && filed(&instance, "Subject: removed").is_empty()
    );
    instance.finish();
}

/// Attack class 17: GNU SASL binds the login to the channel where it can, and takes no answer but the right one.
#[test]
fn gsasl_logs_in_to_send_by_every_mechanism() {
    let instance = Instance::start();
    let certificate = certificate(&instance);
    let gsasl = |mechanism: &str, password: &str| {
        let mut gsasl = Command::new("gsasl");
        gsasl
            .args(["--smtp", "--starttls", "--quiet", "--mechanism", mechanism])
            .args(["--authentication-id", ADDRESS, "--authorization-id", "", "--password", password])
            .args([
                "--hostname",
                "localhost",
                "--connect",
                &format!("localhost:{}", instance.submission().port()),
            ])
            .arg(format!("--x509-ca-file={}", certificate.display()));
        if mechanism == "SCRAM-SHA-256" {
            // It would say that it could bind the channel, and is then right to be refused.
            gsasl.arg("--no-cb");
        }
        let output = client::output(&mut gsasl);
        (output.status.success() && String::from_utf8_lossy(&output.stdout).contains("235 2.7.0"), output)
    };
    for mechanism in ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"] {
        let (is_in, output) = gsasl(mechanism, PASSWORD);
        assert!(is_in, "{mechanism}: {output:?}");
        let (is_in, output) = gsasl(mechanism, "moxmoxmo");
        assert!(!is_in, "{mechanism} with a wrong password: {output:?}");
    }
    instance.finish();
}

#[test]
fn swaks_sends_and_is_refused_without_login_and_without_tls() {
    let instance = Instance::start();
    let swaks = |arguments: &[&str]| {
        let mut swaks = Command::new("swaks");
        swaks.args(["--server", &format!("127.0.0.1:{}", instance.submission().port())]);
        swaks.args(["--from", ADDRESS, "--to", "somebody@example.org", "--h-From", ADDRESS]).args(arguments);
        client::output(&mut swaks)
    };
    for mechanism in ["PLAIN", "LOGIN"] {
        let token = format!("swaks-{mechanism}");
        let with = ["--tls", "--auth", mechanism, "--auth-user", ACCOUNT, "--auth-password", PASSWORD];
        must(&swaks(&[&with[..], &["--body", &token]].concat()), &token);
        assert_eq!(filed(&instance, &token).len(), 1, "{token}");
    }
    let without = swaks(&["--tls"]);
    assert!(!without.status.success());
    assert!(String::from_utf8_lossy(&without.stdout).contains("530 5.7.0"), "{without:?}");
    instance.finish();
}

#[test]
fn curl_sends_over_tls() {
    let instance = Instance::start();
    let certificate = certificate(&instance);
    for (number, mechanism) in ["PLAIN", "LOGIN"].into_iter().enumerate() {
        let token = format!("curl-{mechanism}");
        let path = instance.home().path().join(format!("letter-{number}"));
        fs::write(&path, letter(&token).replace('\n', "\r\n")).unwrap();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--cacert"]).arg(&certificate);
        curl.args([
            "--login-options",
            &format!("AUTH={mechanism}"),
            "--user",
            &format!("{ACCOUNT}:{PASSWORD}"),
        ]);
        curl.args(["--mail-from", ADDRESS, "--mail-rcpt", "somebody@example.org", "--upload-file"])
            .arg(&path);
        curl.arg(format!("smtps://localhost:{}/client.example", instance.submissions().port()));
        must(&client::output(&mut curl), &token);
        assert_eq!(filed(&instance, &token).len(), 1, "{token}");
    }
    instance.finish();
}

/// Python's own library, with scramp for the exchange that it has not.
const PYTHON: &str = r#"
import base64, smtplib, ssl, sys
from scramp import ScramClient
port, ports, user, password, cafile, sender = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:7]
context = ssl.create_default_context(cafile=cafile)

def letter(token):
    return f"From: <{sender}>\r\nSubject: {token}\r\n\r\n{token}\r\n"

# Nothing to log in by before TLS, and everything under it.
with smtplib.SMTP("localhost", port) as smtp:
    smtp.ehlo()
    assert smtp.has_extn("starttls"), smtp.esmtp_features
    smtp.starttls(context=context)
    smtp.ehlo()
    words = smtp.esmtp_features["auth"].split()
    assert words[:2] == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"], words
    assert smtp.has_extn("futurerelease"), smtp.esmtp_features
    code, text = smtp.docmd("MAIL", f"FROM:<{sender}>")
    assert code == 530, (code, text)
    smtp.login(user, password)
    smtp.sendmail(sender, ["somebody@example.org"], letter("smtplib-login"))

# SCRAM-SHA-256 by hand, with what the server has to prove.
with smtplib.SMTP_SSL("localhost", ports, context=context) as smtp:
    smtp.ehlo()
    client = ScramClient(["SCRAM-SHA-256"], user, password)
    say = lambda text: base64.b64encode(text.encode()).decode()
    code, challenge = smtp.docmd("AUTH", "SCRAM-SHA-256 " + say(client.get_client_first()))
    assert code == 334, (code, challenge)
    client.set_server_first(base64.b64decode(challenge).decode())
    code, challenge = smtp.docmd(say(client.get_client_final()))
    assert code == 334, (code, challenge)
    client.set_server_final(base64.b64decode(challenge).decode())
    code, text = smtp.docmd("")
    assert code == 235, (code, text)
    smtp.sendmail(sender, ["somebody@example.org"], letter("smtplib-scram"))

# What is malformed, cancelled or out of order comes to nothing, and the connection goes on.
with smtplib.SMTP_SSL("localhost", ports, context=context) as smtp:
    smtp.ehlo()
    for command, code in [
        ("AUTH SCRAM-SHA-1", 504),
        ("AUTH CRAM-MD5", 504),
        ("AUTH PLAIN not=base64", 501),
        ("AUTH", 501),
    ]:
        assert smtp.docmd(command)[0] == code, command
    assert smtp.docmd("AUTH LOGIN")[0] == 334
    assert smtp.docmd("*")[0] == 501
    smtp.login(user, password)
    assert smtp.docmd("AUTH PLAIN")[0] == 503
    # Only as oneself: the sender, and the one author.
    assert smtp.docmd("MAIL", "FROM:<other@localhost>")[0] == 550
    for author in ["From: <other@localhost>\r\n", "", f"From: <{sender}>\r\nFrom: <other@localhost>\r\n",
                   f"From: <{sender}>, <other@localhost>\r\n"]:
        try:
            smtp.sendmail(sender, ["somebody@example.org"], author + "Subject: forged\r\n\r\nforged\r\n")
        except smtplib.SMTPDataError as error:
            assert error.smtp_code == 550, error
            continue
        raise Exception(f"was taken: {author!r}")
    # A header without them gets Message-ID and Date.
    smtp.sendmail(sender, ["somebody@example.org"], letter("completed"))
"#;

/// Attack classes 17 and 18, and the several From fields of a known forgery.
#[test]
fn python_sends_and_is_refused_what_is_not_its_own() {
    let instance = Instance::start();
    instance.add_account("other", "other's own words");
    let certificate = certificate(&instance);
    client::run(
        client::python(PYTHON)
            .args([instance.submission().port().to_string(), instance.submissions().port().to_string()])
            .args([ACCOUNT, PASSWORD])
            .arg(&certificate)
            .arg(ADDRESS),
    );
    assert!(filed(&instance, "forged").is_empty());
    let completed = filed(&instance, "Subject: completed");
    assert_eq!(completed.len(), 1);
    let header = completed[0].split("\r\n\r\n").next().unwrap();
    assert_eq!(header.matches("\r\nDate: ").count(), 1, "{header}");
    assert_eq!(header.matches("\r\nMessage-ID: <").count(), 1, "{header}");
    assert!(
        !header.contains("127.0.0.1") && !header.contains("[::1]"),
        "where people write from is theirs: {header}"
    );
    instance.finish();
}

#[test]
fn git_sends_a_patch() {
    // For git an address has a dot in its domain.
    let instance = configured("");
    let address = "mox@here.example";
    let home = instance.home().path();
    let certificate = certificate(&instance);
    let patch = home.join("0001-a-change.patch");
    let text = format!(
        "From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001\nFrom: Mox <{address}>\n\
         Date: Sat, 28 Nov 2026 12:00:00 +0000\nSubject: [PATCH] a change\n\n---\n"
    );
    fs::write(&patch, text).unwrap();
    fs::write(home.join(".gitconfig"), format!("[user]\n\tname = Mox\n\temail = {address}\n")).unwrap();
    let mut git = Command::new("/usr/lib/git-core/git-send-email");
    git.current_dir(home)
        .env("HOME", home)
        .args(["--from", address, "--to", address, "--confirm", "never"])
        .args([
            "--smtp-server",
            "localhost",
            "--smtp-encryption",
            "tls",
            "--smtp-auth",
            "PLAIN",
            "--smtp-user",
            ACCOUNT,
        ])
        .args(["--smtp-server-port", &instance.submission().port().to_string(), "--smtp-pass", PASSWORD])
        .arg(format!("--smtp-ssl-cert-path={}", certificate.display()))
        .arg(&patch);
    must(&client::output(&mut git), "git send-email");
    assert_eq!(filed(&instance, "Subject: [PATCH] a change").len(), 1);
    instance.finish();
}

/// Another configuration than localserve's: one domain of its own, and the world outside.
fn configured(extra: &str) -> Instance {
    let home = Instance::start().stop();
    add_to_configuration(&home, extra);
    let instance = Instance::start_in(home);
    for arguments in [
        &["address", "rm", "@*"][..],
        &["domain", "add", "here.example"],
        &["address", "add", "mox@here.example", ACCOUNT],
    ] {
        let output = instance.moxctl(arguments);
        must(&output, &format!("{arguments:?}"));
    }
    instance
}

fn add_to_configuration(home: &Home, text: &str) {
    let path = home.configuration();
    fs::write(&path, fs::read_to_string(&path).unwrap() + text).unwrap();
}

fn logged_in(instance: &Instance) -> Smtp {
    let mut smtp = Smtp::connect(instance.submission()).unwrap();
    smtp.log_in().unwrap();
    smtp
}

/// The code of the last reply.
fn submit(smtp: &mut Smtp, mail: &str, to: &[&str], token: &str) -> (u16, String) {
    let mut commands = vec![format!("MAIL FROM:<{ADDRESS}>{mail}")];
    commands.extend(to.iter().map(|to| format!("RCPT TO:<{to}>")));
    commands.push("DATA".to_owned());
    for command in commands {
        let reply = smtp.command(&command).unwrap();
        if reply.code >= 400 {
            smtp.command("RSET").unwrap();
            return (reply.code, reply.text);
        }
    }
    smtp.send(format!("{}.\r\n", letter(token).replace('\n', "\r\n")).as_bytes()).unwrap();
    let reply = smtp.reply().unwrap();
    (reply.code, reply.text)
}

#[test]
fn mail_for_elsewhere_is_refused_until_it_can_be_brought_there() {
    let instance = configured("");
    let mut smtp = logged_in(&instance);
    let (code, text) = submit(&mut smtp, "", &["somebody@elsewhere.example"], "far");
    assert!(code == 550 && text.starts_with("5.7.1"), "{code} {text}");
    assert_eq!(submit(&mut smtp, "", &["nobody@here.example"], "nobody").0, 550);
    assert_eq!(submit(&mut smtp, "", &["mox@here.example"], "near").0, 250);
    assert_eq!(filed(&instance, "Subject: near").len(), 1);
    instance.finish();
}

/// Limits are counted over restarts of everything, and the refusal says what to change.
#[test]
fn an_account_sends_as_much_as_the_configuration_says() {
    let instance = configured("\n[limits]\nsubmission_messages = 3\nsubmission_new_recipients = 2\n");
    for name in ["a", "b", "c"] {
        must(&instance.moxctl(&["address", "add", &format!("{name}@here.example"), ACCOUNT]), name);
    }
    let mut smtp = logged_in(&instance);
    assert_eq!(submit(&mut smtp, "", &["a@here.example", "b@here.example"], "first").0, 250);
    let (code, text) = submit(&mut smtp, "", &["c@here.example"], "new");
    assert!(code == 451 && text.contains("limits.submission_new_recipients"), "{code} {text}");
    assert_eq!(submit(&mut smtp, "", &["a@here.example"], "second").0, 250);
    let instance = Instance::start_in(instance.stop());
    let mut smtp = logged_in(&instance);
    assert_eq!(submit(&mut smtp, "", &["b@here.example"], "third").0, 250);
    let (code, text) = submit(&mut smtp, "", &["a@here.example"], "fourth");
    assert!(code == 451 && text.contains("limits.submission_messages"), "{code} {text}");
    assert_eq!(filed(&instance, "From: Mox").len(), 3);
    instance.finish();
}

/// FUTURERELEASE (RFC 4865), over a restart.
#[test]
fn a_message_that_is_held_comes_when_it_is_due_and_not_before() {
    let instance = Instance::start();
    let mut smtp = logged_in(&instance);
    assert_eq!(submit(&mut smtp, " HOLDFOR=8", &["somebody@example.org"], "later").0, 250);
    assert_eq!(submit(&mut smtp, " HOLDFOR=5184001", &["somebody@example.org"], "never").0, 501);
    assert_eq!(submit(&mut smtp, "", &["somebody@example.org"], "now").0, 250);
    let instance = Instance::start_in(instance.stop());
    assert_eq!((filed(&instance, "Subject: now").len(), filed(&instance, "Subject: later").len()), (1, 0));
    assert!(eventually(Duration::from_secs(30), || filed(&instance, "Subject: later").len() == 1));
    instance.finish();
}

/// What a session may do ends with what it was opened by.
#[test]
fn who_lost_the_password_sends_no_more() {
    let instance = Instance::start();
    let mut smtp = logged_in(&instance);
    assert_eq!(submit(&mut smtp, "", &["somebody@example.org"], "before").0, 250);
    must(&instance.moxctl(&["account", "disable", ACCOUNT]), "account disable");
    let (code, text) = submit(&mut smtp, "", &["somebody@example.org"], "after");
    assert!(code == 530 || code == 421, "{code} {text}");
    must(&instance.moxctl(&["account", "enable", ACCOUNT]), "account enable");
    assert!(filed(&instance, "Subject: after").is_empty());
    instance.finish();
}

/// localserve fails for whoever asks for it, so that programs can be tested with it.
#[test]
fn failures_are_simulated_by_localpart() {
    let instance = Instance::start();
    let mut smtp = logged_in(&instance);
    for (to, code) in [
        ("rcptto-temperror@example.org", 451),
        ("rcptto-permerror@example.org", 550),
        ("rcptto452@example.org", 452),
        ("data-temperror@example.org", 451),
        ("x550@example.org", 550),
    ] {
        assert_eq!(submit(&mut smtp, "", &[to], "simulated").0, code, "{to}");
    }
    let mut smtp = Smtp::connect(instance.smtp()).unwrap();
    assert_eq!(smtp.command("MAIL FROM:<mailfrom421@example.org>").unwrap().code, 421);
    assert!(filed(&instance, "simulated").is_empty());
    instance.finish();
}
