//! Copies bytes both ways between a client and its session. Neither idle nor busy connections have a buffer: all use the
//! thread's one; only what a slow reader has not taken yet is kept.

use std::{
    cell::RefCell,
    fmt,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};

/// Octets read at once.
const READ: usize = 64 * 1024;

/// Reads of one connection before the others get their turn.
const TURN: u32 = 4;

/// A connection that has to leave does so when nothing has moved for so long: the answer to a command that was under
/// way has passed then.
const QUIET: Duration = Duration::from_millis(300);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The session is over; all it sent has reached the client's socket.
    Session,
    /// The client's connection or the session's failed.
    Failed(io::Error),
    /// The connection had to leave.
    Left,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session => f.write_str("by the session"),
            Self::Failed(error) => error.fmt(f),
            Self::Left => f.write_str("told to leave"),
        }
    }
}

/// What passed, octets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// From the client.
    pub(crate) up: u64,
    /// To the client.
    pub(crate) down: u64,
}

/// Runs until the session ends, either side fails, or `leave` says so. A client that says it sends no more (half
/// close) still gets what its session has for it.
pub(crate) async fn relay<C, S>(
    client: &mut C,
    session: &mut S,
    first: Vec<u8>,
    leave: impl Future<Output = ()>,
) -> (End, Passed)
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut pumps = Pumps { up: Pump { held: first, ..Pump::default() }, down: Pump::default() };
    let end = {
        let mut leave = pin!(leave);
        let until_left = poll_fn(|context| match leave.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => pumps.poll(context, client, session).map(Some),
        });
        match until_left.await {
            Some(end) => end,
            None => pumps.until_quiet(client, session).await,
        }
    };
    (end, pumps.passed())
}

struct Pumps {
    up: Pump,
    down: Pump,
}

impl Pumps {
    const fn passed(&self) -> Passed {
        Passed { up: self.up.passed, down: self.down.passed }
    }

    fn poll<C, S>(&mut self, context: &mut Context<'_>, client: &mut C, session: &mut S) -> Poll<End>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // Both are polled before either's end counts: the session's last words go out even if the client is gone.
        let down = self.down.poll(context, session, client);
        let up = self.up.poll(context, client, session);
        match (down, up) {
            (Poll::Ready(Ok(())), _) => Poll::Ready(End::Session),
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(End::Failed(error)),
            (Poll::Pending, Poll::Ready(Ok(())) | Poll::Pending) => Poll::Pending,
        }
    }

    async fn until_quiet<C, S>(&mut self, client: &mut C, session: &mut S) -> End
    where
        C: AsyncRead + AsyncWrite + Unpin,
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let before = self.passed();
            match timeout(QUIET, poll_fn(|context| self.poll(context, client, session))).await {
                Ok(end) => return end,
                Err(_) if self.passed() == before => return End::Left,
                Err(_) => {}
            }
        }
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Pump {
    /// Read and not yet taken by the writer.
    held: Vec<u8>,
    /// So much of it is taken.
    taken: usize,
    /// Written and perhaps still in the writer's own buffer.
    unflushed: bool,
    state: State,
    passed: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The reader has come to its end; the writer is to be told.
    Ending,
    /// The writer was told.
    Ended,
}

impl Pump {
    /// Ready when the reader's end has been passed on.
    fn poll<R, W>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..TURN {
            ready!(self.drain(context, writer))?;
            match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ending => {
                    // A writer that is gone already needs not be told.
                    let _ = ready!(Pin::new(&mut *writer).poll_shutdown(context));
                    self.state = State::Ended;
                    return Poll::Ready(Ok(()));
                }
                State::Open => {}
            }
            let copied = SCRATCH.with_borrow_mut(|scratch| self.copy(context, reader, writer, scratch));
            match copied {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *writer).poll_flush(context))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
        // There is more to read: the others first.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is held.
    fn drain<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.held.get(self.taken..) {
            self.taken += written(ready!(Pin::new(&mut *writer).poll_write(context, rest)))?;
            self.unflushed = true;
        }
        if self.taken > 0 {
            self.passed += self.taken as u64;
            (self.held, self.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and writes as much of it as the writer takes; the rest is held. Pending: nothing to read.
    fn copy<R, W>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(reader).poll_read(context, &mut buffer))?;
        let mut rest = buffer.filled();
        if rest.is_empty() {
            self.state = State::Ending;
        }
        while !rest.is_empty() {
            match Pin::new(&mut *writer).poll_write(context, rest) {
                Poll::Ready(result) => {
                    let count = written(result)?;
                    self.passed += count as u64;
                    self.unflushed = true;
                    rest = rest.get(count..).unwrap_or_default();
                }
                Poll::Pending => {
                    self.held = rest.to_vec();
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn written(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        join,
        time::{Instant, sleep},
    };

    use super::*;

    /// A client and a session with a relay in between, each able to hold `room` octets.
    async fn between<R>(
        room: usize,
        first: &[u8],
        leave: impl Future<Output = ()>,
        ends: impl AsyncFnOnce(DuplexStream, DuplexStream) -> R,
    ) -> (End, Passed, R) {
        let (client, mut client_side) = duplex(room);
        let (session, mut session_side) = duplex(room);
        let ((end, passed), result) = join!(
            async {
                let ended = relay(&mut client_side, &mut session_side, first.to_vec(), leave).await;
                drop((client_side, session_side));
                ended
            },
            ends(client, session)
        );
        (end, passed, result)
    }

    async fn read_all(stream: &mut DuplexStream) -> Vec<u8> {
        let mut octets = Vec::new();
        stream.read_to_end(&mut octets).await.unwrap();
        octets
    }

    #[tokio::test]
    async fn what_was_pipelined_behind_the_login_comes_first() {
        let (_, passed, got) = between(100, b"a NOOP\r\n", pending(), async |mut client, mut session| {
            client.write_all(b"b LOGOUT\r\n").await.unwrap();
            client.shutdown().await.unwrap();
            let got = read_all(&mut session).await;
            drop(session);
            got
        })
        .await;
        assert_eq!(got, b"a NOOP\r\nb LOGOUT\r\n");
        assert_eq!(passed, Passed { up: 18, down: 0 });
    }

    #[tokio::test]
    async fn much_more_than_fits_passes_whole_both_ways_at_once() {
        let up: Vec<u8> = (0..1_000_003_u32).map(|n| n.to_le_bytes()[1]).collect();
        let down: Vec<u8> = up.iter().rev().copied().collect();
        for room in [1 << 16, 777] {
            let (end, passed, (got_up, got_down)) = between(room, b"", pending(), async |client, session| {
                let (mut client_in, mut client_out) = tokio::io::split(client);
                let (mut session_in, mut session_out) = tokio::io::split(session);
                let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
                let (_, _, _, _) = join!(
                    async {
                        client_out.write_all(&up).await.unwrap();
                        client_out.shutdown().await.unwrap();
                    },
                    async {
                        session_out.write_all(&down).await.unwrap();
                    },
                    async {
                        let mut got = vec![0; down.len()];
                        client_in.read_exact(&mut got).await.unwrap();
                        got_down = got;
                    },
                    async {
                        session_in.read_to_end(&mut got_up).await.unwrap();
                    },
                );
                session_out.shutdown().await.unwrap();
                (got_up, got_down)
            })
            .await;
            assert!(matches!(end, End::Session), "{end}");
            assert_eq!((passed.up, passed.down), (1_000_003, 1_000_003));
            assert!(got_up == up && got_down == down, "octets changed on the way");
        }
    }

    #[tokio::test]
    async fn a_client_that_has_said_all_still_gets_its_answers() {
        let (end, _, got) = between(100, b"", pending(), async |mut client, mut session| {
            client.write_all(b"a LOGOUT\r\n").await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(read_all(&mut session).await, b"a LOGOUT\r\n");
            session.write_all(b"* BYE\r\na OK\r\n").await.unwrap();
            drop(session);
            read_all(&mut client).await
        })
        .await;
        assert_eq!(got, b"* BYE\r\na OK\r\n");
        assert!(matches!(end, End::Session), "{end}");
    }

    #[tokio::test]
    async fn a_client_that_is_gone_ends_its_session() {
        let (_, _, got) = between(100, b"", pending(), async |client, mut session| {
            drop(client);
            read_all(&mut session).await
        })
        .await;
        assert_eq!(got, b"");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_to_leave_does_so_when_nothing_moves_any_more() {
        let start = Instant::now();
        let leave = sleep(Duration::from_secs(1));
        let (end, passed, _) = between(100, b"", leave, async |mut client, mut session| {
            // An answer that is under way when the order comes is passed on in full.
            for _ in 0..10 {
                sleep(Duration::from_millis(200)).await;
                session.write_all(b"* 1 FETCH\r\n").await.unwrap();
            }
            read_all(&mut client).await
        })
        .await;
        assert!(matches!(end, End::Left), "{end}");
        assert_eq!(passed.down, 110);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn an_idle_relay_holds_no_buffer() {
        let (client, mut client_side) = duplex(100);
        let (session, mut session_side) = duplex(100);
        let mut pumps = Pumps { up: Pump::default(), down: Pump::default() };
        let (mut client, mut session) = (client, session);
        client.write_all(b"a IDLE\r\n").await.unwrap();
        session.write_all(b"+ idling\r\n").await.unwrap();
        let waker = std::task::Waker::noop();
        let mut context = Context::from_waker(waker);
        assert!(pumps.poll(&mut context, &mut client_side, &mut session_side).is_pending());
        assert_eq!(pumps.passed(), Passed { up: 8, down: 10 });
        assert_eq!((pumps.up.held.capacity(), pumps.down.held.capacity()), (0, 0));
        assert!(size_of::<Pumps>() <= 128, "{}", size_of::<Pumps>());
    }
}
