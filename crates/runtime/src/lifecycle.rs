//! One object that starts and ends a process: soft stop on the first signal, hard stop on the second.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::exit::{Exit, Failure};

/// The longest that a process takes to end after the first signal.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Owns the tasks of a process and the order to stop.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    stop: CancellationToken,
    closed: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// Nothing runs yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the process is to stop: finish what was accepted, then return.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Cancelled when everything has stopped: the admin listener lives until then.
    #[must_use]
    pub fn closed_token(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// Whether the process is on its way out (`/readyz` says 503 then).
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Asks everything to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Runs a task for the process's life. If it returns before the stop, or fails, everything is stopped.
    pub fn spawn<F, E>(&self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + 'static,
    {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            match task.await {
                Err(error) => {
                    tracing::error!(task = name, error = %crate::exit::causes(&error), "a task failed; stopping")
                }
                Ok(()) if !stop.is_cancelled() => tracing::error!(task = name, "a task ended on its own; stopping"),
                Ok(()) => tracing::debug!(task = name, "stopped"),
            }
            stop.cancel();
        });
    }

    /// Waits for TERM or INT (or [`Self::stop`]), then for the tasks, at most [`DRAIN_LIMIT`].
    ///
    /// # Errors
    /// [`Exit::DrainTimedOut`] when the tasks took longer or a second signal came.
    pub async fn run_until_stopped(&self) -> Result<(), Failure> {
        let mut terminate = signals(SignalKind::terminate())?;
        let mut interrupt = signals(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => tracing::info!("TERM: draining"),
            _ = interrupt.recv() => tracing::info!("INT: draining"),
            () = self.stop.cancelled() => {}
        }
        self.stop.cancel();
        self.tasks.close();
        let ended = tokio::select! {
            () = self.tasks.wait() => { tracing::info!("stopped"); Ok(()) }
            () = tokio::time::sleep(DRAIN_LIMIT) => {
                Err(Failure::new(Exit::DrainTimedOut, format!("draining took longer than {} s", DRAIN_LIMIT.as_secs())))
            }
            _ = terminate.recv() => Err(second_signal()),
            _ = interrupt.recv() => Err(second_signal()),
        };
        self.closed.cancel();
        ended
    }
}

fn signals(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(Exit::Bug, format!("signals cannot be heard: {error}")))
}

fn second_signal() -> Failure {
    Failure::new(Exit::DrainTimedOut, "a second signal: stopped without waiting")
}
