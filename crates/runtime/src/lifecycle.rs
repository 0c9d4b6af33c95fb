//! One object that starts and ends a process: soft stop on the first signal, hard stop on the second.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::exit::{Exit, Failure};

/// The longest that tasks may take to end after the first signal. The process then has a second left to send its last
/// traces and close the admin listener: it ends within 10 s.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(9);

/// Owns the tasks of a process and the order to stop.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    stop: CancellationToken,
    closed: CancellationToken,
    tasks: TaskTracker,
    /// The first task that failed, which is why the process ends.
    failed: Arc<OnceLock<String>>,
}

/// Ends the process when a task panics, which would otherwise only be missing.
struct Watch {
    name: &'static str,
    lifecycle: Lifecycle,
    finished: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.finished && std::thread::panicking() {
            self.lifecycle.fail(format!("the task {} panicked", self.name));
        }
    }
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

    /// Asks everything to stop because something is broken; the first reason is the process's.
    pub fn fail(&self, reason: impl Into<String>) {
        // Later failures are consequences; they were logged by whoever saw them.
        let _ = self.failed.set(reason.into());
        self.stop.cancel();
    }

    /// Runs a task for the process's life. If it returns before the stop, fails or panics, everything is stopped and
    /// the process ends with [`Exit::Bug`].
    pub fn spawn<F, E>(&self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + 'static,
    {
        let mut watch = Watch { name, lifecycle: self.clone(), finished: false };
        self.tasks.spawn(async move {
            let ended = task.await;
            watch.finished = true;
            match ended {
                Err(error) => {
                    watch.lifecycle.fail(format!("the task {name} failed: {}", crate::exit::causes(&error)));
                }
                Ok(()) if !watch.lifecycle.is_draining() => {
                    watch.lifecycle.fail(format!("the task {name} ended on its own"));
                }
                Ok(()) => tracing::debug!(task = name, "stopped"),
            }
        });
    }

    /// Runs `reload` whenever the process hears HUP, one run at a time. What fails is logged, and everything stays as
    /// it was.
    ///
    /// # Errors
    /// [`Exit::Bug`] when signals cannot be heard.
    pub fn on_hangup<F>(&self, reload: F) -> Result<(), Failure>
    where
        F: Fn() -> Result<(), Failure> + Send + Sync + 'static,
    {
        let mut hangup = signals(SignalKind::hangup())?;
        let (reload, stop) = (Arc::new(reload), self.stop_token());
        self.spawn("reload", async move {
            while let Some(Some(())) = stop.run_until_cancelled(hangup.recv()).await {
                let reload = Arc::clone(&reload);
                match tokio::task::spawn_blocking(move || reload()).await {
                    Ok(Ok(())) => tracing::info!("HUP: secrets were read again"),
                    Ok(Err(failure)) => {
                        tracing::error!(error = %failure, "HUP: secrets cannot be used and stay as they were");
                    }
                    Err(error) => return Err(error),
                }
            }
            stop.cancelled().await;
            Ok(())
        });
        Ok(())
    }

    /// Waits for TERM or INT (or [`Self::stop`]), then for the tasks, at most [`DRAIN_LIMIT`].
    ///
    /// # Errors
    /// [`Exit::Bug`] when a task failed, [`Exit::DrainTimedOut`] when the tasks took longer or a second signal came.
    pub async fn run_until_stopped(&self) -> Result<(), Failure> {
        let mut terminate = signals(SignalKind::terminate())?;
        let mut interrupt = signals(SignalKind::interrupt())?;
        // Heard and passed over where nothing is reloaded: a hangup must not end a service.
        let _hangup = signals(SignalKind::hangup())?;
        tokio::select! {
            _ = terminate.recv() => tracing::info!("TERM: draining"),
            _ = interrupt.recv() => tracing::info!("INT: draining"),
            () = self.stop.cancelled() => tracing::info!("draining"),
        }
        self.stop.cancel();
        self.tasks.close();
        let ended = tokio::select! {
            () = self.tasks.wait() => Ok(()),
            () = tokio::time::sleep(DRAIN_LIMIT) => {
                Err(Failure::new(Exit::DrainTimedOut, format!("draining took longer than {} s", DRAIN_LIMIT.as_secs())))
            }
            _ = terminate.recv() => Err(second_signal()),
            _ = interrupt.recv() => Err(second_signal()),
        };
        self.closed.cancel();
        if let Some(reason) = self.failed.get() {
            return Err(Failure::new(Exit::Bug, reason.clone()));
        }
        ended.inspect(|()| tracing::info!("stopped"))
    }
}

fn signals(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(Exit::Bug, format!("signals cannot be heard: {error}")))
}

fn second_signal() -> Failure {
    Failure::new(Exit::DrainTimedOut, "a second signal: stopped without waiting")
}
