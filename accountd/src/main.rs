//! The process `mox-accountd`: settings in, locked in, store open, then orders until nobody needs the account.

use std::{
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use accountd::{Account, Leaving, Next, Supervisor};
use ipc_proto::{
    AccountId, ChannelId, SessionId, Violation,
    control::{Event, Role, RoleSettings},
};
use worker_lib::{Events, Fault, Worker};

/// Of the grace to stop in, what is left for closing the store.
const CLOSING: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    worker_lib::main(Role::Accountd, run)
}

fn run(worker: Worker) -> Result<(), Fault> {
    let RoleSettings::Accountd(settings) = worker.settings.own.clone() else {
        return Err(Fault::new("settings of another role; restart moxd"));
    };
    let directory = worker
        .settings
        .directory
        .clone()
        .ok_or_else(|| Fault::new("no directory for the account; restart moxd"))?;
    let message_size = worker.settings.message_size;
    let mut control = worker.lock_in()?;
    let events = control.events();
    let up = Arc::new(Up { events: events.clone(), account: settings.account });
    // After the lock, because the store starts its writer.
    let account = Account::open(Path::new(&directory), &settings, message_size, up)?;
    events.send(Event::Ready);

    let quiet = Duration::from_millis(u64::from(settings.quiet_ms));
    let hibernate = Duration::from_millis(u64::from(settings.hibernate_after_ms));
    let leaving = Leaving::new(account.activity(), quiet, hibernate);
    loop {
        match control.next_order_within(leaving.wait(Instant::now()))? {
            Err(()) => {
                if leaving.is_due(Instant::now()) {
                    events.send(Event::Quiet);
                }
            }
            // Without the supervisor nobody hears the answers.
            Ok(None) => return Ok(account.close(Duration::ZERO)?),
            Ok(Some((order, fds))) => match account.take(order, fds)? {
                Next::Continue => {}
                Next::Leave { asked } if leaving.is_allowed(asked) && account.put_to_sleep() => {
                    leaving.go();
                    return Ok(account.close(Duration::ZERO)?);
                }
                Next::Leave { .. } => {
                    leaving.stay();
                    tracing::debug!("staying: something is under way, or came in meanwhile");
                    events.send(Event::Ready);
                }
                Next::Stop(grace) => return Ok(account.close(grace.saturating_sub(CLOSING))?),
            },
        }
    }
}

/// The supervisor, as the account sees it.
#[derive(Debug)]
struct Up {
    events: Events,
    account: AccountId,
}

impl Supervisor for Up {
    fn quiet(&self) {
        self.events.send(Event::Quiet);
    }

    fn asleep(&self, session: SessionId, count: u32) {
        self.events.send(Event::Asleep { session, count });
    }

    fn session_ended(&self, session: SessionId) {
        self.events.send(Event::SessionEnded(session));
    }

    fn full(&self) {
        self.events.send(Event::Full);
    }

    fn violation(&self, channel: ChannelId, violation: Violation) {
        self.events.violation(channel, Some(self.account), violation);
    }
}
