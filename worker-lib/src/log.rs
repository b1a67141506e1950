//! A worker's log: lines as datagrams to the supervisor, which adds the time and the process and writes them out. A
//! full socket drops the line and counts it; a worker never waits for its log.

use std::{
    io::{self, ErrorKind, Write},
    os::fd::AsFd,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use ipc_proto::control::{FAULT_MARK, LogSettings, MAX_LOG_LINE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

static DROPPED: AtomicU32 = AtomicU32::new(0);

/// How to change the filter while the process runs.
static CHANGE: OnceLock<Box<dyn Fn(EnvFilter) + Send + Sync>> = OnceLock::new();

/// How long the last line waits for room, milliseconds.
const LAST_LINE: u8 = 250;

/// Lines dropped since the last call.
pub(crate) fn take_dropped() -> u32 {
    DROPPED.swap(0, Ordering::Relaxed)
}

/// Why this process ends, for the supervisor's line about it. Works before there are settings, and whatever is filtered.
pub(crate) fn fault(cause: &str) {
    let line = format!("{FAULT_MARK}{cause}");
    let line = line.as_bytes().get(..line.floor_char_boundary(MAX_LOG_LINE)).unwrap_or_default();
    let mut stderr = io::stderr();
    if stderr.write(line).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
        // A log that is full delays this one line, not the end.
        let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        let _ = poll(&mut fds, PollTimeout::from(LAST_LINE));
        let _ = stderr.write(line);
    }
}

fn filter(settings: &LogSettings) -> EnvFilter {
    EnvFilter::try_new(&settings.filter).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// From now on as these settings say.
pub(crate) fn change(settings: &LogSettings) {
    if let Some(change) = CHANGE.get() {
        change(filter(settings));
    }
}

/// Starts the log as the settings say. The supervisor checked the filter.
pub(crate) fn start(settings: &LogSettings) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(settings))
        .with_writer(Datagrams)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .with_filter_reloading();
    let handle = builder.reload_handle();
    let subscriber = builder.finish();
    let _ = CHANGE.set(Box::new(move |filter| {
        // Fails only when the subscriber is gone.
        let _ = handle.reload(filter);
    }));
    // A second start cannot happen; a worker without log would still be right to go on.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct Datagrams;

impl<'a> MakeWriter<'a> for Datagrams {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line
    }
}

/// One line, which the formatter writes in one piece.
struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let short = line.get(..MAX_LOG_LINE).unwrap_or(line);
        if io::stderr().write(short).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
