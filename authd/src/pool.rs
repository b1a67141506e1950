//! The threads that hash passwords, and the fair queue before them.

mod queue;

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tokio::sync::oneshot;

pub use self::queue::{Full, Lane, Queue};
use crate::{
    limits::Block,
    password::Password,
    verifier::{Credential, Keyring},
};

/// Threads, at most.
const MAX_THREADS: u32 = 16;

/// One password to check. It is handed back with the verdict, to be remembered as proved.
#[derive(Debug)]
pub struct Job {
    /// Against what.
    pub keyring: Arc<Keyring>,
    /// What was typed.
    pub password: Password,
}

/// Which password it was, if any, and what was typed.
pub type Verdict = (Option<Credential>, Password);

struct Waiting {
    job: Job,
    verdict: oneshot::Sender<Verdict>,
}

struct Shared {
    queue: Mutex<State>,
    more: Condvar,
    rounds: AtomicU64,
}

struct State {
    queue: Queue<Block, Waiting>,
    stopped: bool,
}

/// The threads. Dropped, they finish what they hash and end; what waits is never judged.
pub struct Pool {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pool(..)")
    }
}

impl Pool {
    /// Starts the threads, at least one.
    pub fn start(threads: u32) -> io::Result<Self> {
        let pool = Self {
            shared: Arc::new(Shared {
                queue: Mutex::new(State { queue: Queue::default(), stopped: false }),
                more: Condvar::new(),
                rounds: AtomicU64::new(0),
            }),
        };
        for number in 1..=threads.clamp(1, MAX_THREADS) {
            let shared = Arc::clone(&pool.shared);
            thread::Builder::new().name(format!("hash-{number}")).spawn(move || work(&shared))?;
        }
        Ok(pool)
    }

    /// Puts a check in its source's queue. Whoever no longer waits for the verdict is passed over unhashed.
    pub fn check(&self, lane: Lane, source: Block, job: Job) -> Result<oneshot::Receiver<Verdict>, Full> {
        let (verdict, judged) = oneshot::channel();
        let mut state = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        state.queue.push(lane, source, Waiting { job, verdict })?;
        drop(state);
        self.shared.more.notify_one();
        Ok(judged)
    }

    /// Rounds of PBKDF2 done since the start.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.shared.rounds.load(Ordering::Relaxed)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.shared.more.notify_all();
    }
}

fn work(shared: &Shared) {
    loop {
        let mut state = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Waiting { job, verdict } = loop {
            if state.stopped {
                return;
            }
            match state.queue.pop() {
                Some(waiting) => break waiting,
                None => state = shared.more.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(state);
        if verdict.is_closed() {
            continue;
        }
        let found = job.keyring.check(&job.password);
        shared.rounds.fetch_add(u64::from(job.keyring.rounds().get()), Ordering::Relaxed);
        let _ = verdict.send((found, job.password));
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use ipc_proto::Secret;

    use super::*;
    use crate::verifier::Verifier;

    #[test]
    fn verdicts_are_right_and_rounds_are_counted() {
        let pool = Pool::start(2).unwrap();
        let word = |text: &str| Password::prepare(&Secret(text.as_bytes().to_vec())).unwrap();
        let verifier = Arc::new(Verifier::new(&word("moxmoxmox"), NonZeroU32::new(100).unwrap()).unwrap());
        let verdicts: Vec<_> = ["moxmoxmox", "moxmoxmo", "moxmoxmox"]
            .map(|typed| {
                let keyring = Arc::new(Keyring::of(Arc::clone(&verifier)));
                let job = Job { keyring, password: word(typed) };
                pool.check(Lane::Strange, Block::V4(1, 32), job).unwrap()
            })
            .into_iter()
            .map(|judged| judged.blocking_recv().unwrap().0.is_some())
            .collect();
        assert_eq!(verdicts, [true, false, true]);
        assert_eq!(pool.rounds(), 300);
    }

    #[test]
    fn without_its_pool_a_check_is_dropped_and_not_waited_for() {
        let pool = Pool::start(1).unwrap();
        pool.shared.queue.lock().unwrap().stopped = true;
        let password = Password::prepare(&Secret(b"moxmoxmox".to_vec())).unwrap();
        let verifier = Arc::new(Verifier::new(&password, NonZeroU32::MIN).unwrap());
        let keyring = Arc::new(Keyring::of(verifier));
        let judged = pool.check(Lane::Known, Block::V4(1, 32), Job { keyring, password }).unwrap();
        let shared = Arc::clone(&pool.shared);
        drop(pool);
        // The last owner of the queue drops the waiting check.
        while Arc::strong_count(&shared) > 1 {
            thread::yield_now();
        }
        drop(shared);
        assert!(judged.blocking_recv().is_err());
    }
}
