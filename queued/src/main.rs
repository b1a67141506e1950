//! The process `mox-queued`: settings in, queue open, locked in, then one loop and one thread for the disk.

use std::{os::unix::net::UnixStream, path::Path, process::ExitCode, sync::Arc, time::Duration};

use ipc_proto::{
    AccountId, ChannelId, Violation,
    control::{Event, Order, QueuedSettings, Role, RoleSettings, ViolationKind},
};
use queued::{Disk, Host, Queue, Service, Spooled, Switchboard, system_clock};
use worker_lib::{AsyncControl, Control, Events, Fault, Worker};

/// Of the grace to stop in, what is left for the exit itself.
const LEAVING: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    worker_lib::main(Role::Queued, run)
}

fn run(worker: Worker) -> Result<(), Fault> {
    let RoleSettings::Queued(settings) = worker.settings.own.clone() else {
        return Err(Fault::new("settings of another role; restart moxd"));
    };
    let directory = worker
        .settings
        .directory
        .clone()
        .ok_or_else(|| Fault::new("no directory for the queue; restart moxd"))?;
    let host = Host { name: worker.settings.hostname.clone(), message_size: worker.settings.message_size };
    let mut queue = Queue::open(Path::new(&directory))?;
    let spooled = queue.take_spooled();
    let control = worker.lock_in()?;
    let disk = Disk::start(queue)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(serve(control, settings, host, disk, spooled))
}

async fn serve(
    control: Control,
    settings: QueuedSettings,
    host: Host,
    disk: Disk,
    spooled: Vec<Spooled>,
) -> Result<(), Fault> {
    let mut control = control.into_async()?;
    let events = control.events();
    let switchboard = Arc::new(Up(events.clone()));
    let service = Service::new(settings, host, disk, spooled, system_clock(), switchboard);
    tokio::spawn({
        let service = service.clone();
        async move { service.retry().await }
    });
    tokio::spawn({
        let service = service.clone();
        async move { service.forget_spooled().await }
    });
    events.send(Event::Ready);
    let grace = take_orders(&mut control, &service).await?;
    service.stop(grace.saturating_sub(LEAVING)).await;
    Ok(())
}

/// Until it is time to leave; within how much time.
async fn take_orders(control: &mut AsyncControl, service: &Service) -> Result<Duration, Fault> {
    while let Some((order, fds)) = control.next_order().await? {
        match order {
            Order::Channel { channel, account, run } => {
                let stream = fds.into_iter().next().map(UnixStream::from);
                match (channel, account, stream) {
                    (ChannelId::SmtpdQueued, None, Some(stream)) => service.smtpd(stream)?,
                    (ChannelId::SubmitdQueued, None, Some(stream)) => service.submitd(run, stream)?,
                    (ChannelId::AuthdQueued, None, Some(stream)) => service.notices(run, stream)?,
                    (ChannelId::QueuedAuthd, None, Some(stream)) => service.authd(stream)?,
                    (ChannelId::AdminQueued, None, Some(stream)) => service.admin(stream)?,
                    (ChannelId::QueuedAccountd, Some(account), Some(stream)) => {
                        service.account(account, stream)?;
                    }
                    _ => return Err(Fault::new("a channel that queued does not have; restart moxd")),
                }
            }
            Order::ChannelRefused(account) => service.account_refused(account),
            Order::Settings(settings) => {
                if let RoleSettings::Queued(own) = settings.own {
                    service.change(own);
                }
            }
            Order::Stop { grace_ms } => return Ok(Duration::from_millis(u64::from(grace_ms))),
            Order::Start(_)
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
            | Order::Resume(_) => {
                return Err(Fault::new("an order that is not for queued; restart moxd"));
            }
        }
    }
    // Without the supervisor nobody hears the answers.
    Ok(Duration::ZERO)
}

/// The supervisor, as the service sees it.
#[derive(Debug)]
struct Up(Events);

impl Switchboard for Up {
    fn open_delivery(&self, account: AccountId) {
        self.0.send(Event::OpenDelivery(account));
    }

    fn violation(&self, channel: ChannelId, account: Option<AccountId>, violation: Violation) {
        self.0.violation(channel, account, violation);
    }

    fn refused(&self, channel: ChannelId, kind: ViolationKind) {
        self.0.send(Event::Violation { channel, account: None, kind });
    }
}
