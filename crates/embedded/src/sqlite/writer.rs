//! The one thread that writes, with group commit.
//!
//! Jobs that wait together run in one transaction, each in a savepoint, and share one COMMIT, which is one fsync. Only
//! then is any of them answered. A job that fails rolls back its savepoint and nobody else's work; when the COMMIT
//! fails, all of them hear of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::ports::StoreError;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::failure::{Failure, Outage, STORE};
use crate::data_dir::{OpenError, ServingLock};
use crate::metrics::WriterMetrics;

/// Jobs that wait at most; above it callers wait for a place.
const JOBS_HELD: usize = 1024;

/// How long a caller waits for a place.
const PLACE_WAIT: Duration = Duration::from_secs(2);

/// How long a caller waits for its answer. A commit that takes longer may still happen.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Jobs that share a commit at most.
const GROUP_JOBS: usize = 256;

/// A group that has worked for so long takes no more jobs, so that its first does not wait for the last.
/// The tests below need whole groups, and a busy machine may hold their thread for longer than 20 ms.
const GROUP_TIME: Duration = Duration::from_millis(if cfg!(test) { 400 } else { 20 });

/// Work on the database that is answered after the commit.
trait Job: Send {
    /// Does the work inside the job's savepoint. `false`: it failed, undo it.
    fn run(&mut self, connection: &Connection) -> bool;

    /// Tells the caller, when the work is durable or is known not to be.
    fn answer(self: Box<Self>, committed: &Result<(), Lost>);
}

/// Why the work of a whole group is gone.
#[derive(Clone, Debug, thiserror::Error)]
enum Lost {
    #[error("the group's transaction failed")]
    Sqlite(#[source] Arc<rusqlite::Error>),
    #[error("the group's transaction was rolled back by an earlier failure in it")]
    RolledBack,
}

impl From<Lost> for StoreError {
    fn from(lost: Lost) -> Self {
        Self::Unavailable { store: STORE, source: Box::new(lost) }
    }
}

/// A closure with the caller that waits for it.
struct Waiting<T, F> {
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    caller: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Waiting<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, Failure> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let Some(work) = self.work.take() else { return false };
        // The savepoint undoes whatever a panic leaves half done, and nothing else is shared with the closure.
        let result = match catch_unwind(AssertUnwindSafe(|| work(connection))) {
            Ok(result) => result.map_err(StoreError::from),
            Err(_) => Err(Outage::Panicked.into()),
        };
        let succeeded = result.is_ok();
        self.result = Some(result);
        succeeded
    }

    fn answer(self: Box<Self>, committed: &Result<(), Lost>) {
        let result = match (self.result, committed) {
            // What failed by itself keeps its own error: it says what the caller can do.
            (Some(Err(error)), _) => Err(error),
            (Some(result), Ok(())) => result,
            (_, Err(lost)) => Err(lost.clone().into()),
            (None, Ok(())) => Err(Outage::TransactionLost.into()),
        };
        // An error only says that the caller has gone.
        let _ = self.caller.send(result);
    }
}

/// The handle to the writing thread. Dropping it ends the thread after the jobs that it has accepted.
pub(super) struct Writer {
    jobs: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    state: Arc<WriterState>,
}

/// What the thread tells about itself.
#[derive(Default)]
struct WriterState {
    commits: AtomicU64,
    /// The last group was not committed.
    failing: AtomicBool,
}

impl Writer {
    /// Starts the thread. `lock` is released when the thread is through with the database.
    pub(super) fn start(connection: Connection, lock: Option<ServingLock>) -> Result<Self, OpenError> {
        let (jobs, receiver) = mpsc::channel(JOBS_HELD);
        let state = Arc::new(WriterState::default());
        let writing = Writing { connection, state: Arc::clone(&state), metrics: WriterMetrics::new() };
        let thread = thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || {
                writing.until_closed(receiver);
                drop(lock);
            })
            .map_err(OpenError::Thread)?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)), state })
    }

    /// Runs `work` in a savepoint of its own and returns when it is durable.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let jobs = self.jobs.lock().clone().ok_or(Outage::Closed)?;
        let (caller, answer) = oneshot::channel();
        let job = Box::new(Waiting { work: Some(work), result: None, caller });
        jobs.send_timeout(job, PLACE_WAIT).await.map_err(|error| match error {
            mpsc::error::SendTimeoutError::Timeout(_) => Outage::Slow,
            mpsc::error::SendTimeoutError::Closed(_) => Outage::Closed,
        })?;
        // Held on to, it would keep the thread alive.
        drop(jobs);
        match timeout(ANSWER_WAIT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Outage::Closed.into()),
            Err(_) => Err(Outage::Slow.into()),
        }
    }

    /// Commits so far.
    pub(super) fn commits(&self) -> u64 {
        self.state.commits.load(Ordering::Relaxed)
    }

    /// Whether the last group was not committed.
    pub(super) fn is_failing(&self) -> bool {
        self.state.failing.load(Ordering::Relaxed)
    }

    /// Takes no more jobs and waits for those that were accepted. Blocks for as long as they take.
    pub(super) fn close(&self) {
        drop(self.jobs.lock().take());
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the database's writer thread ended by a fault in the program");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// The thread's side.
struct Writing {
    connection: Connection,
    state: Arc<WriterState>,
    metrics: WriterMetrics,
}

impl Writing {
    fn until_closed(self, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
        while let Some(first) = jobs.blocking_recv() {
            let began = Instant::now();
            let mut group = Vec::new();
            let committed = self.commit_group(first, &mut jobs, &mut group, began);
            self.note(&committed, began.elapsed(), group.len());
            for job in group {
                job.answer(&committed);
            }
        }
    }

    /// Runs the first job and those that wait behind it, and commits them. All that were run are in `group` then.
    fn commit_group(
        &self,
        first: Box<dyn Job>,
        jobs: &mut mpsc::Receiver<Box<dyn Job>>,
        group: &mut Vec<Box<dyn Job>>,
        began: Instant,
    ) -> Result<(), Lost> {
        let begun = self.execute("BEGIN IMMEDIATE");
        let mut next = Some(first);
        while let Some(mut job) = next.take() {
            if begun.is_err() {
                // There is no transaction to work in; those behind try anew.
                group.push(job);
                break;
            }
            let ran = self.run_in_savepoint(&mut *job);
            group.push(job);
            ran?;
            if group.len() < GROUP_JOBS && began.elapsed() < GROUP_TIME {
                next = jobs.try_recv().ok();
            }
        }
        begun?;
        self.execute("COMMIT")
    }

    fn run_in_savepoint(&self, job: &mut dyn Job) -> Result<(), Lost> {
        self.execute("SAVEPOINT job")?;
        if !job.run(&self.connection) {
            // A full disk and its like end the whole transaction, and with it what the group did before.
            if self.connection.is_autocommit() {
                return Err(Lost::RolledBack);
            }
            self.execute("ROLLBACK TO job")?;
        }
        self.execute("RELEASE job")
    }

    fn execute(&self, sql: &str) -> Result<(), Lost> {
        let run = |sql| self.connection.prepare_cached(sql)?.execute([]).map(drop);
        run(sql).map_err(|error| Lost::Sqlite(Arc::new(error)))
    }

    /// Callers log their own errors; here it is said once that commits fail, and once that they do not any more.
    fn note(&self, committed: &Result<(), Lost>, took: Duration, jobs: usize) {
        let was_failing = self.state.failing.swap(committed.is_err(), Ordering::Relaxed);
        match committed {
            Ok(()) => {
                self.state.commits.fetch_add(1, Ordering::Relaxed);
                self.metrics.committed(took, jobs);
                if was_failing {
                    tracing::info!("the database commits again");
                }
            }
            Err(lost) => {
                if !was_failing {
                    let cause = std::error::Error::source(lost).map(ToString::to_string);
                    tracing::error!(error = %lost, cause, jobs, "the database does not commit");
                }
                self.roll_back();
            }
        }
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            tracing::error!(%error, "a failed transaction could not be rolled back");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::mpsc as gate;

    use futures_util::future::join_all;

    use super::*;
    use crate::sqlite::connection::open_writer;

    struct Fixture {
        writer: Writer,
        dir: tempfile::TempDir,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test.db");
        std::fs::File::create(&file).unwrap();
        let connection = open_writer(&file).unwrap();
        connection
            .execute_batch("CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE line (id INTEGER PRIMARY KEY)")
            .unwrap();
        connection.execute_batch("CREATE TABLE child (id INTEGER REFERENCES parent (id))").unwrap();
        Fixture { writer: Writer::start(connection, None).unwrap(), dir }
    }

    impl Fixture {
        async fn insert(&self, id: i64) -> Result<(), StoreError> {
            self.writer.run(move |c| Ok(c.execute("INSERT INTO line VALUES (?1)", [id]).map(drop)?)).await
        }

        /// What another process would see.
        fn lines(&self) -> Vec<i64> {
            let connection = Connection::open(self.dir.path().join("test.db")).unwrap();
            let mut statement = connection.prepare("SELECT id FROM line ORDER BY id").unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        }

        /// Runs the jobs in one group: they wait behind a job that takes so long that it has a group of its own.
        async fn in_one_group<T>(&self, jobs: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
            let (never, wait) = gate::channel::<()>();
            let slow = self.writer.run(move |_| {
                let _ = wait.recv_timeout(GROUP_TIME * 2);
                Ok(())
            });
            // Polled in order on this one thread, so the slow job is sent first.
            let (slow, results) = tokio::join!(slow, join_all(jobs));
            slow.unwrap();
            drop(never);
            results
        }
    }

    type BoxedJob<'a> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + 'a>>;

    #[tokio::test]
    async fn jobs_that_wait_together_share_a_commit() {
        let fixture = fixture();
        let results = fixture.in_one_group((0..200).map(|id| fixture.insert(id))).await;
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(fixture.lines().len(), 200);
        assert_eq!(fixture.writer.commits(), 2, "one for the slow job, one for the 200 behind it");
    }

    #[tokio::test]
    async fn a_failed_job_takes_nobody_with_it() {
        let fixture = fixture();
        let failing = fixture.writer.run(|c| -> Result<(), Failure> {
            c.execute("INSERT INTO line VALUES (2)", [])?;
            Err(Failure::Damaged("test"))
        });
        let panicking = fixture.writer.run(|c| -> Result<(), Failure> {
            c.execute("INSERT INTO line VALUES (3)", [])?;
            panic!("as a fault in the program would");
        });
        let jobs: Vec<BoxedJob<'_>> =
            vec![Box::pin(fixture.insert(1)), Box::pin(failing), Box::pin(panicking), Box::pin(fixture.insert(4))];
        let results = fixture.in_one_group(jobs).await;
        assert!(matches!(
            results[..],
            [Ok(()), Err(StoreError::Refused { .. }), Err(StoreError::Refused { .. }), Ok(())]
        ));
        assert_eq!(fixture.lines(), [1, 4]);
    }

    #[tokio::test]
    async fn when_the_commit_fails_everybody_hears_of_it_and_the_next_group_works() {
        let fixture = fixture();
        // A violation that SQLite looks for at the commit only.
        let poison = fixture.writer.run(|c| {
            c.execute_batch("PRAGMA defer_foreign_keys = ON; INSERT INTO child VALUES (1)")?;
            Ok(())
        });
        let jobs: Vec<BoxedJob<'_>> = vec![Box::pin(fixture.insert(1)), Box::pin(poison), Box::pin(fixture.insert(2))];
        let results = fixture.in_one_group(jobs).await;
        assert!(results.iter().all(|r| matches!(r, Err(StoreError::Unavailable { .. }))), "{results:?}");
        assert!(fixture.writer.is_failing());
        assert!(fixture.lines().is_empty());
        fixture.insert(3).await.unwrap();
        assert!(!fixture.writer.is_failing());
        assert_eq!(fixture.lines(), [3]);
    }

    #[tokio::test]
    async fn a_failure_that_ends_the_transaction_is_heard_by_all_that_were_in_it() {
        let fixture = fixture();
        // What SQLite does by itself when the disk is full.
        let ending = fixture.writer.run(|c| -> Result<(), Failure> {
            c.execute_batch("ROLLBACK")?;
            Err(Failure::Damaged("test"))
        });
        let jobs: Vec<BoxedJob<'_>> = vec![Box::pin(fixture.insert(1)), Box::pin(ending), Box::pin(fixture.insert(2))];
        let results = fixture.in_one_group(jobs).await;
        assert!(
            matches!(results[..], [Err(StoreError::Unavailable { .. }), Err(StoreError::Refused { .. }), Ok(())]),
            "{results:?}"
        );
        assert_eq!(fixture.lines(), [2]);
    }

    #[tokio::test]
    async fn what_was_accepted_is_finished_when_the_writer_is_closed() {
        let fixture = fixture();
        let closing = async { fixture.writer.close() };
        let (results, ()) = tokio::join!(join_all((0..50).map(|id| fixture.insert(id))), closing);
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(fixture.lines().len(), 50);
        assert!(matches!(fixture.insert(99).await, Err(StoreError::Unavailable { .. })));
    }
}
