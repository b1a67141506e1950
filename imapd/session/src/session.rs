//! The session's loop: waits, has bytes parsed, carries out commands, tells what changed.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use imapd::response::{self, Status};
use imapd::{Bad, Command, Event, Extension, Limits, NameForm, Numbering, Parser, SyntaxError, Tag, Tagged};
use store_lib::{Budget, Columns, Drained, Origin, Reader, Store, StoreError};

use crate::append::Appending;
use crate::connection::{Connection, Ready};
use crate::guest::Guest;
use crate::limit::{Cut, tell_cut};
use crate::notify::{Notifying, Telling};
use crate::progress::Progress;
use crate::remote::{AppendingElsewhere, Remotes};
use crate::reply::{Reply, Stop};
use crate::selected::{Selected, write_flags};
use crate::sharing::OTHER_USERS;
use crate::store::Storing;
use crate::sync::Awareness;
use crate::vanished::VanishedLines;
use crate::{End, Facts, SessionLimits, sleep};

/// A short read that takes longer than this is a fault of the disk.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Rows read in one go when a mailbox has to be looked at anew.
const ROWS_PER_SLICE: usize = 2000;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) store: Store,
    pub(crate) connection: Connection,
    pub(crate) facts: Facts,
    pub(crate) limits: SessionLimits,
    pub(crate) origin: Origin,
    pub(crate) selected: Option<Selected>,
    /// Of the command that is being carried out.
    pub(crate) progress: Option<Progress>,
    pub(crate) cut: Option<Cut>,
    /// In UTF-8 once the client has enabled IMAP4rev2 or UTF8=ACCEPT.
    pub(crate) names: NameForm,
    /// ENABLE METADATA
    pub(crate) enabled_metadata: bool,
    pub(crate) aware: Awareness,
    /// The client has enabled IMAP4rev2, whose answers differ in some points.
    pub(crate) rev2: bool,
    /// The client has enabled UTF8=ACCEPT (RFC 6855 §3).
    pub(crate) utf8: bool,
    /// What NOTIFY has set, if it has.
    pub(crate) telling: Telling,
    pub(crate) notifying: Option<Notifying>,
    /// Mailboxes of other accounts that this session has to do with.
    pub(crate) remotes: Remotes,
    /// The session is another account's.
    pub(crate) guest: Option<Guest>,
    pub(crate) receiving: Receiving,
    /// When the client last said anything: `sleep::now`.
    pub(crate) heard: u64,
    /// In a row.
    pub(crate) bad_commands: u32,
}

/// What the client's next octets are.
#[derive(Debug)]
pub(crate) enum Receiving {
    Commands,
    /// The message of an APPEND.
    Message(Box<Appending>),
    /// The message of an APPEND into another account.
    Elsewhere(Box<AppendingElsewhere>),
    /// DONE, for this IDLE.
    Idle(Tag),
}

/// What the parser must know before it goes on.
enum Next {
    Anything,
    Line,
    NoMessage,
    Names(NameForm),
    /// What follows is compressed.
    Compressed,
}

/// Whether EXPUNGE may be sent with an answer: not with those of FETCH, STORE and SEARCH, whose numbers the client
/// may just be using (RFC 3501 §7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expunges {
    Tell,
    Keep,
    /// The client has just expunged some: it is told although NOTIFY has it told of no others.
    Asked,
}

impl Session {
    pub(crate) fn new(
        store: Store,
        stream: std::os::unix::net::UnixStream,
        facts: Facts,
        limits: SessionLimits,
    ) -> Result<Self, End> {
        let connection = Connection::new(stream, limits.write)?;
        let origin = store.origin();
        let guest = Guest::of(&facts)?;
        let own = facts.sharing.own.filter(|_| guest.is_some());
        let id_suffix = own.map_or_else(String::new, |own| format!("-{own}"));
        let receiving = Receiving::Commands;
        Ok(Self {
            store,
            connection,
            facts,
            limits,
            origin,
            selected: None,
            progress: None,
            cut: None,
            names: NameForm::default(),
            enabled_metadata: false,
            aware: Awareness::with_ids(id_suffix),
            rev2: false,
            utf8: false,
            telling: Telling::everything(),
            notifying: None,
            remotes: Remotes::default(),
            guest,
            receiving,
            heard: sleep::now(),
            bad_commands: 0,
        })
    }

    pub(crate) fn run(mut self, begin: impl FnOnce(&mut Self) -> Result<(), End>) -> End {
        let end = match begin(&mut self).and_then(|()| self.serve()) {
            Ok(never) => match never {},
            Err(End::Disconnected) if self.facts.stopping.load(Ordering::Acquire) => End::Stopping,
            Err(end @ End::Asleep) => return end,
            Err(end) => end,
        };
        self.deselect();
        let last_words = match &end {
            End::Idle => "* BYE idle for too long\r\n",
            End::Stalled => "* BYE command not finished in time\r\n",
            End::Compression => "* BYE not DEFLATE\r\n",
            End::BadCommands => "* BYE too many errors\r\n",
            End::MailboxDeleted => "* BYE the selected mailbox was deleted\r\n",
            End::Elsewhere => "* BYE the selected mailbox cannot be reached any more\r\n",
            End::NoRights => "* BYE the selected mailbox is shared no more\r\n",
            End::Stopping => "* BYE the server is stopping, come back soon\r\n",
            End::Lost => "* BYE [UNAVAILABLE] the session cannot go on, come back\r\n",
            End::Store(_) => "* BYE [UNAVAILABLE] local error, try later\r\n",
            // Told already, or nobody is there to be told.
            End::Logout
            | End::Protocol(_)
            | End::Disconnected
            | End::NotReading
            | End::Asleep
            | End::Stream(_) => "",
        };
        // A half-written answer may stand before it when the store failed; the client sees the stream end either way.
        self.connection.out.extend_from_slice(last_words.as_bytes());
        let _ = self.connection.flush();
        end
    }

    fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let mut parser = Parser::new(Limits { message: self.limits.message, ..Limits::SESSION });
        if let Receiving::Idle(_) = self.receiving {
            parser.expect_names(self.names);
            parser.expect_line();
        }
        let mut buffer = vec![0; 16 << 10];
        // When the unfinished command began, and when the client last said anything.
        let (mut began, mut heard): (Option<Instant>, _) = (None, Instant::now());
        loop {
            self.connection.flush()?;
            self.connection.shrink();
            let timeout = match (&self.receiving, began) {
                (Receiving::Message(_) | Receiving::Elsewhere(_), _) => self.limits.command,
                (Receiving::Commands | Receiving::Idle(_), None) => {
                    self.limits.idle.saturating_sub(heard.elapsed())
                }
                (Receiving::Commands | Receiving::Idle(_), Some(began)) => {
                    self.limits.command.saturating_sub(began.elapsed())
                }
            };
            match self.wait_or_sleep(timeout, parser.is_between_commands())? {
                Ready::Timeout if parser.is_between_commands() => return Err(End::Idle),
                Ready::Timeout => return Err(End::Stalled),
                Ready::Other => {
                    self.tell_unasked()?;
                    continue;
                }
                Ready::Input => (),
            }
            let Some(read) = self.connection.read(&mut buffer)? else { continue };
            (heard, self.heard) = (Instant::now(), sleep::now());
            let mut input = buffer.get(..read).unwrap_or_default();
            loop {
                let before = input;
                let event = parser.next(&mut input);
                let taken = before.get(..before.len() - input.len()).unwrap_or_default();
                self.note_octets(taken, event.as_ref());
                let Some(event) = event else { break };
                match self.handle(event)? {
                    Next::Anything => (),
                    Next::Line => parser.expect_line(),
                    Next::NoMessage => parser.refuse_message(),
                    Next::Names(names) => parser.expect_names(names),
                    Next::Compressed => {
                        // The answer to the command is not (RFC 4978 §3).
                        self.connection.flush()?;
                        self.connection.compress(std::mem::take(&mut input));
                    }
                }
                if parser.is_between_commands() {
                    self.remotes.command_ended();
                }
                // Answers to pipelined commands leave together, but not without bound.
                self.connection.flush_if_full()?;
            }
            began = if parser.is_between_commands() { None } else { began.or_else(|| Some(Instant::now())) };
        }
    }

    /// Something changed. Of the selected mailbox the client hears in IDLE, or when it said so: it may be about to count.
    fn tell_unasked(&mut self) -> Result<(), End> {
        self.check_still_reads()?;
        if matches!(self.receiving, Receiving::Idle(_)) {
            self.tell_elsewhere()?;
        }
        if self.telling.at_once || matches!(self.receiving, Receiving::Idle(_)) {
            self.tell_changes(Expunges::Tell)?;
        }
        self.tell_notices()
    }

    /// In IDLE for changes as well, between commands for those of which NOTIFY has said that they are told at once.
    pub(crate) fn wait(&self, timeout: Duration, between_commands: bool) -> Result<Ready, End> {
        let (changes, notices) = match &self.receiving {
            Receiving::Idle(_) => (true, true),
            Receiving::Commands => (between_commands && self.telling.at_once, between_commands),
            Receiving::Message(_) | Receiving::Elsewhere(_) => (false, false),
        };
        let elsewhere = self.remotes.selected_fd().filter(|_| matches!(self.receiving, Receiving::Idle(_)));
        let changes = self.selected.as_ref().filter(|_| changes).map(|selected| selected.changes.as_fd());
        let notices = self.notifying.as_ref().filter(|_| notices).map(Notifying::as_fd);
        self.connection.wait(changes.into_iter().chain(notices).chain(elsewhere), timeout)
    }

    fn handle(&mut self, event: Event<'_>) -> Result<Next, End> {
        match event {
            // A guest's command comes as a whole.
            Event::Continue if self.is_guest() => {}
            Event::Continue => response::continuation(&mut self.connection.out),
            Event::Command(Tagged { tag, command }) if command.is_switched_off(self.facts.without) => {
                return self.handle(Event::Bad(Bad { tag: Some(tag), error: SyntaxError::UnknownCommand }));
            }
            Event::Command(Tagged { tag, command }) => {
                self.bad_commands = 0;
                return self.command(tag, command);
            }
            Event::Append(append) => self.receiving = self.begin_append(append)?,
            Event::AppendMessage(message) => {
                self.append(|appending, session| appending.message(session, &message));
            }
            Event::AppendText(text) => {
                self.append(|appending, session| appending.text(session, &text));
                let refused =
                    matches!(&self.receiving, Receiving::Message(appending) if appending.is_refused());
                let synchronising = text.synchronising && !self.is_guest();
                if synchronising && refused {
                    self.finish_append()?;
                    return Ok(Next::NoMessage);
                }
                if synchronising {
                    response::continuation(&mut self.connection.out);
                }
            }
            // It was passed on, and is refused there when the command is whole.
            Event::AppendUrl(_) if matches!(self.receiving, Receiving::Elsewhere(_)) => {}
            Event::AppendUrl(url) => {
                self.append(|appending, session| appending.url(session, &url)).unwrap_or(Ok(()))?;
            }
            Event::MessageData(data) => {
                self.append(|appending, session| appending.push(session, data));
            }
            Event::AppendEnd => self.finish_append()?,
            Event::Line(line) => {
                if let Receiving::Idle(tag) = std::mem::replace(&mut self.receiving, Receiving::Commands) {
                    self.end_idle_elsewhere(&tag)?;
                    if line.eq_ignore_ascii_case(b"DONE") {
                        self.finish(&tag, Reply::ok("IDLE completed"), Expunges::Tell)?;
                    } else {
                        self.finish(&tag, Reply::bad("expected DONE"), Expunges::Tell)?;
                    }
                }
            }
            Event::Bad(bad) => {
                self.give_up_append("not understood")?;
                self.receiving = Receiving::Commands;
                self.bad_commands += 1;
                response::bad(&mut self.connection.out, &bad);
                if self.bad_commands >= self.limits.bad_commands {
                    return Err(End::BadCommands);
                }
            }
            Event::Fatal(fatal) => {
                response::fatal(&mut self.connection.out, fatal);
                return Err(End::Protocol(fatal));
            }
        }
        Ok(Next::Anything)
    }

    /// Does something with the APPEND that is under way.
    fn append<T>(&mut self, step: impl FnOnce(&mut Appending, &Self) -> T) -> Option<T> {
        match std::mem::replace(&mut self.receiving, Receiving::Commands) {
            Receiving::Message(mut appending) => {
                let done = step(&mut appending, self);
                self.receiving = Receiving::Message(appending);
                Some(done)
            }
            other @ (Receiving::Commands | Receiving::Elsewhere(_) | Receiving::Idle(_)) => {
                self.receiving = other;
                None
            }
        }
    }

    fn finish_append(&mut self) -> Result<(), End> {
        let appending = match std::mem::replace(&mut self.receiving, Receiving::Commands) {
            Receiving::Message(appending) => appending,
            Receiving::Elsewhere(elsewhere) => {
                let tag = elsewhere.tag().clone();
                let reply = match elsewhere.finish(self) {
                    Ok(reply) | Err(Stop::Reply(reply)) => reply,
                    Err(Stop::End(end)) => return Err(end),
                };
                return self.finish(&tag, reply, Expunges::Tell);
            }
            Receiving::Commands | Receiving::Idle(_) => return Ok(()),
        };
        let tag = appending.tag().clone();
        let (replaced, reply) = appending.finish(self);
        if let Some(code) = replaced {
            response::untagged(&mut self.connection.out, Status::Ok, &code);
            self.absorb_changes()?;
            self.tell_arrivals();
        }
        self.finish(&tag, reply, Expunges::Tell)
    }

    fn command(&mut self, tag: Tag, mut command: Command) -> Result<Next, End> {
        match self.admit(&mut command) {
            Ok(()) => {}
            Err(Stop::Reply(reply)) => {
                if matches!(command, Command::Select { .. } | Command::Examine { .. }) {
                    self.deselect();
                }
                self.finish(&tag, reply, Expunges::Keep)?;
                return Ok(Next::Anything);
            }
            Err(Stop::End(end)) => return Err(end),
        }
        let command = match self.resolve_filters(command) {
            Ok(command) => command,
            Err(Stop::End(end)) => return Err(end),
            Err(Stop::Reply(reply)) => {
                self.finish(&tag, reply, Expunges::Keep)?;
                return Ok(Next::Anything);
            }
        };
        self.note_awareness(&command);
        let expunges = match &command {
            Command::Fetch { numbering, .. }
            | Command::Store { numbering, .. }
            | Command::Search { numbering, .. }
            | Command::Sort { numbering, .. }
            | Command::Thread { numbering, .. } => match numbering {
                Numbering::Sequence => Expunges::Keep,
                Numbering::Uid => Expunges::Tell,
            },
            Command::Idle => {
                self.connection.out.extend_from_slice(b"+ idling\r\n");
                self.tell_changes(Expunges::Tell)?;
                self.tell_notices()?;
                self.idle_elsewhere(&tag)?;
                self.receiving = Receiving::Idle(tag);
                return Ok(Next::Line);
            }
            Command::Compress(mechanism) if mechanism == "DEFLATE" && !self.connection.is_compressed() => {
                self.finish(&tag, Reply::ok("DEFLATE from here on"), Expunges::Tell)?;
                return Ok(Next::Compressed);
            }
            Command::Logout => {
                self.connection.out.extend_from_slice(b"* BYE goodbye\r\n");
                response::tagged(&mut self.connection.out, &tag, Status::Ok, "LOGOUT completed");
                self.connection.flush()?;
                return Err(End::Logout);
            }
            Command::Enable(extensions) => {
                self.enable(extensions);
                self.enable_elsewhere()?;
                self.finish(&tag, Reply::ok("ENABLE completed"), Expunges::Tell)?;
                return Ok(Next::Names(self.names));
            }
            Command::Capability
            | Command::Noop
            | Command::StartTls
            | Command::Authenticate { .. }
            | Command::Login { .. }
            | Command::Select { .. }
            | Command::Examine { .. }
            | Command::Create { .. }
            | Command::Delete(_)
            | Command::Rename { .. }
            | Command::Subscribe(_)
            | Command::Unsubscribe(_)
            | Command::List(_)
            | Command::Lsub { .. }
            | Command::Status { .. }
            | Command::Check
            | Command::Close
            | Command::Expunge(_)
            | Command::Copy { .. }
            | Command::Move { .. }
            | Command::Acl(_)
            | Command::Compress(_)
            | Command::Id(_)
            | Command::Language(_)
            | Command::GetMetadata(_)
            | Command::GetQuota(_)
            | Command::GetQuotaRoot(_)
            | Command::SetMetadata(_)
            | Command::Namespace
            | Command::GenUrlAuth(_)
            | Command::ResetKey { .. }
            | Command::UrlFetch(_)
            | Command::Notify(_)
            | Command::CancelUpdate(_)
            | Command::Esearch { .. }
            | Command::Unselect => Expunges::Tell,
        };
        let tells_progress = !self.facts.without.contains("INPROGRESS");
        self.progress = tells_progress.then(|| Progress::new(&tag, self.limits.progress));
        let reply = match self.execute(&tag, command) {
            Ok(reply) | Err(Stop::Reply(reply)) => reply,
            Err(Stop::End(end)) => return Err(end),
        };
        self.finish(&tag, reply, expunges)?;
        Ok(Next::Anything)
    }

    /// The end of a command: what changed meanwhile, then the tagged answer.
    fn finish(&mut self, tag: &Tag, reply: Reply, expunges: Expunges) -> Result<(), End> {
        self.tell_changes(if reply.expunged { Expunges::Asked } else { expunges })?;
        self.tell_notices()?;
        let Self { connection, selected, aware, cut, .. } = self;
        let mut text = reply.text;
        if let Some(selected) = selected {
            if reply.expunged && aware.qresync {
                text = format!("[HIGHESTMODSEQ {}] {text}", selected.settled().value()).into();
                aware.forget_shown();
            }
            aware.settle(&mut connection.out, selected);
        }
        let text = tell_cut(&mut connection.out, cut.take(), reply.status, text);
        response::tagged(&mut connection.out, tag, reply.status, &text);
        if expunges == Expunges::Keep && self.telling.at_once {
            self.tell_changes(Expunges::Tell)?;
        }
        Ok(())
    }

    /// RFC 5161 §3.1, RFC 9051 §6.3.1. It may be said again, also with a mailbox selected, which some clients do.
    fn enable(&mut self, extensions: &[Extension]) {
        let out = &mut self.connection.out;
        out.extend_from_slice(b"* ENABLED");
        for extension in extensions {
            // As one that is not known (RFC 5161 §3.1).
            if self.facts.without.contains(extension.as_str()) {
                continue;
            }
            out.push(b' ');
            out.extend_from_slice(extension.as_str().as_bytes());
            match extension {
                Extension::Condstore => {}
                Extension::Metadata => self.enabled_metadata = true,
                Extension::Imap4Rev2 => {
                    (self.names, self.rev2) = (NameForm::Utf8, true);
                    if let Some(selected) = &mut self.selected {
                        selected.shows_recent = false;
                    }
                }
                Extension::Qresync => self.aware.qresync = true,
                Extension::UidOnly => self.aware.uid_only = true,
                Extension::Utf8Accept => (self.names, self.utf8) = (NameForm::Utf8, true),
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    fn execute(&mut self, tag: &Tag, command: Command) -> Result<Reply, Stop> {
        self.check_numbering(&command)?;
        if let Some(reply) = self.elsewhere(tag, &command)? {
            return Ok(reply);
        }
        match command {
            Command::Capability => {
                self.connection.out.extend_from_slice(b"* CAPABILITY ");
                let SessionLimits { message, messages, .. } = self.limits;
                let words = imapd::after_login(self.facts.without, message, messages);
                self.connection.out.extend_from_slice(words.as_bytes());
                self.connection.out.extend_from_slice(b"\r\n");
                Ok(Reply::ok("CAPABILITY completed"))
            }
            Command::Noop => Ok(Reply::ok("NOOP completed")),
            Command::StartTls | Command::Authenticate { .. } | Command::Login { .. } => {
                Err(Reply::bad("already logged in").into())
            }
            Command::Select { mailbox, parameters } => self.select(&mailbox, &parameters, false),
            Command::Examine { mailbox, parameters } => self.select(&mailbox, &parameters, true),
            Command::Create { mailbox, uses } => self.create(&mailbox, &uses),
            Command::Delete(mailbox) => self.delete(&mailbox),
            Command::Rename { from, to } => self.rename(&from, &to),
            Command::Subscribe(mailbox) => self.subscribe(&mailbox),
            Command::Unsubscribe(mailbox) => self.unsubscribe(&mailbox),
            Command::List(list) => self.list(&list),
            Command::Lsub { reference, pattern } => self.lsub(&reference, &pattern),
            Command::Status { mailbox, items } => self.status(&mailbox, &items),
            // Every change is durable when it is answered, so there is nothing to check out.
            Command::Check => Ok(self.selected().map(|_| Reply::ok("CHECK completed"))?),
            Command::Close => self.close(),
            Command::Unselect => self.unselect(),
            Command::Expunge(set) => self.expunge(set.as_ref()),
            Command::Search { numbering, results, key } => self.search(tag, numbering, results, &key),
            Command::CancelUpdate(tags) => self.cancel_update(&tags),
            Command::Esearch { sources, results, key } => self.esearch(tag, &sources, results, &key),
            Command::Sort { numbering, results, criteria, key } => {
                self.sort(tag, numbering, results, &criteria, &key)
            }
            Command::Thread { numbering, algorithm, key } => self.thread(numbering, algorithm, &key),
            Command::Fetch { numbering, set, items, modifiers } => {
                self.fetch(numbering, &set, items, modifiers)
            }
            Command::Store { numbering, set, unchanged_since, action, silent, flags } => {
                let how = Storing { action, silent, unchanged_since };
                self.store_flags(numbering, &set, how, &flags)
            }
            Command::Copy { numbering, set, mailbox } => self.copy(numbering, &set, &mailbox),
            Command::Move { numbering, set, mailbox } => self.move_messages(numbering, &set, &mailbox),
            Command::Compress(mechanism) if mechanism == "DEFLATE" => {
                Err(Reply::no("[COMPRESSIONACTIVE] DEFLATE is active already").into())
            }
            Command::Compress(_) => Err(Reply::no("that mechanism is not known").into()),
            Command::Id(fields) => Ok(self.id(&fields)),
            Command::Language(ranges) => Ok(self.language(&ranges)),
            Command::Acl(acl) => self.acl(&acl),
            Command::GetQuota(root) => self.get_quota(&root),
            Command::GetQuotaRoot(mailbox) => self.get_quota_root(&mailbox),
            Command::GetMetadata(get) => self.get_metadata(&get),
            Command::SetMetadata(set) => self.set_metadata(set),
            Command::Namespace => {
                // Other accounts' mailboxes where there are other accounts (RFC 2342 §5).
                let others = self.facts.sharing.neighbours.as_ref();
                let others =
                    others.map_or_else(|| "NIL".to_owned(), |_| format!("((\"{OTHER_USERS}/\" \"/\"))"));
                let line = format!("* NAMESPACE ((\"\" \"/\")) {others} NIL\r\n");
                self.connection.out.extend_from_slice(line.as_bytes());
                Ok(Reply::ok("NAMESPACE completed"))
            }
            Command::Notify(notify) => self.notify(&notify),
            Command::GenUrlAuth(urls) => self.generate_urls(&urls),
            Command::ResetKey { mailbox, mechanisms } => self.reset_key(mailbox.as_deref(), &mechanisms),
            Command::UrlFetch(urls) => self.fetch_urls(&urls),
            // These are answered before it comes to this.
            Command::Enable(_) | Command::Idle | Command::Logout => Ok(Reply::ok("completed")),
        }
    }

    /// RFC 2971. What clients say is logged, escaped and cut, because it explains many a bug report.
    fn id(&mut self, fields: &[(Vec<u8>, Option<Vec<u8>>)]) -> Reply {
        let value = |wanted: &[u8]| {
            let field = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            let value = field.and_then(|(_, value)| value.as_deref()).unwrap_or_default();
            value.get(..value.len().min(64)).unwrap_or_default().escape_ascii().to_string()
        };
        tracing::debug!(name = %value(b"name"), version = %value(b"version"), "client");
        let version = env!("CARGO_PKG_VERSION");
        let answer = format!("* ID (\"name\" \"moxd\" \"version\" \"{version}\")\r\n");
        self.connection.out.extend_from_slice(answer.as_bytes());
        Reply::ok("ID completed")
    }

    /// The selected mailbox, or the answer to a command that needs one.
    pub(crate) fn selected(&mut self) -> Result<&mut Selected, Reply> {
        self.selected.as_mut().ok_or(Reply::bad("no mailbox is selected"))
    }

    /// The same for commands that change messages.
    pub(crate) fn writable(&mut self) -> Result<&mut Selected, Reply> {
        let selected = self.selected()?;
        if selected.read_only { Err(Reply::no("[READ-ONLY] the mailbox is read-only")) } else { Ok(selected) }
    }

    /// For commands that change anything else.
    pub(crate) fn check_writable_account(&self) -> Result<(), Reply> {
        if self.facts.read_only { Err(Reply::no("[NOPERM] this session is read-only")) } else { Ok(()) }
    }

    /// One short read of the store.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.store.read(&budget(), read)
    }

    /// The command has seen to so many of so many messages.
    pub(crate) fn report_progress(&mut self, done: usize, goal: usize) -> Result<(), End> {
        match &mut self.progress {
            Some(progress) => progress.report(&mut self.connection, done, goal),
            None => Ok(()),
        }
    }

    /// Notes and tells what changed in the selected mailbox.
    pub(crate) fn tell_changes(&mut self, expunges: Expunges) -> Result<(), End> {
        self.absorb_changes()?;
        self.tell_contexts_of_expunged()?;
        let Self { selected: Some(selected), connection, aware, telling, .. } = self else {
            return Ok(());
        };
        let tells = match expunges {
            Expunges::Tell => telling.messages,
            Expunges::Keep => false,
            Expunges::Asked => true,
        };
        if tells && aware.tells_vanished() {
            let mut lines = VanishedLines::now();
            selected.tell_expunged(|_, uid| lines.push(connection, uid.value()..=uid.value()))?;
            lines.end(connection)?;
        } else if tells {
            selected.tell_expunged(|number, _| {
                connection.out.extend_from_slice(b"* ");
                response::number(&mut connection.out, number);
                connection.out.extend_from_slice(b" EXPUNGE\r\n");
                connection.flush_if_full()
            })?;
        }
        let arrivals = self.tell_arrivals();
        let Self { selected: Some(selected), connection, telling, .. } = self else { return Ok(()) };
        selected.introduce(&mut connection.out);
        if !telling.flags {
            selected.drop_flags();
        }
        if let Some(arrivals) = arrivals.filter(|_| !telling.of_arrivals.is_empty()) {
            self.fetch_arrivals(arrivals)?;
        }
        let Self { selected: Some(selected), connection, aware, .. } = self else { return Ok(()) };
        for (uid, (flags, modseq)) in selected.take_flags() {
            let Some(place) = selected.place(uid) else { continue };
            let out = &mut connection.out;
            aware.begin_fetch(out, place, uid);
            if !aware.uid_only {
                out.extend_from_slice(b"UID ");
                response::number(out, u64::from(uid.value()));
                out.push(b' ');
            }
            out.extend_from_slice(b"FLAGS ");
            write_flags(out, &flags, selected.tells_recent(uid));
            aware.append_modseq(out, modseq);
            out.extend_from_slice(b")\r\n");
            connection.flush_if_full()?;
        }
        self.tell_contexts()?;
        self.tell_access_key();
        self.tell_metadata()
    }

    /// Tells of the messages that were noted to have come; their places.
    fn tell_arrivals(&mut self) -> Option<std::ops::Range<usize>> {
        let Self { selected: Some(selected), connection, store, telling, guest, .. } = self else {
            return None;
        };
        let mut arrivals = None;
        if telling.messages && selected.has_arrivals() {
            // The first session that is told of a message has it as `\Recent` (RFC 3501 §2.3.2). Kept when the
            // mailbox is left: a commit for each message that arrives would double what its delivery cost.
            let claims = !selected.read_only && guest.is_none();
            let recent = store.recent(selected.mailbox, claims).unwrap_or_default();
            if !recent.is_empty() {
                selected.claimed |= claims;
                selected.add_recent(recent);
            }
        }
        let told = selected.told().len();
        if let Some(count) = telling.messages.then(|| selected.tell_arrived()).flatten() {
            arrivals = Some(told..selected.told().len());
            let out = &mut connection.out;
            out.extend_from_slice(b"* ");
            response::number(out, count);
            out.extend_from_slice(b" EXISTS\r\n");
            if selected.shows_recent {
                out.extend_from_slice(b"* ");
                response::number(out, selected.recent_count());
                out.extend_from_slice(b" RECENT\r\n");
            }
        }
        arrivals
    }

    /// What NOTIFY has told of new messages beside that they are there (RFC 5465 §5.2).
    fn fetch_arrivals(&mut self, places: std::ops::Range<usize>) -> Result<(), End> {
        let (items, places) = (self.telling.of_arrivals.clone(), std::iter::once(places).collect());
        match self.fetch_places(Numbering::Sequence, places, items, None) {
            // Some may be expunged again.
            Ok(_) | Err(Stop::Reply(_)) => Ok(()),
            Err(Stop::End(end)) => Err(end),
        }
    }

    /// Notes what changed in the selected mailbox, and tells nothing yet.
    pub(crate) fn absorb_changes(&mut self) -> Result<(), End> {
        let Some(selected) = &mut self.selected else { return Ok(()) };
        match selected.changes.drain() {
            Drained::Changes(changes) => {
                if !selected.absorb(changes, self.origin) {
                    return Err(End::MailboxDeleted);
                }
                Ok(())
            }
            Drained::Resync => self.look_anew(),
        }
    }

    /// More changed than the store kept for us: compares the whole mailbox, in slices.
    pub(crate) fn look_anew(&mut self) -> Result<(), End> {
        let Some(selected) = &self.selected else { return Ok(()) };
        let (mailbox, since) = (selected.mailbox, selected.modseq());
        let found = self.read(|reader| match reader.mailbox(mailbox)? {
            Some(found) => Ok(Some((found.modseq, reader.uids(mailbox)?))),
            None => Ok(None),
        })?;
        let Some((modseq, uids)) = found else { return Err(End::MailboxDeleted) };
        let mut changed = Vec::new();
        for slice in uids.chunks(ROWS_PER_SLICE) {
            let (Some(first), Some(last)) = (slice.first(), slice.last()) else { continue };
            self.read(|reader| {
                reader.fetch(mailbox, *first..=*last, Columns::Flags, |message| {
                    if message.modseq > since {
                        changed.push((message.uid, message.flags, message.modseq));
                    }
                    std::ops::ControlFlow::Continue(())
                })
            })?;
        }
        if let Some(selected) = &mut self.selected {
            selected.compare(&uids, modseq);
            for (uid, flags, modseq) in changed {
                selected.flags_changed(uid, flags, modseq);
            }
        }
        Ok(())
    }
}

/// For one short read.
pub(crate) fn budget() -> Budget {
    Budget { deadline: Some(Instant::now() + READ_TIMEOUT), cancel: None }
}
