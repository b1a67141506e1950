//! Sessions that sleep in one process and wake up in another.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use imapd_session::{Asleep, Bed, End, Facts, SessionLimits, lost, resume, run};
use store_lib::{FlagChange, Flags, MailboxName, Origin, SystemFlag, Uid};

use crate::harness::Account;

const PATIENCE: Duration = Duration::from_secs(20);

/// Its session lies down almost at once.
#[derive(Debug)]
struct Cot {
    states: Mutex<mpsc::Sender<Asleep>>,
    leaves: AtomicBool,
}

impl Bed for Cot {
    fn after(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn lie_down(&self, asleep: Asleep) {
        let _ = self.states.lock().unwrap().send(asleep);
    }

    fn get_up(&self) -> bool {
        !self.leaves.load(Ordering::Acquire)
    }
}

/// A client, and the handle of its session's end that outlives the session's thread.
struct Sleeper {
    client: UnixStream,
    end: UnixStream,
    thread: Option<JoinHandle<End>>,
    cot: Arc<Cot>,
    states: mpsc::Receiver<Asleep>,
    limits: SessionLimits,
}

impl Sleeper {
    fn log_in(account: &Account) -> Self {
        let (client, end) = UnixStream::pair().unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let (send, states) = mpsc::channel();
        let cot = Arc::new(Cot { states: Mutex::new(send), leaves: AtomicBool::new(false) });
        let mut sleeper = Self { client, end, thread: None, cot, states, limits: SessionLimits::default() };
        sleeper.start(account, run);
        sleeper
    }

    fn start(
        &mut self,
        account: &Account,
        serve: impl FnOnce(store_lib::Store, UnixStream, Facts, SessionLimits) -> End + Send + 'static,
    ) {
        self.cot.leaves.store(false, Ordering::Release);
        let facts = Facts {
            connection: "test".to_owned(),
            read_only: false,
            stopping: Arc::new(AtomicBool::new(false)),
            bed: Some(Arc::<Cot>::clone(&self.cot)),
            sharing: imapd_session::Sharing::default(),
            without: imapd::Capabilities::NONE,
        };
        let (store, end, limits) = (account.store.clone(), self.end.try_clone().unwrap(), self.limits);
        self.thread = Some(std::thread::spawn(move || serve(store, end, facts, limits)));
    }

    fn say(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).unwrap();
    }

    /// Reads up to and with this text, which is the last thing there is.
    fn hear(&mut self, last: &str) -> String {
        let mut heard = Vec::new();
        while !heard.ends_with(last.as_bytes()) {
            let mut piece = [0; 4096];
            let octets = self.client.read(&mut piece).unwrap_or(0);
            assert!(octets > 0, "closed, or no answer in time, after {}", heard.escape_ascii());
            heard.extend_from_slice(&piece[..octets]);
        }
        String::from_utf8(heard).unwrap()
    }

    fn idle(&mut self) {
        self.say("i IDLE\r\n");
        self.hear("+ idling\r\n");
    }

    /// Its process leaves while it rests; the client says `said` meanwhile.
    fn sleep(&mut self, said: &str) -> Asleep {
        let mut asleep = self.states.recv_timeout(PATIENCE).expect("it lies down");
        self.cot.leaves.store(true, Ordering::Release);
        // What happens next finds that it is too late; without anything it would wait on.
        self.say(if said.is_empty() { "DO" } else { said });
        assert!(matches!(self.thread.take().unwrap().join().unwrap(), End::Asleep));
        asleep = self.states.try_iter().last().unwrap_or(asleep);
        asleep
    }

    fn wake(&mut self, account: &Account, asleep: Asleep) {
        self.start(account, move |store, end, facts, limits| resume(store, end, facts, limits, asleep));
    }

    fn over(self) -> (String, End) {
        let Self { mut client, end, thread, .. } = self;
        let end_of_session = thread.unwrap().join().unwrap();
        drop(end);
        let mut rest = Vec::new();
        // What the client said last may be unread, which makes the end a reset.
        let _ = client.read_to_end(&mut rest);
        (String::from_utf8(rest).unwrap(), end_of_session)
    }
}

fn inbox(account: &Account) -> store_lib::Mailbox {
    let name = MailboxName::inbox();
    account.store.read(&Default::default(), |reader| reader.find(&name)).unwrap().unwrap()
}

fn expunge_first(account: &Account) {
    let (mailbox, uids) = (inbox(account).id, [Uid::MIN]);
    let deleted = FlagChange::Add(Flags::NONE.with(SystemFlag::Deleted));
    account.store.change_flags(mailbox, &uids, deleted, Origin::NONE).unwrap();
    account.store.expunge(mailbox, Some(&uids), Origin::NONE).unwrap();
}

/// RFC 2177: the client notices nothing but what happened to its mailbox.
#[test]
fn a_session_goes_on_where_it_was_in_another_process() {
    let mut account = Account::new();
    (0..3).for_each(|_| account.file("INBOX", b"Subject: x\r\n\r\n"));
    let mut sleeper = Sleeper::log_in(&account);
    sleeper.say("a SELECT INBOX\r\n");
    sleeper.hear("a OK [READ-WRITE] SELECT completed\r\n");
    sleeper.say("b SEARCH RETURN (SAVE) 2\r\n");
    sleeper.hear("b OK SEARCH completed\r\n");
    sleeper.idle();
    let asleep = sleeper.sleep("DONE\r\nc FETCH $ (UID)\r\n");
    account.reopen();
    account.file("INBOX", b"Subject: y\r\n\r\n");
    let mailbox = inbox(&account).id;
    expunge_first(&account);
    let seen = FlagChange::Add(Flags::NONE.with(SystemFlag::Seen));
    account.store.change_flags(mailbox, &[Uid::new(3).unwrap()], seen, Origin::NONE).unwrap();
    sleeper.wake(&account, asleep);
    assert_eq!(
        sleeper.hear("c OK FETCH completed\r\n"),
        "* 1 EXPUNGE\r\n* 3 EXISTS\r\n* 3 RECENT\r\n* 2 FETCH (UID 3 FLAGS (\\Seen \\Recent))\r\n\
         i OK IDLE completed\r\n* 1 FETCH (UID 2)\r\nc OK FETCH completed\r\n"
    );
    sleeper.say("d LOGOUT\r\n");
    assert!(matches!(sleeper.over().1, End::Logout));
}

#[test]
fn what_was_enabled_stays_enabled() {
    let mut account = Account::new();
    (0..2).for_each(|_| account.file("INBOX", b"Subject: x\r\n\r\n"));
    let mut sleeper = Sleeper::log_in(&account);
    sleeper.say("a ENABLE QRESYNC IMAP4rev2 UTF8=ACCEPT\r\n");
    sleeper.hear("a OK ENABLE completed\r\n");
    sleeper.say("b SELECT INBOX\r\n");
    sleeper.hear("b OK [READ-WRITE] SELECT completed\r\n");
    sleeper.idle();
    let asleep = sleeper.sleep("");
    account.reopen();
    expunge_first(&account);
    sleeper.wake(&account, asleep);
    sleeper.hear("* VANISHED 1\r\n");
    sleeper.say("NE\r\nc CREATE \"\u{e4}\"\r\n");
    let answer = sleeper.hear(" CREATE completed\r\n");
    assert!(answer.starts_with("i OK IDLE completed\r\n"), "{answer}");
    let name = MailboxName::parse("\u{e4}").unwrap();
    assert!(account.store.read(&Default::default(), |reader| reader.find(&name)).unwrap().is_some());
    sleeper.say("d LOGOUT\r\n");
    sleeper.over();
}

#[test]
fn it_sleeps_without_a_mailbox_too_and_as_often_as_it_likes() {
    let mut account = Account::new();
    let mut sleeper = Sleeper::log_in(&account);
    sleeper.idle();
    for said in ["D", "O", "N", "E", "\r"] {
        let asleep = sleeper.sleep(said);
        assert_eq!(asleep.mailbox, None);
        account.reopen();
        sleeper.wake(&account, asleep);
        // Half a line keeps it awake, so it is put to sleep from the start again.
        if said == "D" {
            sleeper.say("ONE\r\n");
            assert_eq!(sleeper.hear("i OK IDLE completed\r\n"), "i OK IDLE completed\r\n");
            sleeper.idle();
        } else {
            break;
        }
    }
    sleeper.say("NE\r\nd LOGOUT\r\n");
    sleeper.over();
}

/// What does not fit a state keeps its session awake: it lies down nowhere.
#[test]
fn a_session_with_more_to_it_stays_awake() {
    for command in ["NOTIFY SET (PERSONAL (MessageNew MessageExpunge))", "COMPRESS DEFLATE"] {
        let account = Account::new();
        let mut sleeper = Sleeper::log_in(&account);
        sleeper.say(&format!("a {command}\r\n"));
        let mut heard = [0; 1024];
        let octets = sleeper.client.read(&mut heard).unwrap();
        assert!(heard[..octets].starts_with(b"a OK"), "{}", heard[..octets].escape_ascii());
        let idle: &[u8] = if command.starts_with("COMPRESS") {
            // `i IDLE` in one stored block (RFC 1951 §3.2.4).
            b"\x00\x08\x00\xf7\xffi IDLE\r\n"
        } else {
            b"i IDLE\r\n"
        };
        sleeper.client.write_all(idle).unwrap();
        assert!(sleeper.client.read(&mut heard).unwrap() > 0);
        // Long after it would have.
        let waited = sleeper.states.recv_timeout(Duration::from_millis(200));
        assert!(waited.is_err(), "{command}: {waited:?}");
        drop(sleeper);
    }
}

#[test]
fn changes_in_between_keep_it_up_to_date_without_sleep() {
    let account = Account::new();
    let mut sleeper = Sleeper::log_in(&account);
    sleeper.say("a SELECT INBOX\r\n");
    sleeper.hear("a OK [READ-WRITE] SELECT completed\r\n");
    sleeper.idle();
    for count in 1..=20 {
        sleeper.states.recv_timeout(PATIENCE).expect("it rests");
        account.file("INBOX", b"Subject: x\r\n\r\n");
        sleeper.hear(&format!("* {count} EXISTS\r\n* {count} RECENT\r\n"));
    }
    sleeper.say("DONE\r\nb LOGOUT\r\n");
    sleeper.over();
}

#[test]
fn a_session_that_cannot_go_on_says_so() {
    let mut account = Account::new();
    account.file("INBOX", b"Subject: x\r\n\r\n");
    let asleep = |account: &Account| {
        let mut sleeper = Sleeper::log_in(account);
        sleeper.say("a SELECT INBOX\r\n");
        sleeper.hear("a OK [READ-WRITE] SELECT completed\r\n");
        sleeper.idle();
        let asleep = sleeper.sleep("");
        (sleeper, asleep)
    };
    let gone = "* BYE [UNAVAILABLE] the session cannot go on, come back\r\n";

    let (mut sleeper, mut damaged) = asleep(&account);
    damaged.state.pop();
    sleeper.wake(&account, damaged);
    assert_eq!(sleeper.over().0, gone);

    let (mut sleeper, without) = asleep(&account);
    sleeper.wake(&account, Asleep { mailbox: None, ..without });
    assert_eq!(sleeper.over().0, gone);

    let (mut sleeper, _) = asleep(&account);
    sleeper.start(&account, lost);
    assert_eq!(sleeper.over().0, gone);

    let (mut sleeper, late) = asleep(&account);
    sleeper.limits.asleep = Duration::ZERO;
    sleeper.wake(&account, late);
    assert_eq!(sleeper.over().0, "* BYE idle for too long\r\n");

    let mut sleeper = Sleeper::log_in(&account);
    sleeper.say("a CREATE x\r\nb SELECT x\r\n");
    sleeper.hear("b OK [READ-WRITE] SELECT completed\r\n");
    sleeper.idle();
    let deleted = sleeper.sleep("");
    account.reopen();
    account.store.delete(&MailboxName::parse("x").unwrap(), Origin::NONE).unwrap();
    sleeper.wake(&account, deleted);
    assert_eq!(sleeper.over().0, "* BYE the selected mailbox was deleted\r\n");
}
