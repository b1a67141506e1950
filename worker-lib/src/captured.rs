//! A worker that plays a captured process. Only in builds with `--cfg captured`, which are never shipped.
//!
//!   `Order::Attack`: a script ──▶ one raw system call a line, tried behind the lock ──▶ `Event::Attacked` each
//!
//! The lines and what they call are in [`attempt`]; the tests run the same code in a process that is not locked in, so
//! that a refusal here can only come from the sandbox. What shipped programs must not contain is [`MARKER`].

pub(crate) mod attempt;
pub(crate) mod sys;

use std::{
    os::fd::{AsRawFd, OwnedFd},
    sync::{Mutex, PoisonError},
};

use ipc_proto::control::{Event, Order};

use self::attempt::{Attempt, Held};
use crate::Events;

/// Told apart in a program's octets; part of the line that is logged, so that it cannot be left out.
const MARKER: &str = "moxd-plays-a-captured-process";

/// The step that ends a script.
const END: u32 = u32::MAX;

/// The channels that this process was handed, by name, newest last. Their numbers are borrowed: a channel that was
/// closed since is one more fd that an attacker tries in vain.
static CHANNELS: Mutex<Vec<Held>> = Mutex::new(Vec::new());

/// Remembers the number of a channel's fd before the role takes it.
pub(crate) fn remember(order: &Order, fds: &[OwnedFd]) {
    if let (Order::Channel { channel, .. }, Some(fd)) = (order, fds.first()) {
        let mut held = CHANNELS.lock().unwrap_or_else(PoisonError::into_inner);
        held.push(Held { name: format!("{channel:?}"), fd: fd.as_raw_fd() });
    }
}

/// Tries each line of the script and tells the supervisor how it ended.
pub(crate) fn run(script: &str, fds: Vec<OwnedFd>, events: &Events) {
    // An order to attack brings none; if it ever does, they are not for keeping.
    drop(fds);
    tracing::warn!("{MARKER}: {} lines", script.lines().count());
    let held = CHANNELS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for line in script.lines() {
        let Some((number, attempt)) = Attempt::parse(line, &held) else {
            tracing::error!(?line, "not a line of an attack");
            continue;
        };
        events.send(Event::Attacked { step: number, errno: attempt.run() });
    }
    events.send(Event::Attacked { step: END, errno: 0 });
}
