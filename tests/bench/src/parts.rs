//! The parts of a run. Each has instances of its own, so that none is measured on what another left behind.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use clap::ValueEnum;

use crate::{
    aims::{Aims, Bound},
    announce, asleep,
    commits::{self, RawCommit},
    delivery::{self, Delivered, Load},
    disk,
    failure::Failure,
    fetching, fsyncs, growth, idle, importing,
    instance::{Instance, Programs},
    logins, mailbox,
    message::{self, Octets},
    processes::Memory,
    searching, smtp, tls,
};

/// moxd asks every 20 s.
const FIRST_ASKED: Duration = Duration::from_secs(23);

/// In the order of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Rates, replies and CPU of deliveries
    Delivery,
    /// CPU of deliveries into a mailbox that grows
    Growth,
    /// fsyncs of deliveries
    Fsyncs,
    /// From the end of a message to EXISTS in another session
    Announce,
    /// A whole mailbox read over IMAP, Dovecot beside it
    Fetch,
    /// What clients do with mailboxes of 10,000 and 100,000 messages, Dovecot beside it
    Mailbox,
    /// Texts searched in 10,000 and 100,000 messages, Dovecot beside it
    Search,
    /// A large mbox, imported
    Import,
    /// Octets on disk
    Disk,
    /// Idle connections
    Idle,
    /// TLS handshakes
    Tls,
    /// Logins over TLS, Dovecot beside them
    Logins,
    /// A second start, and memory at rest
    Start,
}

impl Part {
    pub(crate) const ALL: [Self; 13] = [
        Self::Delivery,
        Self::Growth,
        Self::Fsyncs,
        Self::Announce,
        Self::Fetch,
        Self::Mailbox,
        Self::Search,
        Self::Import,
        Self::Disk,
        Self::Idle,
        Self::Tls,
        Self::Logins,
        Self::Start,
    ];
}

/// What all parts use.
pub(crate) struct Bench {
    programs: Programs,
    place: PathBuf,
    /// One of so many messages.
    share: usize,
    raw: RawCommit,
    pub(crate) aims: Aims,
}

impl Bench {
    pub(crate) fn new(programs: Programs, place: &Path, share: usize, raw: RawCommit) -> Self {
        Self { programs, place: place.to_owned(), share, raw, aims: Aims::default() }
    }

    pub(crate) fn measure(&mut self, part: Part) -> Result<(), Failure> {
        match part {
            Part::Delivery => self.delivery(),
            Part::Growth => {
                let instance = self.instance("growing")?;
                growth::measure(&instance, 100_000 / self.share, self.raw, &mut self.aims)?;
                self.gone("growing", instance)
            }
            Part::Fsyncs => self.fsyncs(),
            Part::Announce => self.announce(),
            Part::Fetch => {
                let instance = self.instance("fetching")?;
                let mailbox = self.load(2, 10, 10_000);
                delivery::measure(&instance, mailbox)?;
                fetching::measure(&instance, mailbox.messages, &self.place.join("dovecot"), &mut self.aims)?;
                self.gone("fetching", instance)
            }
            Part::Mailbox => [10_000, 100_000].into_iter().try_for_each(|messages| {
                let instance = self.instance("mailbox")?;
                let dovecot = self.place.join(format!("mailbox-dovecot-{messages}"));
                mailbox::measure(&instance, messages / self.share, &dovecot, &mut self.aims)?;
                let removed = fs::remove_dir_all(&dovecot);
                removed.map_err(|error| Failure::io(dovecot.display().to_string(), error))?;
                self.gone("mailbox", instance)
            }),
            Part::Search => {
                let instance = self.instance("searching")?;
                let directory = self.place.join("searching");
                for messages in [10_000, 100_000] {
                    let beside = self.place.join(format!("search-dovecot-{messages}"));
                    searching::measure(
                        &instance,
                        &directory,
                        messages / self.share,
                        &beside,
                        &mut self.aims,
                    )?;
                }
                self.gone("searching", instance)
            }
            Part::Import => {
                let instance = self.instance("importing")?;
                let messages = 200_000 / self.share;
                importing::measure(&instance, &self.programs, &self.place, messages, &mut self.aims)?;
                self.gone("importing", instance)
            }
            Part::Disk => disk::measure(&self.programs, &self.place, self.share, &mut self.aims),
            Part::Idle => {
                let directory = self.place.join("idle");
                let instance = Instance::start_with(&self.programs, &directory, idle::CONFIGURATION)?;
                idle::measure(&instance, 1000 / self.share, &mut self.aims)?;
                self.gone("idle", instance)?;
                // Another one: what those above gave back must not serve these.
                let directory = self.place.join("asleep");
                let instance = Instance::start_with(&self.programs, &directory, asleep::CONFIGURATION)?;
                asleep::measure(&instance, 1000 / self.share, &mut self.aims)?;
                self.gone("asleep", instance)
            }
            Part::Tls => {
                let directory = self.place.join("tls");
                let instance = Instance::start_with(&self.programs, &directory, tls::CONFIGURATION)?;
                let keys = self.place.join("keys");
                fs::create_dir_all(&keys).map_err(|error| Failure::io(keys.display().to_string(), error))?;
                let turn = Duration::from_secs(if self.share > 1 { 1 } else { 3 });
                tls::measure(&instance, &keys, turn, &mut self.aims)?;
                self.gone("tls", instance)
            }
            Part::Logins => {
                let directory = self.place.join("logins");
                let instance = Instance::start_with(&self.programs, &directory, logins::CONFIGURATION)?;
                let dovecot = self.place.join("logins-dovecot");
                logins::measure(&instance, &self.programs, &dovecot, self.share, &mut self.aims)?;
                self.gone("logins", instance)
            }
            Part::Start => self.start(),
        }
    }

    fn load(&self, kilobytes: usize, connections: usize, messages: usize) -> Load {
        Load { size: Octets(kilobytes * 1024), connections, messages: messages / self.share }
    }

    fn instance(&self, name: &str) -> Result<Instance, Failure> {
        Instance::start(&self.programs, &self.place.join(name))
    }

    /// Stops it and removes its directory: runs are long and disks small.
    fn gone(&self, name: &str, instance: Instance) -> Result<(), Failure> {
        instance.stop()?;
        let directory = self.place.join(name);
        fs::remove_dir_all(&directory).map_err(|error| Failure::io(directory.display().to_string(), error))
    }

    fn delivery(&mut self) -> Result<(), Failure> {
        crate::line(format_args!(""));
        delivery::heading();
        let instance = self.instance("delivering")?;
        for (kilobytes, connections, messages) in
            [(1, 1, 2_000), (1, 10, 20_000), (1, 50, 20_000), (50, 1, 500), (50, 10, 4_000), (50, 50, 4_000)]
        {
            let delivered = delivery::measure(&instance, self.load(kilobytes, connections, messages))?;
            crate::line(format_args!("{}", delivered.row(self.raw)));
            self.judge(kilobytes, connections, &delivered);
        }
        crate::line(format_args!("{}", instance.processes()?.spent()?));
        self.gone("delivering", instance)
    }

    fn judge(&mut self, kilobytes: usize, connections: usize, delivered: &Delivered) {
        let aims = &mut self.aims;
        let what = format!("{kilobytes} KB, {connections} connections");
        let processor = |bound| (format!("server CPU, {what}"), Bound::AtMost(bound), "ms");
        match (kilobytes, connections) {
            (1, 1) => {
                let median = delivered.reply_milliseconds(50) / self.raw.milliseconds();
                aims.add("median reply at one connection", Bound::Under(4.0), "commits", median);
            }
            (1, 10 | 50) => {
                if connections == 10 {
                    let (what, bound, unit) = processor(0.4);
                    aims.add(what, bound, unit, delivered.processor_milliseconds());
                } else {
                    let p99 = delivered.reply_milliseconds(99);
                    aims.add("p99 at 50 connections", Bound::Under(20.0), "ms", p99);
                }
                aims.add(format!("delivered, {what}"), Bound::AtLeast(2500.0), "/s", delivered.a_second());
            }
            (50, 10) => {
                let (what, bound, unit) = processor(0.6);
                aims.add(what, bound, unit, delivered.processor_milliseconds());
            }
            _ => {}
        }
    }

    fn fsyncs(&mut self) -> Result<(), Failure> {
        let instance = self.instance("syncing")?;
        match fsyncs::measure(&instance, self.share)? {
            None => crate::line(format_args!(
                "\nfsyncs: not counted, the kernel's trace is not to be had (root, tracefs)"
            )),
            Some(rows) => {
                fsyncs::print(&rows);
                for (load, syncs) in rows {
                    let bound = match (load.size, load.connections) {
                        (Octets(1024), 1) => Bound::AtMost(1.0),
                        (Octets(1024), 10) => Bound::AtMost(0.3),
                        _ => continue,
                    };
                    let what = format!("fsyncs a message, {} connections", load.connections);
                    self.aims.add(what, bound, "", load.share(syncs.answers));
                }
            }
        }
        self.gone("syncing", instance)
    }

    fn announce(&mut self) -> Result<(), Failure> {
        let instance = self.instance("announcing")?;
        // A second account's process, so that the program's own pages are not the first one's alone.
        instance.add_account(&self.programs, "second")?;
        smtp::Client::connect(instance.smtp())?.deliver_to("second", &message::text(0, Octets(1024)))?;
        let before = commits::rate(&self.place.join("raw-announce.sqlite"))?;
        let told = announce::measure(&instance, 500 / self.share)?;
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        let (reply, exists) = (milliseconds(told.reply), milliseconds(told.exists));
        let beyond = exists - before.milliseconds();
        crate::line(format_args!(
            "\nend of DATA to 250: {reply:.2} ms; to EXISTS in another session: {exists:.2} ms, a raw commit: {:.2} ms",
            before.milliseconds()
        ));
        self.aims.add("end of DATA to EXISTS, beyond a raw commit", Bound::Under(3.0), "ms", beyond);
        let private = told.private;
        crate::line(format_args!(
            "an account's process, of two, with a session in IDLE: {private} KiB private"
        ));
        let private = u32::try_from(private).map_or(f64::INFINITY, f64::from);
        self.aims.add("an account's process, private", Bound::Under(3072.0), "KiB", private);
        self.gone("announcing", instance)
    }

    fn start(&mut self) -> Result<(), Failure> {
        let directory = self.place.join("starting");
        let instance = Instance::start(&self.programs, &directory)?;
        delivery::measure(&instance, self.load(2, 10, 10_000))?;
        instance.stop()?;
        let instance = Instance::start(&self.programs, &directory)?;
        let start = instance.start_took.as_secs_f64() * 1000.0;
        crate::line(format_args!("\nsecond start to ready: {start:.0} ms"));
        self.aims.add("second start to ready", Bound::Under(300.0), "ms", start);
        // Each lets go of what only its start needed when moxd first asks it whether it lives.
        thread::sleep(FIRST_ASKED);
        let memory = Memory::of(&instance.processes()?);
        crate::line(format_args!("\n{memory}"));
        if let Some(all) = memory.proportional() {
            let all = u32::try_from(all).map_or(f64::INFINITY, f64::from) / 1024.0;
            self.aims.add("all processes at rest, PSS", Bound::Under(24.0), "MiB", all);
        }
        self.gone("starting", instance)
    }
}
