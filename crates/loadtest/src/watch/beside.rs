//! Sockets that watch boards while something else is done to them.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::json;

use super::arrivals::first_to_last;
use super::plan::WatchPlan;
use super::run::{Run, RunPlan};
use crate::failure::Failure;
use crate::http::Connection;
use crate::percentiles::Durations;
use crate::progress::Progress;
use crate::report::Report;
use crate::target::Target;

/// New sockets per second.
const RAMP: u32 = 1_000;

/// Sockets that share one source address.
const PER_ADDRESS: usize = 100;

/// As many lines as a screen can show.
const LINES: usize = 100;

/// Where sockets are opened.
const PATH: &str = "/ws/scoreboard";

/// Seats for sockets before boards.
pub(crate) struct Audience {
    seats: Vec<(RunPlan, Progress)>,
}

/// Open sockets.
pub(crate) struct Watching<'a> {
    runs: Vec<Run<'a>>,
    wanted: u64,
}

impl Audience {
    /// `sockets` of the server at `stream`, spread over those of `boards` that exist at `api`, at least one for each.
    ///
    /// # Errors
    /// [`Failure::Usage`] where no stream is served, [`Failure::Server`] where nobody answers.
    pub(crate) async fn invite(
        sockets: usize,
        stream: &Target,
        api: &Target,
        boards: &[String],
        quiet: bool,
    ) -> Result<Self, Failure> {
        let mut seats = Vec::new();
        if sockets == 0 {
            return Ok(Self { seats });
        }
        if status(stream, PATH).await? == 404 {
            let host = &stream.host;
            let problem = "serves no stream; say where it is with --stream-url, or --sockets 0";
            return Err(Failure::Usage(format!("{host} {problem}")));
        }
        let mut there = Vec::new();
        for board in boards {
            if status(api, &format!("/api/v1/boards/{board}")).await? == 200 {
                there.push(board);
            }
        }
        for (at, board) in there.iter().enumerate() {
            let more = usize::from(at < sockets % there.len());
            let watch = WatchPlan {
                target: stream.clone(),
                path: PATH.to_owned(),
                sockets: (sockets / there.len() + more).max(1),
                ramp_per_second: RAMP,
                board: (*board).clone(),
                limit: LINES,
                protocol: "scoreboard.v1".to_owned(),
                per_address: PER_ADDRESS,
                stalled: 0,
                stalled_receive_bytes: 0,
            };
            let plan = RunPlan {
                watch,
                duration: Duration::ZERO,
                stalled_duration: Duration::ZERO,
                server_pids: Vec::new(),
                load: None,
                truth: Some(api.clone()),
                quiet,
            };
            seats.push((plan, Progress::new(quiet)));
        }
        Ok(Self { seats })
    }

    /// Opens all of them.
    ///
    /// # Errors
    /// [`Failure::System`]
    pub(crate) async fn open(&mut self) -> Result<Watching<'_>, Failure> {
        let (mut runs, mut wanted) = (Vec::new(), 0);
        for (plan, progress) in &mut self.seats {
            wanted += plan.watch.sockets as u64;
            let mut run = Run::start(plan, progress)?;
            run.open().await?;
            run.shared.measuring.store(true, Relaxed);
            runs.push(run);
        }
        Ok(Watching { runs, wanted })
    }
}

async fn status(target: &Target, path: &str) -> Result<u16, Failure> {
    let mut connection = Connection::new(target.clone(), Duration::from_secs(10));
    let request = crate::http::get(&target.host, path, None);
    let answer = connection.exchange(request.as_bytes()).await;
    answer.map(|answer| answer.status).map_err(|error| Failure::server(&target.host, format!("GET {path}: {error}")))
}

impl Watching<'_> {
    /// When nothing is done to the boards any more: every socket has to come to show what its board shows, and no frame may
    /// have broken the contract.
    ///
    /// # Errors
    /// [`Failure`] when a board cannot be read; what sockets saw is told in the report.
    pub(crate) async fn finish(self, report: &mut Report) -> Result<(), Failure> {
        if self.runs.is_empty() {
            return Ok(());
        }
        let (boards, wanted) = (self.runs.len(), self.wanted);
        let (mut open, mut frames, mut behind, mut problems) = (0, 0, 0, 0);
        let mut ticks = Durations::default();
        for mut run in self.runs {
            open += run.shared.open.load(Relaxed);
            // As many as there are, where they were never compared.
            behind += run.compare_with_truth().await?.unwrap_or(0).min(run.sockets());
            frames += run.shared.frames.load(Relaxed);
            problems += run.shared.problems.load(Relaxed);
            let findings = run.stop_engine()?;
            ticks.add(&first_to_last(&findings.arrivals, run.sockets()));
            findings.examples.iter().for_each(|example| report.problem(example.as_str()));
            for (status, count) in &findings.refused {
                report.problem(format!("{count} sockets were refused with {status}"));
            }
        }
        let words = format!("{open} of {wanted} on {boards} board(s), {frames} frames, all checked");
        report.line("sockets", "sockets", words, open);
        report.only_json("socketFrames", frames);
        let ticks = ticks.summary();
        report.line("firstToLastMs", "tick: first → last recipient", ticks.in_words(), json!(ticks));
        if open < wanted {
            report.problem(format!("{} sockets were not open at the end", wanted - open));
        }
        if problems > 0 {
            report.problem(format!("{problems} frames break the contract"));
        }
        report.line(
            "socketsBehind",
            "sockets = boards",
            format!("{} of {open} show the last rows", open - behind.min(open)),
            behind,
        );
        if behind > 0 {
            report.problem(format!("{behind} sockets do not show what /top shows"));
        }
        Ok(())
    }
}
