//! A run of watchers from the first socket to the comparison with the truth.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::findings::Findings;
use super::plan::{Shared, WatchPlan};
use crate::failure::Failure;
use crate::process_figures::{self, ProcessFigures};
use crate::progress::Progress;
use crate::target::Target;
use crate::updates::conservation;
use crate::updates::load::{self, LoadPlan, LoadResult, LoadState};

const PAUSE: Duration = Duration::from_millis(20);

/// How long sockets may take to open beyond what the ramp needs.
const OPEN_SLACK: Duration = Duration::from_secs(30);

/// How long sockets may take to show the truth once nothing moves any more.
const SETTLE: Duration = Duration::from_secs(10);

/// Before the measurement begins.
const WARM_UP: Duration = Duration::from_secs(1);

/// Everything about a run.
#[derive(Debug)]
pub(crate) struct RunPlan {
    pub(crate) watch: WatchPlan,
    /// How long is measured.
    pub(crate) duration: Duration,
    /// How long is measured again, with the stalled sockets stalled.
    pub(crate) stalled_duration: Duration,
    /// The server's processes.
    pub(crate) server_pids: Vec<u32>,
    /// Updates that are sent meanwhile.
    pub(crate) load: Option<LoadPlan>,
    /// Where the truth is read; `None` for servers that have none.
    pub(crate) truth: Option<Target>,
    pub(crate) quiet: bool,
}

/// One measured stretch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stretch {
    /// Microseconds.
    pub(crate) window_us: std::ops::Range<u64>,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) server_cpu: Duration,
    pub(crate) own_cpu: Duration,
    pub(crate) server_at_end: ProcessFigures,
    /// The most resident memory that the server's processes had together, bytes.
    pub(crate) server_peak_bytes: u64,
}

impl Stretch {
    pub(crate) fn seconds(&self) -> f64 {
        (self.window_us.end - self.window_us.start) as f64 / 1e6
    }
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) opened: u64,
    pub(crate) open_took: Duration,
    /// The server before the first socket, and with all of them.
    pub(crate) empty: ProcessFigures,
    pub(crate) full: ProcessFigures,
    pub(crate) own_memory_bytes: u64,
    pub(crate) measured: Stretch,
    pub(crate) stalled: Option<Stretch>,
    pub(crate) findings: Findings,
    pub(crate) problems: u64,
    /// Sockets that did not come to show the truth; `None` where there is none to compare with.
    pub(crate) behind: Option<u64>,
    pub(crate) load: Option<LoadResult>,
}

/// Runs it.
///
/// # Errors
/// [`Failure`] when there is nothing to tell; what sockets saw is never a failure.
pub(crate) async fn run(plan: &RunPlan) -> Result<Observed, Failure> {
    let mut progress = Progress::new(plan.quiet);
    let empty = process_figures::of_all(&plan.server_pids)?;
    let mut run = Run::start(plan, &mut progress)?;
    let observed = run.phases(empty).await;
    run.end();
    observed
}

/// Sockets at work.
pub(super) struct Run<'a> {
    plan: &'a RunPlan,
    pub(super) shared: Arc<Shared>,
    progress: &'a mut Progress,
    thread: Option<JoinHandle<Result<Findings, Failure>>>,
    load: Option<(Arc<LoadState>, JoinHandle<LoadResult>)>,
}

impl<'a> Run<'a> {
    pub(super) fn start(plan: &'a RunPlan, progress: &'a mut Progress) -> Result<Self, Failure> {
        let shared = Arc::new(Shared::new());
        let (watch, seen) = (plan.watch.clone(), Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("sockets".to_owned());
        let thread = thread.spawn(move || Engine::new(watch, seen)?.run()).map_err(Failure::system("no thread"))?;
        Ok(Self { plan, shared, progress, thread: Some(thread), load: None })
    }

    async fn phases(&mut self, empty: ProcessFigures) -> Result<Observed, Failure> {
        let (opened, open_took) = self.open().await?;
        let full = process_figures::of_all(&self.plan.server_pids)?;
        let own_memory_bytes = process_figures::of_all(&[std::process::id()])?.resident_bytes;
        if let Some(load) = &self.plan.load {
            let state = Arc::new(LoadState::default());
            self.load = Some((Arc::clone(&state), load::spawn(load.clone(), state, self.shared.began)?));
        }
        tokio::time::sleep(WARM_UP).await;
        let measured = self.measure("measuring", self.plan.duration).await?;
        let mut stalled = None;
        if self.plan.watch.stalled > 0 {
            self.shared.stalling.store(true, Relaxed);
            stalled = Some(self.measure("with stalled readers", self.plan.stalled_duration).await?);
        }
        let load = self.stop_load()?;
        let behind = self.compare_with_truth().await?;
        let findings = self.stop_engine()?;
        let problems = self.shared.problems.load(Relaxed);
        Ok(Observed {
            opened,
            open_took,
            empty,
            full,
            own_memory_bytes,
            measured,
            stalled,
            findings,
            problems,
            behind,
            load,
        })
    }

    pub(super) const fn sockets(&self) -> u64 {
        self.plan.watch.sockets as u64
    }

    pub(super) async fn open(&mut self) -> Result<(u64, Duration), Failure> {
        let watch = &self.plan.watch;
        let wanted = watch.sockets as u64;
        let needed = Duration::from_secs_f64(wanted as f64 / f64::from(watch.ramp_per_second.max(1)));
        let deadline = Instant::now() + needed + OPEN_SLACK;
        loop {
            let open = self.shared.open.load(Relaxed);
            if open == wanted || Instant::now() > deadline || self.engine_ended() {
                return Ok((open, self.shared.began.elapsed()));
            }
            self.progress.tell(&format!("opening: {open} of {wanted} sockets"));
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn engine_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    async fn measure(&mut self, what: &str, duration: Duration) -> Result<Stretch, Failure> {
        let own = [std::process::id()];
        let server = process_figures::of_all(&self.plan.server_pids)?;
        let client = process_figures::of_all(&own)?;
        let (frames, bytes) = (self.shared.frames.load(Relaxed), self.shared.bytes.load(Relaxed));
        let start_us = self.shared.now_us();
        self.shared.measuring.store(true, Relaxed);
        let deadline = Instant::now() + duration;
        let mut peak = server.resident_bytes;
        while Instant::now() < deadline && !self.engine_ended() {
            self.tell(what, deadline, frames, start_us);
            peak = peak.max(process_figures::resident_bytes_of_all(&self.plan.server_pids));
            tokio::time::sleep(PAUSE.min(deadline.saturating_duration_since(Instant::now()))).await;
        }
        // A restarted server has another process: its figures end with it.
        let server_at_end = process_figures::of_all(&self.plan.server_pids).unwrap_or(server);
        Ok(Stretch {
            window_us: start_us..self.shared.now_us(),
            frames: self.shared.frames.load(Relaxed) - frames,
            bytes: self.shared.bytes.load(Relaxed) - bytes,
            server_cpu: server_at_end.cpu.saturating_sub(server.cpu),
            own_cpu: process_figures::of_all(&own)?.cpu.saturating_sub(client.cpu),
            server_peak_bytes: peak.max(server_at_end.resident_bytes),
            server_at_end,
        })
    }

    fn tell(&mut self, what: &str, deadline: Instant, frames_before: u64, start_us: u64) {
        let shared = &self.shared;
        let left = deadline.saturating_duration_since(Instant::now()).as_secs();
        let seconds = ((shared.now_us() - start_us) as f64 / 1e6).max(0.001);
        let rate = (shared.frames.load(Relaxed) - frames_before) as f64 / seconds;
        let (open, problems) = (shared.open.load(Relaxed), shared.problems.load(Relaxed));
        let mut words = format!("{what}: {left} s left, {open} sockets, {rate:.0} frames/s, {problems} problems");
        if let Some((state, _)) = &self.load {
            let (applied, failed) = (state.applied.load(Relaxed), state.failed.load(Relaxed));
            words.push_str(&format!(", {applied} updates applied, {failed} not"));
        }
        if shared.stalling.load(Relaxed) {
            words.push_str(&format!(", {} evicted", shared.evicted.load(Relaxed)));
        }
        self.progress.tell(&words);
    }

    fn stop_load(&mut self) -> Result<Option<LoadResult>, Failure> {
        let Some((state, thread)) = self.load.take() else { return Ok(None) };
        state.stop.store(true, Relaxed);
        thread.join().map(Some).map_err(|_| Failure::server("the load", "its thread panicked"))
    }

    /// How many sockets do not show the truth when they have had their time.
    pub(super) async fn compare_with_truth(&mut self) -> Result<Option<u64>, Failure> {
        let Some(target) = &self.plan.truth else { return Ok(None) };
        let watch = &self.plan.watch;
        let deadline = Instant::now() + SETTLE;
        loop {
            // Read again each time: a board that is still being worked on has a truth that moves.
            match conservation::shown(target, &watch.board, watch.limit).await {
                Ok(rows) => *self.shared.truth.lock() = Some(rows),
                Err(failure) if Instant::now() > deadline => return Err(failure),
                Err(_) => {}
            }
            self.shared.behind.store(u64::MAX, Relaxed);
            let compared = Instant::now() + Duration::from_secs(1);
            while self.shared.behind.load(Relaxed) == u64::MAX && Instant::now() < compared {
                tokio::time::sleep(PAUSE).await;
            }
            let behind = self.shared.behind.load(Relaxed);
            if behind == 0 || Instant::now() > deadline || self.engine_ended() {
                return Ok(Some(behind));
            }
            self.progress.tell(&format!("{behind} sockets do not show the truth yet"));
            tokio::time::sleep(PAUSE * 5).await;
        }
    }

    pub(super) fn stop_engine(&mut self) -> Result<Findings, Failure> {
        self.shared.stop.store(true, Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(Findings::default()) };
        thread.join().map_err(|_| Failure::server("the sockets", "their thread panicked"))?
    }

    /// Threads end with their run, however that ended.
    fn end(mut self) {
        let _ = self.stop_load();
        let _ = self.stop_engine();
    }
}
