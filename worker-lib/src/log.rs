//! A worker's log: lines as datagrams to the supervisor, which adds the time and the process and writes them out. A
//! full socket drops the line and counts it; a worker never waits for its log.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicU32, Ordering},
};

use ipc_proto::control::{LogSettings, MAX_LOG_LINE};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

static DROPPED: AtomicU32 = AtomicU32::new(0);

/// Lines dropped since the last call.
pub(crate) fn take_dropped() -> u32 {
    DROPPED.swap(0, Ordering::Relaxed)
}

/// Before there are settings.
pub(crate) fn plain(line: &str) {
    let _ = writeln!(io::stderr(), "ERROR {line}");
}

/// Starts the log as the settings say. The supervisor checked the filter.
pub(crate) fn start(settings: &LogSettings) {
    let filter = EnvFilter::try_new(&settings.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Datagrams)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .finish();
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
