//! `loadtest watch`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::failure::Failure;
use crate::progress::Progress;
use crate::report::Report;
use crate::target::Target;
use crate::updates::load::LoadPlan;
use crate::updates::players;
use crate::updates::schedule::{Mix, Schedule};
use crate::watch::plan::WatchPlan;
use crate::watch::run::{Observed, RunPlan, run};
use crate::watch::summary;

/// Connections of the updates that are sent beside the sockets: at 50 ms an answer, 64 carry 1,280 updates a second.
const LOAD_CONNECTIONS: usize = 64;

/// Sockets, and what is done with them.
#[derive(Clone, Debug, Args)]
pub(crate) struct SocketArgs {
    /// How many sockets; a process may have 20,000 descriptors here
    #[arg(long, default_value_t = 1_000)]
    pub(crate) sockets: usize,
    /// New sockets per second
    #[arg(long, default_value_t = 2_000)]
    pub(crate) ramp: u32,
    /// Sockets from one source address (127.0.0.2 and on); the server's own limit is 100
    #[arg(long, default_value_t = 100)]
    pub(crate) per_address: usize,
    /// Seconds that are measured
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// `v1` or `delta`
    #[arg(long, default_value = "v1", value_parser = ["v1", "delta"])]
    pub(crate) protocol: String,
    /// No progress line
    #[arg(long)]
    pub(crate) quiet: bool,
}

impl SocketArgs {
    pub(crate) fn subprotocol(&self) -> String {
        if self.protocol == "delta" { "scoreboard.v1.delta".to_owned() } else { "scoreboard.v1".to_owned() }
    }
}

/// A server that is watched.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// Where the stream is
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// Where the rest of the public interface is, if elsewhere
    #[arg(long)]
    pub(crate) api_url: Option<String>,
    /// A process of the server, for CPU and memory; can be repeated
    #[arg(long = "server-pid")]
    pub(crate) server_pids: Vec<u32>,
    /// The board
    #[arg(long, default_value = "global")]
    pub(crate) board: String,
    /// Visible lines
    #[arg(long, default_value_t = 10)]
    pub(crate) limit: usize,
    /// Updates that are sent meanwhile, per second; the server's limits must be off
    #[arg(long, default_value_t = 0.0)]
    pub(crate) updates_per_second: f64,
    /// Players that send them
    #[arg(long, default_value_t = 10)]
    pub(crate) users: usize,
    /// Keeps the players in this file, and uses them again while their tokens are good
    #[arg(long)]
    pub(crate) players_file: Option<PathBuf>,
}

/// Everything of `loadtest watch`.
#[derive(Clone, Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    sockets: SocketArgs,
    #[command(flatten)]
    server: ServerArgs,
    /// So many of the sockets stop reading after the measured seconds, and it is measured again. Not right is: one of them
    /// that is held for longer than 15 s, memory that grows by more than 50 MB meanwhile, frames whose p99 to the others
    /// is above 1.5 times that of before and 20 ms
    #[arg(long, default_value_t = 0)]
    stalled: usize,
    /// Seconds that are measured with them
    #[arg(long, default_value_t = 20)]
    stalled_seconds: u64,
    /// Their receive buffer, bytes; a large one hides for minutes that nobody reads
    #[arg(long, default_value_t = 4_096)]
    stalled_receive_buffer: usize,
}

pub(crate) async fn command(args: WatchArgs) -> Result<Report, Failure> {
    let mut plan = run_plan(&args.sockets, &args.server).await?;
    plan.watch.stalled = args.stalled.min(args.sockets.sockets);
    plan.watch.stalled_receive_bytes = args.stalled_receive_buffer;
    plan.stalled_duration = Duration::from_secs(args.stalled_seconds);
    let title = format!("watch {} ({} sockets, {})", args.server.url, args.sockets.sockets, args.sockets.protocol);
    let (report, _) = observe(&title, plan).await?;
    Ok(report)
}

/// Runs a plan: its report, and what it is made of.
pub(crate) async fn observe(title: &str, mut plan: RunPlan) -> Result<(Report, Observed), Failure> {
    if let Some(load) = &mut plan.load {
        // Longer than every stretch together: it is stopped.
        load.duration = Duration::from_secs(24 * 3_600);
    }
    let observed = run(&plan).await?;
    Ok((summary::report(title, &plan, &observed), observed))
}

/// The plan for a real server; players are made before the first socket.
pub(crate) async fn run_plan(sockets: &SocketArgs, server: &ServerArgs) -> Result<RunPlan, Failure> {
    let target = Target::parse(&server.url)?;
    let api = match &server.api_url {
        Some(url) => Target::parse(url)?,
        None => target.clone(),
    };
    let mut load = None;
    if server.updates_per_second > 0.0 {
        let mut progress = Progress::new(sockets.quiet);
        let users = server.users.max(1);
        load = Some(LoadPlan {
            target: api.clone(),
            players: players::players(&api, users, server.players_file.as_deref(), &mut progress).await?,
            boards: vec![server.board.clone()],
            schedule: Schedule::PerSecond(server.updates_per_second),
            mix: Mix::Even,
            connections: LOAD_CONNECTIONS,
            duration: Duration::ZERO,
            timeout: Duration::from_secs(10),
            keys: false,
            remember: true,
        });
    }
    Ok(RunPlan {
        watch: watch_plan(sockets, target, &server.board, server.limit),
        duration: Duration::from_secs(sockets.seconds),
        stalled_duration: Duration::ZERO,
        server_pids: server.server_pids.clone(),
        load,
        truth: Some(api),
        quiet: sockets.quiet,
    })
}

/// Sockets on a server.
pub(crate) fn watch_plan(sockets: &SocketArgs, target: Target, board: &str, limit: usize) -> WatchPlan {
    WatchPlan {
        target,
        path: "/ws/scoreboard".to_owned(),
        sockets: sockets.sockets,
        ramp_per_second: sockets.ramp,
        board: board.to_owned(),
        limit,
        protocol: sockets.subprotocol(),
        per_address: sockets.per_address.max(1),
        stalled: 0,
        stalled_receive_bytes: 0,
    }
}
