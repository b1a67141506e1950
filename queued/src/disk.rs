//! The thread that waits for the disk, so that the loop never does.

use std::{fs, io, path::PathBuf, sync::mpsc, thread};

use tokio::sync::oneshot;

use crate::{
    change::{Change, Changed},
    queue::{Queue, QueueError},
};

/// Changes that share a commit, at most: what waits while one is on its way to the disk.
const GROUP: usize = 64;

enum Job {
    Run(Box<dyn FnOnce(&mut Queue) + Send>),
    Change(Change, oneshot::Sender<Result<Changed, QueueError>>),
}

/// Gives jobs to the disk's thread, in order. Their number is bounded by the requests in flight. Cheap to clone; with
/// the last clone the thread ends.
#[derive(Debug, Clone)]
pub struct Disk {
    jobs: mpsc::Sender<Job>,
}

fn gone() -> QueueError {
    QueueError::Fault("the disk's thread has ended".to_owned())
}

impl Disk {
    /// Starts the thread.
    pub fn start(queue: Queue) -> io::Result<Self> {
        let (jobs, todo) = mpsc::channel();
        thread::Builder::new().name("disk".to_owned()).spawn(move || serve(queue, &todo))?;
        Ok(Self { jobs })
    }

    /// Runs a job there. It runs to its end even when the future is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Queue) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let (done, result) = oneshot::channel();
        let job = Job::Run(Box::new(move |queue| {
            let _ = done.send(job(queue));
        }));
        self.jobs.send(job).map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }

    /// Makes a change, together with the others that wait. It is made even when the future is dropped.
    pub(crate) async fn change(&self, change: Change) -> Result<Changed, QueueError> {
        let (done, result) = oneshot::channel();
        self.jobs.send(Job::Change(change, done)).map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }

    /// Removes a file when the thread comes to it; nobody waits for that.
    pub(crate) fn remove(&self, path: PathBuf) {
        // Without the thread the process is at its end, and the next start looks after what lies about.
        let _ = self.jobs.send(Job::Run(Box::new(move |_| {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(?path, %error, "cannot remove a file");
            }
        })));
    }
}

fn serve(mut queue: Queue, todo: &mpsc::Receiver<Job>) {
    let mut next = None;
    while let Some(job) = next.take().or_else(|| todo.recv().ok()) {
        match job {
            Job::Run(job) => job(&mut queue),
            Job::Change(change, done) => {
                let (mut group, mut answers) = (vec![change], vec![done]);
                while group.len() < GROUP {
                    match todo.try_recv() {
                        Ok(Job::Change(change, done)) => {
                            group.push(change);
                            answers.push(done);
                        }
                        Ok(job @ Job::Run(_)) => {
                            next = Some(job);
                            break;
                        }
                        Err(mpsc::TryRecvError::Empty | mpsc::TryRecvError::Disconnected) => break,
                    }
                }
                for (result, done) in queue.change(&group).into_iter().zip(answers) {
                    let _ = done.send(result);
                }
            }
        }
    }
}
