//! The thread that keeps the search index up to date. It is nobody's business: the process does not stay for it, and
//! what it did not come to is done by the next one.

use std::thread::{self, JoinHandle};

use store_lib::Store;

use crate::account::STACK;

/// The thread, until dropped.
#[derive(Debug)]
pub(crate) struct Indexing {
    store: Store,
    thread: Option<JoinHandle<()>>,
}

impl Indexing {
    /// Without a thread searches are slower, and nothing else is wrong.
    pub(crate) fn start(store: &Store) -> Self {
        let (store, kept) = (store.clone(), store.clone());
        let thread = thread::Builder::new().name("search index".to_owned()).stack_size(STACK);
        let thread = thread.spawn(move || kept.keep_index());
        if let Err(error) = &thread {
            tracing::warn!("cannot start a thread for the search index: {error}");
        }
        Self { store, thread: thread.ok() }
    }
}

impl Drop for Indexing {
    /// Waits for it: a few milliseconds.
    fn drop(&mut self) {
        self.store.stop_keeping();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the search index panicked; please report this");
        }
    }
}
