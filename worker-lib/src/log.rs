//! A worker's log: lines as datagrams to the supervisor, which adds the time and the process and writes them out. A
//! full socket drops the line and counts it; a worker never waits for its log.
//!
//! ```text
//! LEVEL message ␟ key=value ␟ key=value        ␟ is LOG_SEPARATOR; there are no other control characters
//! ```

use std::{
    fmt::{self, Debug, Write as _},
    io::{self, ErrorKind, Write},
    os::fd::AsFd,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use ipc_proto::control::{FAULT_MARK, LOG_SEPARATOR, LogSettings, MAX_LOG_LINE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::RecordFields,
    filter::Targets,
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
};

static DROPPED: AtomicU32 = AtomicU32::new(0);

/// How to change the filter while the process runs.
static CHANGE: OnceLock<Box<dyn Fn(Targets) + Send + Sync>> = OnceLock::new();

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

fn filter(settings: &LogSettings) -> Targets {
    settings.filter.parse().unwrap_or_else(|_| Targets::new().with_default(Level::INFO))
}

/// From now on as these settings say.
pub(crate) fn change(settings: &LogSettings) {
    if let Some(change) = CHANGE.get() {
        change(filter(settings));
    }
}

/// Starts the log as the settings say. The supervisor checked the filter.
pub(crate) fn start(settings: &LogSettings) {
    let (filter, handle) = reload::Layer::new(filter(settings));
    let lines =
        tracing_subscriber::fmt::layer().with_writer(Datagrams).fmt_fields(Separated).event_format(Separated);
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    let _ = CHANGE.set(Box::new(move |filter| {
        // Fails only when the subscriber is gone.
        let _ = handle.reload(filter);
    }));
    // A second start cannot happen; a worker without log would still be right to go on.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Events and the fields of spans in the form above.
struct Separated;

impl<S, N> FormatEvent<S, N> for Separated
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(out, "{} ", event.metadata().level())?;
        context.format_fields(out.by_ref(), event)?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                out.write_str(fields)?;
            }
        }
        Ok(())
    }
}

impl<'w> FormatFields<'w> for Separated {
    fn format_fields<R: RecordFields>(&self, out: Writer<'w>, fields: R) -> fmt::Result {
        let mut parts = Parts { out, outcome: Ok(()) };
        fields.record(&mut parts);
        parts.outcome
    }
}

/// The message, which tracing records first, and then each field.
struct Parts<'w> {
    out: Writer<'w>,
    outcome: fmt::Result,
}

impl Visit for Parts<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let out = &mut self.out;
        self.outcome = self.outcome.and_then(|()| {
            if field.name() != "message" {
                write!(out, "{LOG_SEPARATOR}{}=", field.name())?;
            }
            write!(Escaping(out), "{value:?}")
        });
    }
}

/// Lets no control character through: what a client said cannot begin a field.
struct Escaping<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !text.contains(char::is_control) {
            return self.0.write_str(text);
        }
        text.chars().try_for_each(|c| match c.is_control() {
            true => write!(self.0, "{}", c.escape_unicode()),
            false => self.0.write_char(c),
        })
    }
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what the formatter writes.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Attack class 33: what a client said begins no field and no line.
    #[test]
    fn a_line_is_its_level_its_message_and_its_fields() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .fmt_fields(Separated)
            .event_format(Separated)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("imap", connection = 7);
            let _entered = span.enter();
            let helo = "a\u{1f}code=250\r\nINFO b";
            tracing::warn!(code = 554, helo = %helo, name = ?"x\u{1f}y", text = "é", "message {}", "refused");
        });
        let line = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            line.split(LOG_SEPARATOR).collect::<Vec<_>>(),
            [
                "WARN message refused",
                "code=554",
                "helo=a\\u{1f}code=250\\u{d}\\u{a}INFO b",
                "name=\"x\\u{1f}y\"",
                "text=é",
                "connection=7",
            ]
        );
    }
}
