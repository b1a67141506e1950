//! `mox-authd`: the process around [`authd::service`]. See the library for what it is.

use std::{os::unix::net::UnixStream, path::Path, process::ExitCode};

use authd::{directory::Directory, service::Service};
use ipc_proto::{
    ChannelId,
    control::{Event, Order, Role, RoleSettings},
};
use worker_lib::{Control, Fault, Wiping, Worker};

/// Passwords pass through.
#[global_allocator]
static MEMORY: Wiping = Wiping;

fn main() -> ExitCode {
    worker_lib::main(Role::Authd, run)
}

fn run(worker: Worker) -> Result<(), Fault> {
    let RoleSettings::Authd(settings) = worker.settings.own.clone() else {
        return Err(Fault::new("authd was given another role's settings; restart moxd"));
    };
    let Some(path) = worker.settings.directory.clone() else {
        return Err(Fault::new("authd was given no directory; restart moxd"));
    };
    let directory = Directory::open(Path::new(&path), &worker.settings.hostname, settings.rounds)?;
    let control = worker.lock_in()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let events = control.events();
        let service = Service::start(directory, &settings, Box::new(move |event| events.send(event)))?;
        let served = serve(&service, control).await;
        service.stop().await;
        served
    })
}

async fn serve(service: &Service, control: Control) -> Result<(), Fault> {
    control.events().send(Event::Ready);
    let mut control = control.into_async()?;
    while let Some((order, fds)) = control.next_order().await? {
        match order {
            Order::Channel { channel: ChannelId::AccountdAuthd, account: Some(account), .. } => {
                for fd in fds {
                    if let Err(error) = service.account_channel(account, UnixStream::from(fd)) {
                        tracing::error!(%account, "cannot serve an account's channel: {error}");
                    }
                }
            }
            Order::Channel { channel, account: _, run } => {
                for fd in fds {
                    // The other end finds its channel closed; everybody else goes on.
                    if let Err(error) = service.channel(channel, run, UnixStream::from(fd)) {
                        tracing::error!(?channel, "cannot serve a channel: {error}");
                    }
                }
            }
            Order::Stop { .. } => return Ok(()),
            other => service.order(&other),
        }
    }
    Ok(())
}
