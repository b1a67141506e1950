//! Real clients against a real instance: what swaks sends, others read, octet by octet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod retrieving;
mod syncing;
mod terminal;

use std::process::Command;

use moxd_tests::{
    ACCOUNT, ADDRESS, Imap, Instance, PASSWORD, Smtp, client,
    mail::{assert_same, behind_prefix, message, prefix},
};

#[test]
fn addresses_outside_of_ascii_are_served() {
    let instance = Instance::start();
    let program = r#"
import smtplib, sys
smtp = smtplib.SMTP("127.0.0.1", int(sys.argv[1]))
smtp.ehlo("client.example")
assert smtp.has_extn("smtputf8") and smtp.has_extn("8bitmime")
message = "From: <jürgen@example.org>\r\nTo: <søren@localhost>\r\nSubject: grüße\r\n\r\nÆØÅ\r\n".encode()
refused = smtp.sendmail("jürgen@example.org", ["søren@localhost"], message, mail_options=["SMTPUTF8", "BODY=8BITMIME"])
assert refused == {}
smtp.quit()
"#;
    client::run(client::python(program).arg(instance.smtp().port().to_string()));
    let stored = Imap::login(instance.imap()).unwrap().messages("INBOX").unwrap();
    assert_eq!(stored.len(), 1);
    let sent = "From: <jürgen@example.org>\r\nTo: <søren@localhost>\r\nSubject: grüße\r\n\r\nÆØÅ\r\n";
    assert_same(behind_prefix(&stored[0]), sent.as_bytes());
    let prefix = String::from_utf8(prefix(&stored[0]).to_vec()).unwrap();
    assert!(prefix.contains("Return-Path: <jürgen@example.org>\r\n"), "{prefix}");
    assert!(prefix.contains("Delivered-To: søren@localhost\r\n"), "{prefix}");
    assert!(prefix.contains("with UTF8SMTP"), "{prefix}");
    instance.finish();
}

/// One small message, one with an attachment, and one in other alphabets.
fn with_some_mail() -> Instance {
    let instance = Instance::start();
    let mut smtp = Smtp::connect(instance.smtp()).unwrap();
    smtp.must_deliver(ADDRESS, &message("hello-reader", 1000));
    smtp.must_deliver(
        ADDRESS,
        b"From: =?UTF-8?Q?J=C3=BCrgen?= <j@example.org>\r\nTo: mox@localhost\r\nSubject: =?UTF-8?B?R3LDvMOfZQ==?=\r\n\
          Message-ID: <two@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n\
          --b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nthe text\r\n--b\r\n\
          Content-Type: application/octet-stream; name=\"a.bin\"\r\nContent-Transfer-Encoding: base64\r\n\
          Content-Disposition: attachment; filename=\"a.bin\"\r\n\r\nAAECAwQ=\r\n--b--\r\n",
    );
    instance
}

#[test]
fn curl_searches_and_fetches_over_tls() {
    let instance = with_some_mail();
    let certificate = instance.home().path().join("localhost.pem");
    client::save_certificate(instance.imaps(), &certificate);
    let curl = |path: &str, request: Option<&str>| {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--user",
            &format!("{ACCOUNT}:{PASSWORD}"),
        ]);
        curl.arg("--cacert").arg(&certificate);
        if let Some(request) = request {
            curl.args(["-X", request]);
        }
        client::run(curl.arg(format!("imaps://localhost:{}/{path}", instance.imaps().port())))
    };
    assert_eq!(curl("INBOX", Some("SEARCH ALL")).trim_end(), "* SEARCH 1 2");
    assert!(curl("", Some("LIST \"\" \"*\"")).contains("INBOX"));
    assert!(curl("INBOX", Some("UID SEARCH SUBJECT hello-reader")).starts_with("* SEARCH "));
    let fetched = curl("INBOX;MAILINDEX=1", None);
    assert_same(behind_prefix(fetched.as_bytes()), &message("hello-reader", 1000));
    instance.finish();
}

#[test]
fn python_reads_with_imaplib_over_tls_and_starttls() {
    let instance = with_some_mail();
    let program = r#"
import imaplib, ssl, sys
context = ssl._create_unverified_context()
with imaplib.IMAP4_SSL("127.0.0.1", int(sys.argv[1]), ssl_context=context) as imap:
    imap.login("mox", "moxmoxmox")
    assert imap.select("INBOX") == ("OK", [b"2"])
    state, data = imap.fetch("1:2", "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)")
    assert state == "OK" and len(data) == 2, data
    state, data = imap.uid("SEARCH", "SUBJECT", "hello-reader")
    assert len(data[0].split()) == 1, data
    uid = data[0].decode()
    state, data = imap.uid("FETCH", uid, "(BODY.PEEK[])")
    assert b"Subject: hello-reader" in data[0][1]
    assert imap.append("INBOX", r"(\Seen)", None, b"Subject: appended\r\n\r\nbody\r\n")[0] == "OK"
    assert imap.uid("STORE", uid, "+FLAGS", r"(\Deleted)")[0] == "OK"
    assert imap.expunge()[0] == "OK"
    assert imap.create("Kept")[0] == "OK"
    assert imap.uid("COPY", "1:*", "Kept")[0] == "OK"
    assert imap.select("Kept") == ("OK", [b"2"])
with imaplib.IMAP4("127.0.0.1", int(sys.argv[2])) as imap:
    imap.starttls(ssl_context=context)
    imap.authenticate("PLAIN", lambda _: b"\0mox\0moxmoxmox")
    assert imap.select("INBOX", readonly=True) == ("OK", [b"2"])
"#;
    let (imaps, imap) = (instance.imaps().port().to_string(), instance.imap().port().to_string());
    client::run(client::python(program).args([imaps, imap]));
    instance.finish();
}

/// IMAP4rev2 and what is announced beside it, by a client that reads answers it has no words for.
#[test]
fn python_speaks_imap4rev2_with_imaplib() {
    let instance = with_some_mail();
    let program = r#"
import imaplib, re, ssl, sys
def ask(imap, answer, command, *words):
    imap.untagged_responses.clear()
    state, data = imap._simple_command(command, *words)
    assert state == "OK", (words, data)
    return [line for line in imap.response(answer)[1] if line is not None]
with imaplib.IMAP4_SSL("127.0.0.1", int(sys.argv[1]), ssl_context=ssl._create_unverified_context()) as imap:
    assert "IMAP4REV2" in imap.capabilities, imap.capabilities
    imap.login("mox", "moxmoxmox")
    assert imap.enable("IMAP4rev2")[0] == "OK"
    assert imap.response("ENABLED")[1] == [b"IMAP4rev2"]
    imap._mode_utf8()
    assert imap.create('"Grüße & mehr"')[0] == "OK"
    listed = ask(imap, "LIST", "LIST", '(SUBSCRIBED SPECIAL-USE)', '""', '"*"', "RETURN", "(STATUS (MESSAGES SIZE))")
    assert len(listed) == 5 and any(b"\\Sent" in line for line in listed), listed
    assert imap.response("STATUS")[1][0] == b"Archive (MESSAGES 0 SIZE 0)"
    listed = ask(imap, "LIST", "LIST", '""', '("Gr*" INBOX)')
    assert listed == ['(\\HasNoChildren) "/" "Grüße & mehr"'.encode(), b'(\\HasNoChildren) "/" INBOX'], listed
    assert ask(imap, "STATUS", "STATUS", "INBOX", "(DELETED UNSEEN)") == [b"INBOX (DELETED 0 UNSEEN 2)"]
    assert ask(imap, "LIST", "SELECT", "INBOX") == [b'() "/" INBOX']
    imap.state = "SELECTED"
    assert imap.response("RECENT")[1] == [None]
    found = ask(imap, "ESEARCH", "UID", "SEARCH", "RETURN", "(MIN MAX COUNT SAVE)", "SUBJECT", '"Grüße"')
    assert re.fullmatch(rb'\(TAG "\w+"\) UID MIN 2 MAX 2 COUNT 1', found[0]), found
    found = ask(imap, "ESEARCH", "SEARCH", "ALL")
    assert found[0].endswith(b") ALL 1:2"), found
    state, data = imap.fetch("$", "(UID BINARY.SIZE[2] BINARY.PEEK[2])")
    assert state == "OK" and data[0] == (b"2 (UID 2 BINARY.SIZE[2] 5 BINARY[2] ~{5}", bytes(range(5))), data
    assert imap.uid("MOVE", "$", '"Grüße & mehr"')[0] == "OK"
    assert ask(imap, "ESEARCH", "SEARCH", "RETURN", "(COUNT)", "$")[0].endswith(b") COUNT 0")
    assert ask(imap, "STATUS", "STATUS", '"Grüße & mehr"', "(MESSAGES)") == ['"Grüße & mehr" (MESSAGES 1)'.encode()]
"#;
    client::run(client::python(program).arg(instance.imaps().port().to_string()));
    instance.finish();
}

#[test]
fn python_reads_with_imapclient_and_waits_with_idle() {
    let instance = with_some_mail();
    let program = r#"
import smtplib, ssl, sys
from imapclient import IMAPClient
with IMAPClient("127.0.0.1", port=int(sys.argv[1]), ssl_context=ssl._create_unverified_context()) as imap:
    imap.login("mox", "moxmoxmox")
    imap.id_({"name": "test"})
    assert imap.select_folder("INBOX")[b"EXISTS"] == 2
    found = imap.fetch(imap.search("ALL"), ["ENVELOPE", "BODYSTRUCTURE", "FLAGS", "BODY.PEEK[]", "INTERNALDATE"])
    subjects = sorted(message[b"ENVELOPE"].subject for message in found.values())
    assert subjects == [b"=?UTF-8?B?R3LDvMOfZQ==?=", b"hello-reader"], subjects
    two = next(m for m in found.values() if m[b"ENVELOPE"].subject != b"hello-reader")
    assert two[b"BODYSTRUCTURE"].is_multipart
    assert len(two[b"BODYSTRUCTURE"][0]) == 2, two[b"BODYSTRUCTURE"]
    imap.idle()
    with smtplib.SMTP("127.0.0.1", int(sys.argv[2])) as smtp:
        smtp.sendmail("a@example.org", ["mox@localhost"], "Subject: three\r\n\r\nwhile idle\r\n")
    news = imap.idle_check(timeout=20)
    imap.idle_done()
    assert (3, b"EXISTS") in news, news
    imap.multiappend("Archive", ["Subject: four\r\n\r\n4\r\n", "Subject: five\r\n\r\n5\r\n"])
    assert imap.folder_status("Archive", ["MESSAGES"]) == {b"MESSAGES": 2}
    imap.create_folder("Grüße & mehr")
    assert any(name == "Grüße & mehr" for _, _, name in imap.list_folders())
    imap.move(imap.search(["SUBJECT", "three"]), "Grüße & mehr")
    assert imap.select_folder("Grüße & mehr")[b"EXISTS"] == 1
"#;
    let (imaps, smtp) = (instance.imaps().port().to_string(), instance.smtp().port().to_string());
    client::run(client::python(program).args([imaps, smtp]));
    instance.finish();
}

#[test]
fn imapflow_lists_and_fetches() {
    let instance = with_some_mail();
    let program = r#"
import { ImapFlow } from 'imapflow';
import assert from 'node:assert';
const client = new ImapFlow({ host: '127.0.0.1', port: Number(process.env.IMAPS), secure: true, logger: false,
    tls: { rejectUnauthorized: false }, auth: { user: 'mox', pass: 'moxmoxmox' } });
await client.connect();
assert(client._inflate, 'imapflow compresses wherever it can');
const boxes = await client.list({ statusQuery: { messages: true, unseen: true } });
const uses = boxes.map(box => box.specialUse).filter(use => use).sort();
assert.deepStrictEqual(uses, ['\\Archive', '\\Drafts', '\\Inbox', '\\Junk', '\\Sent', '\\Trash']);
assert.strictEqual(boxes.find(box => box.path === 'INBOX').status.messages, 2);
const lock = await client.getMailboxLock('INBOX');
try {
    assert.strictEqual(client.mailbox.exists, 2);
    assert.deepStrictEqual(await client.search({ subject: 'hello-reader' }), [1]);
    const found = [];
    for await (const message of client.fetch('1:*', { envelope: true, bodyStructure: true, source: true, flags: true }))
        found.push(message);
    assert.deepStrictEqual(found.map(m => m.envelope.subject), ['hello-reader', 'Grüße']);
    assert.strictEqual(found[1].bodyStructure.childNodes.length, 2);
    assert(found[0].source.includes('Subject: hello-reader'));
    const { content } = await client.download('2', '2');
    const octets = [];
    for await (const chunk of content) octets.push(chunk);
    assert.deepStrictEqual([...Buffer.concat(octets)], [0, 1, 2, 3, 4]);
    assert(await client.messageFlagsAdd('1', ['\\Seen']));
} finally { lock.release(); }
await client.logout();
"#;
    client::run(client::node(program).env("IMAPS", instance.imaps().port().to_string()));
    instance.finish();
}
