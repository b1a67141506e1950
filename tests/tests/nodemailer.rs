//! nodemailer sends through the submission ports, and what it sent is there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::time::Duration;

use moxd_tests::{ACCOUNT, ADDRESS, Imap, Instance, PASSWORD, client, process::eventually};

/// Over TLS and STARTTLS with the certificate verified, by PLAIN and LOGIN; nothing with another password, nothing in
/// somebody else's name.
const NODEMAILER: &str = r#"
import nodemailer from 'nodemailer';
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
const ca = readFileSync(process.env.CERTIFICATE);
const { USER: user, PASSWORD: right } = process.env;
const transport = (secure, method, pass) => nodemailer.createTransport({ host: 'localhost',
    port: Number(secure ? process.env.SUBMISSIONS : process.env.SUBMISSION), secure, requireTLS: !secure, tls: { ca },
    authMethod: method, auth: { user, pass } });
for (const secure of [true, false]) {
    for (const method of ['PLAIN', 'LOGIN']) {
        const wrong = await transport(secure, method, 'moxmoxmo').verify().then(() => null, error => error);
        assert(wrong && wrong.code === 'EAUTH' && wrong.responseCode === 535, `${method}: ${wrong}`);
        const smtp = transport(secure, method, right);
        const sent = await smtp.sendMail({ from: user, to: user, subject: `by nodemailer, ${method}, ${secure}`,
            text: '.Grüße\n..\n', attachments: [{ filename: 'a.bin', content: Buffer.from([0, 1, 2, 3, 4]) }] });
        assert.deepStrictEqual([sent.accepted, sent.rejected], [[user], []]);
        const foreign = await smtp.sendMail({ from: 'somebody@example.org', to: user, text: 'x' }).then(() => null, error => error);
        assert(foreign && foreign.responseCode >= 500, `from somebody else: ${foreign}`);
        smtp.close();
    }
}
console.log('all is well');
"#;

#[test]
fn nodemailer_sends_over_tls_and_starttls_as_who_it_logged_in_and_as_nobody_else() {
    let instance = Instance::start();
    // By which every address there is was the account's.
    assert!(instance.moxctl(&["address", "rm", "@*"]).status.success());
    let mut node = client::node(NODEMAILER);
    node.env("CERTIFICATE", client::certificate(&instance)).env("USER", ADDRESS).env("PASSWORD", PASSWORD);
    node.env("SUBMISSIONS", instance.submissions().port().to_string());
    node.env("SUBMISSION", instance.submission().port().to_string());
    assert_eq!(client::run(&mut node).trim(), "all is well");

    let mut imap = Imap::login(instance.imap()).unwrap();
    let mut messages = Vec::new();
    let there = eventually(Duration::from_secs(20), || {
        messages = imap.messages("INBOX").unwrap();
        messages.len() == 4
    });
    assert!(there, "{} messages", messages.len());
    let mut subjects: Vec<_> = messages.iter().map(|message| subject(message)).collect();
    subjects.sort_unstable();
    let sent = ["LOGIN, false", "LOGIN, true", "PLAIN, false", "PLAIN, true"];
    assert_eq!(subjects, sent.map(|which| format!("by nodemailer, {which}")));
    for message in &messages {
        let text = String::from_utf8_lossy(message);
        assert!(text.contains("AAECAwQ="), "the attachment: {text}");
    }
    let attempts = instance.json(&["login", "list", ACCOUNT]);
    for mechanism in ["PLAIN", "LOGIN"] {
        for result in ["ok", "denied"] {
            let is_it = |row: &serde_json::Value| row["mechanism"] == mechanism && row["result"] == result;
            assert!(attempts.as_array().unwrap().iter().any(is_it), "{mechanism} {result}: {attempts}");
        }
    }
    instance.finish();
}

fn subject(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let line = text.lines().find_map(|line| line.strip_prefix("Subject: "));
    line.expect("a subject").to_owned()
}
