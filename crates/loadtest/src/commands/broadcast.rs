//! `loadtest floor watch` and `loadtest broadcast`: the bare loop alone, and beside the real fan-out.

use std::time::Duration;

use clap::Args;

use super::watch::{ServerArgs, SocketArgs, observe, run_plan, watch_plan};
use crate::failure::Failure;
use crate::floor::frame_server::{FrameServer, FrameServerArgs};
use crate::report::Report;
use crate::target::Target;
use crate::watch::run::{Observed, RunPlan};
use crate::watch::summary::cpu_per_delivery_us;

/// `loadtest floor watch`.
#[derive(Clone, Debug, Args)]
pub(crate) struct FloorWatchArgs {
    #[command(flatten)]
    sockets: SocketArgs,
    #[command(flatten)]
    frames: FrameServerArgs,
}

/// `loadtest broadcast`.
#[derive(Clone, Debug, Args)]
pub(crate) struct BroadcastArgs {
    #[command(flatten)]
    sockets: SocketArgs,
    #[command(flatten)]
    server: ServerArgs,
    /// How often both are measured in turn; the ratio is of the sums
    #[arg(long, default_value_t = 1)]
    rounds: u32,
}

pub(crate) async fn floor(args: FloorWatchArgs) -> Result<Report, Failure> {
    let (report, _) = floor_once(&args.sockets, &args.frames).await?;
    Ok(report)
}

async fn floor_once(sockets: &SocketArgs, frames: &FrameServerArgs) -> Result<(Report, Observed), Failure> {
    let server = FrameServer::start(&FrameServerArgs { answer_protocol: sockets.subprotocol(), ..frames.clone() })?;
    let plan = RunPlan {
        watch: watch_plan(sockets, Target::parse(&server.address)?, "floor", 1),
        duration: Duration::from_secs(sockets.seconds),
        stalled_duration: Duration::ZERO,
        server_pids: vec![server.pid()],
        load: None,
        truth: None,
        quiet: sockets.quiet,
    };
    let title = format!("floor: a bare loop, {} bytes, {}/s", frames.frame_bytes, frames.per_second);
    observe(&title, plan).await
}

/// The server first: the floor writes as many bytes as often as the server did.
pub(crate) async fn broadcast(args: BroadcastArgs) -> Result<Report, Failure> {
    if args.server.server_pids.is_empty() {
        return Err(Failure::Usage("--server-pid is needed: the ratio is of CPU times".to_owned()));
    }
    let mut report = Report::new(format!("broadcast to {} sockets, {}", args.sockets.sockets, args.server.url));
    let (mut real_us, mut floor_us) = (0.0, 0.0);
    for round in 1..=args.rounds.max(1) {
        let plan = run_plan(&args.sockets, &args.server).await?;
        let (real, observed) = observe("the server", plan).await?;
        let measured = &observed.measured;
        let per_socket = measured.frames as f64 / observed.opened.max(1) as f64 / measured.seconds().max(0.001);
        let bytes = measured.bytes / measured.frames.max(1);
        let frames = FrameServerArgs {
            frame_bytes: usize::try_from(bytes).unwrap_or(1_024),
            per_second: (per_socket.round() as u32).max(1),
            answer_protocol: args.sockets.subprotocol(),
        };
        let v1 = SocketArgs { protocol: "v1".to_owned(), ..args.sockets.clone() };
        let (floor, bare) = floor_once(&v1, &frames).await?;
        let found = (cpu_per_delivery_us(measured), cpu_per_delivery_us(&bare.measured));
        let memory = (real.value("memoryPerSocketKib"), floor.value("memoryPerSocketKib"));
        report.nest(&format!("server{round}"), real);
        report.nest(&format!("floor{round}"), floor);
        // Later rounds find memory that the first one has used and left.
        if let (Some(server), Some(bare), 1) = (memory.0, memory.1, round) {
            let words = format!("server {server:.1} KiB, floor {bare:.1} KiB");
            report.line("memoryPerSocketKib", "memory per socket", words, server);
        }
        let (Some(server), Some(bare)) = found else {
            report.problem("no frame was delivered: is --updates-per-second given?");
            continue;
        };
        real_us += server;
        floor_us += bare;
    }
    if floor_us > 0.0 {
        let ratio = real_us / floor_us;
        report.line("ratio", "CPU per delivery: server / floor", format!("{ratio:.2}"), ratio);
    }
    Ok(report)
}
