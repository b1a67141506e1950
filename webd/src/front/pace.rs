//! How slow a client may be: so long from the first octet of a request to the end of its header, so long between
//! requests. Answers are ready at once; a client that does not read them counts as one that does nothing.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Instant, sleep_until},
};

/// One client's pace.
#[derive(Debug)]
pub(crate) struct Pace {
    header: Duration,
    idle: Duration,
    now: Mutex<Phase>,
    /// Told when the deadline has come nearer.
    nearer: Notify,
}

/// What the client is doing, and until when.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Between { until: Instant },
    Header { until: Instant },
}

impl Pace {
    pub(crate) fn new(header: Duration, idle: Duration) -> Arc<Self> {
        let now = Mutex::new(Phase::Between { until: Instant::now() + idle });
        Arc::new(Self { header, idle, now, nearer: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Octets have come.
    fn received(&self) {
        let mut phase = self.lock();
        if let Phase::Between { .. } = *phase {
            *phase = Phase::Header { until: Instant::now() + self.header };
            self.nearer.notify_one();
        }
    }

    /// A whole header has come.
    pub(crate) fn requested(&self) {
        *self.lock() = Phase::Between { until: Instant::now() + self.idle };
    }

    /// Returns when the client has been too slow.
    pub(crate) async fn too_slow(&self) {
        loop {
            let (Phase::Between { until } | Phase::Header { until }) = *self.lock();
            if until <= Instant::now() {
                return;
            }
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.nearer.notified() => {}
            }
        }
    }
}

/// A connection whose reads are noted.
#[derive(Debug)]
pub(crate) struct Paced<S> {
    pub(crate) stream: S,
    pub(crate) pace: Arc<Pace>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            this.pace.received();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(60);

    async fn second() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_nothing_has_the_idle_time() {
        let start = Instant::now();
        Pace::new(HEADER, IDLE).too_slow().await;
        assert_eq!(start.elapsed(), IDLE);
    }

    /// Attack class 14: an octet now and then does not prolong a header.
    #[tokio::test(start_paused = true)]
    async fn a_header_has_one_deadline_from_its_first_octet() {
        let (pace, start) = (Pace::new(HEADER, IDLE), Instant::now());
        let dripping = async {
            loop {
                second().await;
                pace.received();
            }
        };
        tokio::select! {
            () = dripping => {}
            () = pace.too_slow() => {}
        }
        assert_eq!(start.elapsed(), HEADER + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_gives_the_idle_time_anew() {
        let (pace, start) = (Pace::new(HEADER, IDLE), Instant::now());
        let asking = async {
            for _ in 0..100 {
                second().await;
                pace.received();
                pace.requested();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = asking => {}
            () = pace.too_slow() => {}
        }
        assert_eq!(start.elapsed(), IDLE + Duration::from_secs(100));
    }
}
