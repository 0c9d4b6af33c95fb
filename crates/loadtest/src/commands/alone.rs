//! `loadtest alone`: what one update at a time takes, beside what its two waits for a disk take by themselves on the same
//! servers, in turn. What is left over is everything else: HTTP, checks, Redis, the way through the queue, and whatever
//! batching would make a lonely update wait.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::floor::postgres::{self, PostgresArgs};
use crate::floor::rabbit::{self, RabbitArgs};
use crate::percentiles::Durations;
use crate::progress::Progress;
use crate::report::Report;
use crate::target::Target;
use crate::updates::load::{self, LoadPlan, LoadState};
use crate::updates::players;
use crate::updates::schedule::{Mix, Schedule};

/// An update as a message, bytes.
const MESSAGE_BYTES: usize = 300;

/// Everything of `loadtest alone`.
#[derive(Clone, Debug, Args)]
pub(crate) struct AloneArgs {
    /// Where the public interface is; the server's limits must be off
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// PostgreSQL, for the floor of a commit
    #[arg(long, env = "SCOREBOARD__DATABASE__URL")]
    database_url: String,
    /// RabbitMQ, for the floor of a confirmed publish
    #[arg(long, env = "SCOREBOARD__AMQP__URL")]
    amqp_url: String,
    /// How often each is measured in turn
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds that each is measured in a round
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Keeps the player in this file, and uses it again while its token is good
    #[arg(long)]
    players_file: Option<PathBuf>,
    /// No progress line
    #[arg(long)]
    quiet: bool,
}

pub(crate) async fn command(args: AloneArgs) -> Result<Report, Failure> {
    let target = Target::parse(&args.url)?;
    let mut progress = Progress::new(args.quiet);
    let players = players::players(&target, 1, args.players_file.as_deref(), &mut progress).await?;
    let publish = RabbitArgs {
        amqp_url: args.amqp_url.clone(),
        window: 1,
        bytes: MESSAGE_BYTES,
        seconds: args.seconds,
        quiet: true,
    };
    let commit = PostgresArgs {
        database_url: args.database_url.clone(),
        batch: 1,
        connections: 1,
        players: 1,
        seconds: args.seconds,
        quiet: true,
    };
    let plan = LoadPlan {
        target,
        players: Arc::clone(&players),
        boards: vec!["global".to_owned()],
        schedule: Schedule::AsFastAsPossible,
        mix: Mix::Even,
        connections: 1,
        duration: Duration::from_secs(args.seconds),
        timeout: Duration::from_secs(10),
        keys: false,
        remember: false,
    };
    let (mut confirms, mut commits, mut updates) = (Durations::default(), Durations::default(), Durations::default());
    let mut report = Report::new(format!("one update at a time at {}, beside its parts", args.url));
    for round in 1..=args.rounds.max(1) {
        progress.tell(&format!("alone: round {round} of {}", args.rounds.max(1)));
        confirms.add(&rabbit::measure(&publish).await?.1);
        commits.add(&postgres::measure(&commit).await?.1);
        let state = Arc::new(LoadState::default());
        let sent = load::run(plan.clone(), state, Instant::now()).await;
        updates.add(&sent.committed);
        for (code, count) in sent.outcomes.iter().filter(|(code, _)| *code != "200") {
            report.problem(format!("round {round}: {count} answers were {code}"));
        }
    }
    tell(&mut report, &confirms, &commits, &updates);
    Ok(report)
}

fn tell(report: &mut Report, confirms: &Durations, commits: &Durations, updates: &Durations) {
    let (confirm, commit, update) = (confirms.summary(), commits.summary(), updates.summary());
    for (key, label, summary) in [
        ("confirmMs", "one confirmed publish", &confirm),
        ("commitMs", "one commit (ledger row + score)", &commit),
        ("updateMs", "one update → 200", &update),
    ] {
        report.line(key, label, summary.in_words(), json!(summary));
    }
    for (key, label, update, parts) in [
        ("aboveP50Ms", "above its parts, p50", update.p50_ms, confirm.p50_ms + commit.p50_ms),
        ("aboveP99Ms", "above its parts, p99", update.p99_ms, confirm.p99_ms + commit.p99_ms),
    ] {
        let above = update - parts;
        report.line(key, label, format!("{above:.2} ms ({update:.2} - {parts:.2})"), above);
    }
    if update.count == 0 {
        report.problem("nothing was committed");
    }
}
