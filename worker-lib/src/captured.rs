//! A worker that plays a captured process. Only in builds with `--cfg captured`, which are never shipped.
//!
//!   `Order::Attack`: a script ──▶ one attempt a line, behind the lock ──▶ `Event::Attacked` each
//!
//! The system calls that lines try are in [`attempt`]; the tests run the same code in a process that is not locked in, so
//! that a refusal here can only come from the sandbox. What a line says on a channel in the role's place is in [`talk`];
//! [`crash`] is how it dies.
//! What shipped programs must not contain is [`MARKER`].

pub(crate) mod attempt;
mod crash;
pub(crate) mod sys;
mod talk;

use std::{
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Mutex, MutexGuard, PoisonError},
};

use ipc_proto::{
    ChannelId,
    control::{Event, Order},
};

use self::attempt::{Attempt, Held};
pub(crate) use self::crash::fault_in;
use crate::Events;

/// Told apart in a program's octets; part of the line that is logged, so that it cannot be left out.
const MARKER: &str = "moxd-plays-a-captured-process";

/// The step that ends a script.
const END: u32 = u32::MAX;

/// The channels that this process was handed, by name, newest last. Their numbers are borrowed: a channel that was
/// closed since is one more fd that an attacker tries in vain.
static CHANNELS: Mutex<Vec<Held>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A channel came. What the role is to do with it: nothing, if the attacker wants it for itself.
pub(crate) fn channel(order: Order, fds: Vec<OwnedFd>) -> Option<(Order, Vec<OwnedFd>)> {
    let Order::Channel { channel, account, run: _ } = order else { return Some((order, fds)) };
    let Some(fd) = fds.first() else { return Some((order, fds)) };
    if let Some(plan) = talk::plan(channel) {
        // queued, which is to ask on it, waits for it, and goes on without.
        let waits = plan.asks() && channel == ChannelId::QueuedAccountd;
        let refused = account.filter(|_| waits).map(|account| (Order::ChannelRefused(account), Vec::new()));
        for fd in fds {
            talk::take(channel, UnixStream::from(fd), &plan);
        }
        return refused;
    }
    lock(&CHANNELS).push(Held { name: format!("{channel:?}"), fd: fd.as_raw_fd() });
    Some((order, fds))
}

/// Tries each line of the script and tells the supervisor how it ended.
pub(crate) fn run(script: &str, fds: Vec<OwnedFd>, events: &Events) {
    // An order to attack brings none; if it ever does, they are not for keeping.
    drop(fds);
    tracing::warn!("{MARKER}: {} lines", script.lines().count());
    let held = lock(&CHANNELS).clone();
    for line in script.lines() {
        let Some((number, rest)) =
            line.split_once(' ').and_then(|(number, rest)| Some((number.parse().ok()?, rest)))
        else {
            tracing::error!(?line, "not a line of an attack");
            continue;
        };
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        let results = talk::run(&words)
            .or_else(|| crash::run(&words))
            .or_else(|| Some(vec![Attempt::parse(line, &held)?.1.run()]));
        let Some(results) = results else {
            tracing::error!(?line, "not a line of an attack");
            continue;
        };
        for errno in results {
            events.send(Event::Attacked { step: number, errno });
        }
    }
    events.send(Event::Attacked { step: END, errno: 0 });
}
