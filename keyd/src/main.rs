//! `mox-keyd`: private keys and signatures. What it promises stands in the crate's library.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::ExitCode,
    sync::{Arc, Barrier, mpsc},
    thread,
};

use ipc_proto::{
    ChannelId,
    control::{Event, Order, Role, RoleSettings},
};
use keyd::{Locked, answer::Desk, group::Front};
use worker_lib::{Events, Fault, Worker};

/// A signing thread needs little: aws-lc works in a few kilobytes.
const STACK: usize = 256 * 1024;

fn main() -> ExitCode {
    worker_lib::main(Role::Keyd, run)
}

fn run(worker: Worker) -> Result<(), Fault> {
    let settings = worker.settings.clone();
    let RoleSettings::Keyd(own) = settings.own else {
        return Err(Fault::new("these are another role's settings"));
    };
    let directory =
        settings.directory.ok_or_else(|| Fault::new("keyd was given no directory for its keys"))?;
    // Before any key is read, so that no page with one was ever unlocked.
    let mut locked = keyd::lock_memory();
    let mut desks = Vec::with_capacity(Front::ALL.len());
    for front in Front::ALL {
        desks.push(Desk::open(front, Path::new(&directory), &own)?);
    }
    if !matches!(locked, Locked::All) {
        locked = keyd::lock_memory();
    }
    tracing::info!("memory with keys: {locked}");
    let mut control = worker.lock_in()?;

    let warmed = Arc::new(Barrier::new(desks.len() + 1));
    let mut threads = Vec::with_capacity(desks.len());
    for desk in desks {
        let (channels, given) = mpsc::channel();
        let (front, warmed, events) = (desk.front(), Arc::clone(&warmed), control.events());
        thread::Builder::new().name(format!("sign-{front:?}").to_lowercase()).stack_size(STACK).spawn(
            move || {
                serve(desk, &given, &warmed, &events);
            },
        )?;
        threads.push((front, channels));
    }
    warmed.wait();
    control.events().send(Event::Ready);

    while let Some((order, fds)) = control.next_order()? {
        match order {
            Order::Channel { channel, account: _, run: _ } => give(&threads, channel, fds)?,
            // Names and rates of keys count from the start.
            Order::Settings(_) => {}
            // Every answer is given before the next question is read: there is nothing to finish.
            Order::Stop { .. } => return Ok(()),
            Order::Start(_)
            | Order::ChannelRefused(_)
            | Order::Listener(_)
            | Order::Session(_)
            | Order::SessionRefused(_)
            | Order::Connected(_)
            | Order::ConnectRefused(_)
            | Order::SessionEnded(_)
            | Order::AccountReady(_)
            | Order::AccountRefused(_)
            | Order::Crashed { .. }
            | Order::Quota(_)
            | Order::Guest { .. }
            | Order::Shared { .. }
            | Order::SharedRefused { .. }
            | Order::Full(_)
            | Order::Leave { .. }
            | Order::ListenerGone(_)
            | Order::Ping(_)
            | Order::Attack(_)
            | Order::Waking(_)
            | Order::Resume(_) => tracing::warn!("an order that is not for keyd"),
        }
    }
    Ok(())
}

/// Hands a new end of a channel to the thread whose front it is.
fn give(
    threads: &[(Front, mpsc::Sender<UnixStream>)],
    channel: ChannelId,
    fds: Vec<OwnedFd>,
) -> Result<(), Fault> {
    let Some(front) = Front::of(channel) else {
        tracing::warn!(?channel, "a channel that is not keyd's");
        return Ok(());
    };
    for end in fds {
        let thread = threads.iter().find(|(of, _)| *of == front).map(|(_, channels)| channels);
        if thread.is_none_or(|channels| channels.send(UnixStream::from(end)).is_err()) {
            return Err(Fault::new(format!("the signing thread of {front:?} has ended")));
        }
    }
    Ok(())
}

/// One front's thread: one channel after the other, as the front restarts.
fn serve(mut desk: Desk, given: &mpsc::Receiver<UnixStream>, warmed: &Barrier, events: &Events) {
    desk.warm();
    warmed.wait();
    for end in given {
        if let Err(violation) = desk.serve(end) {
            events.violation(desk.front().channel(), None, violation);
        }
    }
}
