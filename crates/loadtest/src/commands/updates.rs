//! `loadtest updates`: a load of signed updates, and the conservation of points after it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::process_figures;
use crate::progress::Progress;
use crate::report::Report;
use crate::target::Target;
use crate::updates::conservation::Conservation;
use crate::updates::load::{self, LoadPlan, LoadResult, LoadState};
use crate::updates::players;
use crate::updates::schedule::{Mix, Schedule};
use crate::watch::beside::Audience;

/// Enough to see every frame there is; what they are sent is part of the load.
const SOCKETS: usize = 5;

const PAUSE: Duration = Duration::from_millis(50);

/// Everything of `loadtest updates`.
#[derive(Clone, Debug, Args)]
pub(crate) struct UpdatesArgs {
    /// Where the public interface is; the server's limits must be off
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// Boards, in turn
    #[arg(long = "board", default_values_t = ["global".to_owned()])]
    pub(crate) boards: Vec<String>,
    /// Players that send updates
    #[arg(long, default_value_t = 100)]
    pub(crate) users: usize,
    /// Keeps the players in this file, and uses them again while their tokens are good
    #[arg(long)]
    pub(crate) players_file: Option<PathBuf>,
    /// Updates per second (open loop: latency counts from the intended start); without it, as fast as possible
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Connections
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Seconds
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// With an Idempotency-Key, and repeated after every failure until an answer tells
    #[arg(long)]
    pub(crate) keys: bool,
    /// Sockets that watch the boards meanwhile, at least one for each; every frame is checked, and at the end each has to
    /// show what its board shows (5 unless given)
    #[arg(long)]
    pub(crate) sockets: Option<usize>,
    /// Where the stream is, if elsewhere than the rest
    #[arg(long)]
    pub(crate) stream_url: Option<String>,
    /// A process of the server, for CPU and memory; can be repeated
    #[arg(long = "server-pid")]
    pub(crate) server_pids: Vec<u32>,
    /// PostgreSQL, to compare ledger and scores
    #[arg(long)]
    pub(crate) database_url: Option<String>,
    /// Redis, to compare ranks
    #[arg(long)]
    pub(crate) redis_url: Option<String>,
    /// No progress line
    #[arg(long)]
    pub(crate) quiet: bool,
}

pub(crate) async fn command(args: UpdatesArgs) -> Result<Report, Failure> {
    with_mix(&args, Mix::Even).await
}

/// The same with another mix of players.
pub(crate) async fn with_mix(args: &UpdatesArgs, mix: Mix) -> Result<Report, Failure> {
    let target = Target::parse(&args.url)?;
    let mut progress = Progress::new(args.quiet);
    let players = players::players(&target, args.users.max(1), args.players_file.as_deref(), &mut progress).await?;
    let before = players::scores(&target, &players, &args.boards).await?;
    let plan = LoadPlan {
        target: target.clone(),
        players: Arc::clone(&players),
        boards: args.boards.clone(),
        schedule: args.rate.map_or(Schedule::AsFastAsPossible, Schedule::PerSecond),
        mix,
        connections: args.connections.max(1),
        duration: Duration::from_secs(args.seconds),
        timeout: Duration::from_secs(10),
        keys: args.keys,
        remember: false,
    };
    let stream = Target::parse(args.stream_url.as_deref().unwrap_or(&args.url))?;
    let sockets = args.sockets.unwrap_or(SOCKETS);
    let mut audience = Audience::invite(sockets, &stream, &target, &args.boards, args.quiet).await?;
    let watching = audience.open().await?;
    let server_before = process_figures::of_all(&args.server_pids)?;
    let mut result = drive(plan, &mut progress).await?;
    let server_after = process_figures::of_all(&args.server_pids).unwrap_or(server_before);
    let mut report = Report::new(format!("updates to {} ({})", args.url, rate_in_words(args)));
    let conservation = Conservation {
        target: &target,
        players: &players,
        boards: &args.boards,
        before: &before,
        database_url: args.database_url.as_deref(),
        redis_url: args.redis_url.as_deref(),
    };
    let at_once = result.promises.committed;
    conservation.check(&mut result.promises, &mut report).await?;
    watching.finish(&mut report).await?;
    tell(&mut report, &result, at_once);
    if !args.server_pids.is_empty() && result.promises.committed > 0 {
        let cpu = server_after.cpu.saturating_sub(server_before.cpu);
        let us = cpu.as_secs_f64() * 1e6 / result.promises.committed as f64;
        let share = cpu.as_secs_f64() / result.elapsed.as_secs_f64() * 100.0;
        report.line("cpuPerUpdateUs", "server CPU per update", format!("{us:.0} µs ({share:.0} % of a core)"), us);
        let (before, after) = (server_before.resident_bytes >> 10, server_after.resident_bytes >> 10);
        report.line("residentKib", "server memory", format!("{before} KiB before, {after} KiB after"), after);
        let words = format!("{} before, {} after", server_before.descriptors, server_after.descriptors);
        report.line("descriptors", "server descriptors", words, server_after.descriptors);
    }
    Ok(report)
}

fn rate_in_words(args: &UpdatesArgs) -> String {
    match args.rate {
        Some(rate) => format!("{rate}/s, open loop, {} connections", args.connections),
        None => format!("closed loop, {} connections", args.connections),
    }
}

async fn drive(plan: LoadPlan, progress: &mut Progress) -> Result<LoadResult, Failure> {
    let (state, duration) = (Arc::new(LoadState::default()), plan.duration);
    let began = Instant::now();
    let thread = load::spawn(plan, Arc::clone(&state), began)?;
    while !thread.is_finished() {
        let (applied, failed) = (state.applied.load(Relaxed), state.failed.load(Relaxed));
        let left = duration.saturating_sub(began.elapsed()).as_secs();
        let rate = applied as f64 / began.elapsed().as_secs_f64().max(0.001);
        progress.tell(&format!("updates: {left} s left, {applied} applied ({rate:.0}/s), {failed} not"));
        tokio::time::sleep(PAUSE).await;
    }
    thread.join().map_err(|_| Failure::server("the load", "its thread panicked"))
}

fn tell(report: &mut Report, result: &LoadResult, at_once: u64) {
    let committed = result.promises.committed;
    let rate = committed as f64 / result.elapsed.as_secs_f64().max(0.001);
    let words = format!("{committed} in {:.1} s, {rate:.0}/s ({at_once} told at once)", result.elapsed.as_secs_f64());
    report.line("committed", "committed", words, committed);
    report.only_json("committedPerSecond", rate);
    let outcomes: Vec<_> = result.outcomes.iter().map(|(code, count)| format!("{code}: {count}")).collect();
    report.line("outcomes", "answers", outcomes.join(", "), json!(result.outcomes));
    for (code, count) in result.outcomes.iter().filter(|(code, _)| is_refusal(code)) {
        report.problem(format!("{count} updates were refused, so the load is not what was asked for: {code}"));
    }
    report.number("repeats", "repeats with the same key", result.repeats);
    for (key, label, durations) in [
        ("committedMs", "intended start → 200", &result.committed),
        ("answeredMs", "intended start → 200 or 202", &result.answered),
    ] {
        let summary = durations.summary();
        report.line(key, label, summary.in_words(), json!(summary));
    }
    if committed == 0 {
        report.problem("nothing was committed");
    }
}

/// Whether an answer says that the server will never take such an update. What is said of a repeat or of one under way (409)
/// is none.
fn is_refusal(code: &str) -> bool {
    code.starts_with('4') && !code.starts_with("409")
}
