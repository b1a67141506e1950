//! A connection's task, which notes for as long as it runs that it does.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use ipc_proto::ConnectionId;
use worker_lib::Slot;

/// The slot of the front's own thread; the others' are theirs.
pub(crate) const CONNECTIONS: usize = 0;

/// A future that notes its connection whenever it is polled.
#[derive(Debug)]
pub(crate) struct Recorded<F> {
    slot: &'static Slot,
    connection: ConnectionId,
    /// Held by its address: the task is not made larger by as much as the future has.
    future: Pin<Box<F>>,
}

impl<F> Recorded<F> {
    /// Polled on the thread that has this slot.
    pub(crate) fn new(slot: &'static Slot, connection: ConnectionId, future: F) -> Self {
        Self { slot, connection, future: Box::pin(future) }
    }
}

impl<F: Future> Future for Recorded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _working = self.slot.work_on(self.connection);
        self.future.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn a_connection_is_noted_while_its_task_runs_and_not_while_it_waits() {
        let slot = Slot::of_thread(7);
        let task = |number| {
            Recorded::new(slot, ConnectionId(number), async move {
                for _ in 0..3 {
                    assert_eq!(slot.noted(), number);
                    yield_now().await;
                }
                slot.noted()
            })
        };
        let (one, other) = (tokio::spawn(task(1)), tokio::spawn(task(2)));
        yield_now().await;
        assert_eq!(slot.noted(), 0, "both wait");
        assert_eq!((one.await.unwrap(), other.await.unwrap()), (1, 2));
        let panicked = tokio::spawn(Recorded::new(slot, ConnectionId(3), async { panic!("as tasks do") }));
        assert!(panicked.await.unwrap_err().is_panic());
        assert_eq!(slot.noted(), 0);
    }
}
