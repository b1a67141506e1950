//! What sessions cost that sleep, and what it takes to wake one.

use std::{
    io::{BufRead, BufReader, Write},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::ClientConfig;

use crate::{
    aims::{Aims, Bound},
    failure::Failure,
    instance::{ACCOUNT, Instance, PASSWORD},
    tls,
};

/// Sessions wake up so often; the median counts.
const ROUNDS: usize = 5;
/// How long an account's process may take to leave.
const PATIENCE: Duration = Duration::from_secs(60);

/// For this part's instance.
pub(crate) const CONFIGURATION: &str =
    "[limits]\naccount_sessions = 1100\nhibernate_after = \"2s\"\n[limits.memory]\naccountd = \"1 GiB\"";

const ACCOUNTS: &str = "mox-accountd";
/// Who holds something of each: the front its connection, the supervisor a handle of its stream.
const HOLDERS: [&str; 2] = ["mox-imapd", "moxd"];

/// One in IDLE, over TLS.
struct Idle(Box<BufReader<tls::Stream>>);

impl Idle {
    fn open(instance: &Instance, client: &Arc<ClientConfig>) -> Result<Self, Failure> {
        let mut idle = Self(Box::new(BufReader::new(tls::connect(client, instance.imaps())?)));
        idle.until("* OK")?;
        idle.say(&format!("a LOGIN {ACCOUNT} {PASSWORD}\r\nb SELECT INBOX\r\n"))?;
        idle.until("b OK")?;
        idle.begin()?;
        Ok(idle)
    }

    fn begin(&mut self) -> Result<(), Failure> {
        self.say("c IDLE\r\n")?;
        self.until("+")
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.0.get_mut().write_all(text.as_bytes()).map_err(|error| Failure::io("a session in IDLE", error))
    }

    fn until(&mut self, start: &str) -> Result<(), Failure> {
        let mut line = String::new();
        while !line.starts_with(start) {
            line.clear();
            let read = self.0.read_line(&mut line);
            if read.map_err(|error| Failure::io("a session in IDLE", error))? == 0 {
                return Err(Failure::new(format!("a session in IDLE ended before {start:?}")));
            }
        }
        Ok(())
    }
}

/// `connections` of one account over TLS, in IDLE, until its process has left.
pub(crate) fn measure(instance: &Instance, connections: usize, aims: &mut Aims) -> Result<(), Failure> {
    let client = tls::client()?;
    let mut first = Idle::open(instance, &client)?;
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        until_asleep(instance)?;
        let begun = Instant::now();
        first.say("DONE\r\n")?;
        first.until("c OK")?;
        took.push(begun.elapsed());
        first.begin()?;
    }
    took.sort_unstable();
    until_asleep(instance)?;
    let before = held(instance)?;
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Idle::open(instance, &client)?);
    }
    until_asleep(instance)?;
    let after = held(instance)?;
    let count = u32::try_from(connections).map_or(f64::INFINITY, f64::from);
    let [front, supervisor] = [0, 1].map(|at| {
        let of = |held: &[f64; 2]| held.get(at).copied().unwrap_or_default();
        (of(&after) - of(&before)) / count
    });
    crate::line(format_args!(
        "\nsessions that sleep  connections  KiB each in the front  in the supervisor  DONE to OK, ms"
    ));
    let median = took.get(ROUNDS / 2).map_or(f64::INFINITY, |took| took.as_secs_f64() * 1000.0);
    crate::line(format_args!(
        "TLS                  {connections:>11} {front:>22.1} {supervisor:>18.2} {median:>15.1}"
    ));
    let all = (front + supervisor) * 1000.0 / 1024.0;
    aims.add("1,000 sessions that sleep, in all processes".to_owned(), Bound::Under(40.0), "MiB", all);
    drop((first, open));
    Ok(())
}

fn until_asleep(instance: &Instance) -> Result<(), Failure> {
    let until = Instant::now() + PATIENCE;
    while instance.processes()?.has(ACCOUNTS) {
        if Instant::now() > until {
            return Err(Failure::new("the account's process stays although all of its sessions are in IDLE"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Memory that is no file's, KiB.
fn held(instance: &Instance) -> Result<[f64; 2], Failure> {
    let processes = instance.processes()?;
    let mut held = [0.0; 2];
    for (held, name) in held.iter_mut().zip(HOLDERS) {
        let octets = u32::try_from(processes.anonymous(name)?);
        *held = octets.map_or(f64::INFINITY, f64::from);
    }
    Ok(held)
}
