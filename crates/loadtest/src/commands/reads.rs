//! `loadtest reads`: how fast a path is answered; with `--floor`, beside a bare route that returns as many bytes.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::floor::route::{RouteArgs, RouteServer};
use crate::http::{self, Connection};
use crate::process_figures;
use crate::reads::{ReadPlan, ReadResult, run};
use crate::report::Report;
use crate::target::Target;

/// Everything of `loadtest reads`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReadsArgs {
    /// Where the public interface is; the server's limits must be off
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// Paths, in turn
    #[arg(long = "path", default_values_t = ["/api/v1/scoreboard/top".to_owned()])]
    pub(crate) paths: Vec<String>,
    /// Connections
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u64,
    /// Measures a bare actix route with as many bytes in turn with the server, and tells the ratio
    #[arg(long)]
    pub(crate) floor: bool,
    /// How often both are measured
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: u32,
    /// A process of the server, for its CPU time; can be repeated
    #[arg(long = "server-pid")]
    pub(crate) server_pids: Vec<u32>,
}

pub(crate) async fn command(args: ReadsArgs) -> Result<Report, Failure> {
    let plan = plan(&args)?;
    let mut report = Report::new(format!("reads of {} over {} connections", args.url, args.connections));
    if !args.floor {
        tell(&mut report, "server", &measured(&plan, &args.server_pids).await?);
        return Ok(report);
    }
    let bytes = body_bytes(&plan).await?;
    let route = RouteServer::start(&RouteArgs { bytes, workers: 2 })?;
    let floor = ReadPlan { target: Target::parse(&route.address)?, paths: vec!["/".to_owned()], ..plan.clone() };
    let (mut real, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds.max(1) {
        bare.push(measured(&floor, &[route.pid()]).await?);
        real.push(measured(&plan, &args.server_pids).await?);
    }
    let middle = |measured: &mut Vec<Measured>| {
        measured.sort_by(|one, two| one.result.per_second().total_cmp(&two.result.per_second()));
        measured.swap_remove(measured.len() / 2)
    };
    let (real, bare) = (middle(&mut real), middle(&mut bare));
    tell(&mut report, "server", &real);
    tell(&mut report, "floor", &bare);
    report.number("bodyBytes", "bytes of a body", bytes as u64);
    let ratio = real.result.per_second() / bare.result.per_second().max(1.0);
    report.line("ratio", "reads per second: server / floor", format!("{ratio:.2}"), ratio);
    Ok(report)
}

pub(crate) fn plan(args: &ReadsArgs) -> Result<ReadPlan, Failure> {
    Ok(ReadPlan {
        target: Target::parse(&args.url)?,
        paths: args.paths.clone(),
        connections: args.connections,
        duration: Duration::from_secs(args.seconds),
    })
}

async fn body_bytes(plan: &ReadPlan) -> Result<usize, Failure> {
    let mut connection = Connection::new(plan.target.clone(), Duration::from_secs(10));
    let path = plan.paths.first().map_or("/", String::as_str);
    let request = http::get(&plan.target.host, path, None);
    let told = |problem: String| Failure::server(format!("GET {path}"), problem);
    let answer = connection.exchange(request.as_bytes()).await.map_err(|error| told(error.to_string()))?;
    if answer.status == 200 { Ok(answer.body.len()) } else { Err(told(answer.status.to_string())) }
}

struct Measured {
    result: ReadResult,
    server_cpu: Duration,
}

async fn measured(plan: &ReadPlan, pids: &[u32]) -> Result<Measured, Failure> {
    let before = process_figures::of_all(pids)?;
    let result = run(plan).await;
    let server_cpu = process_figures::of_all(pids)?.cpu.saturating_sub(before.cpu);
    Ok(Measured { result, server_cpu })
}

fn tell(report: &mut Report, who: &str, measured: &Measured) {
    let result = &measured.result;
    let rate = result.per_second();
    let words = format!("{} in {:.1} s, {rate:.0}/s", result.count(), result.elapsed.as_secs_f64());
    report.line(&format!("{who}PerSecond"), &format!("{who}: answers"), words, rate);
    let summary = result.answered.summary();
    report.line(&format!("{who}Ms"), &format!("{who}: request → answer"), summary.in_words(), json!(summary));
    if !measured.server_cpu.is_zero() && result.count() > 0 {
        let us = measured.server_cpu.as_secs_f64() * 1e6 / result.count() as f64;
        report.line(&format!("{who}CpuUs"), &format!("{who}: CPU per answer"), format!("{us:.1} µs"), us);
    }
    let wrong: Vec<_> = result.outcomes.iter().filter(|(code, _)| *code != "200").collect();
    if !wrong.is_empty() {
        report.problem(format!("{who}: {wrong:?}"));
    }
    if result.count() == 0 {
        report.problem(format!("{who}: no answer"));
    }
}
