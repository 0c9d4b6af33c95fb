//! `loadtest run --profile`: standard mixes of updates, reads and watchers.

use clap::{Args, ValueEnum};

use super::reads::{self, ReadsArgs};
use super::updates::{UpdatesArgs, with_mix};
use crate::failure::Failure;
use crate::reads::ReadPlan;
use crate::report::Report;
use crate::updates::schedule::Mix;

/// A standard mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// Updates as fast as they are answered, from everybody in turn
    WriteHeavy,
    /// 100 updates a second beside as many reads of the top as are answered
    ReadHeavy,
    /// Updates as fast as possible to all boards that are named, in turn
    ManyBoards,
    /// Nine of ten updates are one player's
    HotUser,
    /// A player at rank 1 whose score moves all the time, before watchers
    Celebrity,
}

/// Everything of `loadtest run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// The mix
    #[arg(long)]
    profile: Profile,
    #[command(flatten)]
    updates: UpdatesArgs,
}

/// Sockets of a celebrity, where nothing else is asked for.
const WATCHERS: usize = 500;

/// Updates beside reads and watchers, per second, where nothing else is asked for.
const BESIDE_PER_SECOND: f64 = 100.0;

pub(crate) async fn command(args: RunArgs) -> Result<Report, Failure> {
    let mut updates = args.updates.clone();
    match args.profile {
        Profile::WriteHeavy => with_mix(&updates, Mix::Even).await,
        Profile::HotUser => with_mix(&updates, Mix::Hot).await,
        Profile::ManyBoards if updates.boards.len() < 2 => Err(Failure::Usage(
            "--board must be given at least twice; `scoreboard board create NAME` makes boards, and `scoreboard board \
                 action-type set NAME default --proof session --min 1 --max 1000 --daily-cap 1000000` lets players play"
                .into(),
        )),
        Profile::ManyBoards => with_mix(&updates, Mix::Even).await,
        Profile::ReadHeavy => {
            updates.rate = updates.rate.or(Some(BESIDE_PER_SECOND));
            let plan = read_plan(&updates)?;
            let (written, read) = tokio::join!(with_mix(&updates, Mix::Even), crate::reads::run(&plan));
            let mut report = written?;
            report.line("reads", "reads", format!("{} ({:.0}/s)", read.count(), read.per_second()), read.per_second());
            let summary = read.answered.summary();
            report.line("readMs", "read → answer", summary.in_words(), serde_json::json!(summary));
            Ok(report)
        }
        Profile::Celebrity => {
            updates.rate = updates.rate.or(Some(BESIDE_PER_SECOND));
            updates.sockets = updates.sockets.or(Some(WATCHERS));
            with_mix(&updates, Mix::Celebrity).await
        }
    }
}

fn read_plan(updates: &UpdatesArgs) -> Result<ReadPlan, Failure> {
    let board = updates.boards.first().map_or("global", String::as_str);
    let top = |limit: usize| format!("/api/v1/scoreboard/top?board={board}&limit={limit}");
    reads::plan(&ReadsArgs {
        url: updates.url.clone(),
        paths: vec![top(10), top(100)],
        connections: updates.connections,
        seconds: updates.seconds,
        floor: false,
        rounds: 1,
        server_pids: Vec::new(),
    })
}
