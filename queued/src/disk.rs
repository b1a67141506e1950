//! The thread that waits for the disk, so that the loop never does.

use std::{fs, io, path::PathBuf, sync::mpsc, thread};

use tokio::sync::oneshot;

use crate::queue::{Queue, QueueError};

type Job = Box<dyn FnOnce(&mut Queue) + Send>;

/// Gives jobs to the disk's thread, in order. Their number is bounded by the requests in flight. Cheap to clone; with
/// the last clone the thread ends.
#[derive(Debug, Clone)]
pub struct Disk {
    jobs: mpsc::Sender<Job>,
}

impl Disk {
    /// Starts the thread.
    pub fn start(mut queue: Queue) -> io::Result<Self> {
        let (jobs, todo) = mpsc::channel::<Job>();
        thread::Builder::new().name("disk".to_owned()).spawn(move || {
            for job in todo {
                job(&mut queue);
            }
        })?;
        Ok(Self { jobs })
    }

    /// Runs a job there. It runs to its end even when the future is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Queue) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move |queue| {
            let _ = done.send(job(queue));
        });
        let gone = || QueueError::Fault("the disk's thread has ended".to_owned());
        self.jobs.send(job).map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }

    /// Removes a file when the thread comes to it; nobody waits for that.
    pub(crate) fn remove(&self, path: PathBuf) {
        // Without the thread the process is at its end, and the next start looks after what lies about.
        let _ = self.jobs.send(Box::new(move |_| {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(?path, %error, "cannot remove a file");
            }
        }));
    }
}
