//! The score-worker as a service of its own, on the distributed backends.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use distributed::redis::RedisRanks;
use distributed::servers::Servers;
use runtime::clock::SystemClock;
use runtime::exit::Failure;
use runtime::housekeeping::{Pace, forget_daily_sums};
use runtime::process::{Process, service_main};
use runtime::queue_age::{self, QueueAge};
use runtime::settings::Service;
use score_worker::{ScoreWorker, WorkerPorts, WorkerSettings};

fn main() -> ExitCode {
    service_main(Service::ScoreWorker, "Takes updates from the queue, commits them and tells everybody", run)
}

async fn run(process: Process) -> Result<(), Failure> {
    let clock = Arc::new(SystemClock);
    let servers = Servers::named_by(&process.settings, process.service.as_str(), clock.clone())?;
    let admin = process.bind_admin()?;

    let ports = WorkerPorts {
        ledger: servers.store.clone(),
        truth: servers.store.clone(),
        ranks: Arc::new(RedisRanks::new(servers.redis.clone())),
        source: Arc::new(servers.rabbit.source()),
        events: Arc::new(servers.rabbit.bus()),
    };
    let worker = ScoreWorker::new(ports, WorkerSettings::from(&process.settings.worker), clock);
    queue_age::report(process.service.as_str(), worker.queue_age());
    let age = QueueAge::new(worker.queue_age(), Duration::from_secs(process.settings.submit.max_queue_age_s));
    let stop = process.lifecycle.stop_token();
    let forgetting = forget_daily_sums(servers.store.clone(), Arc::new(SystemClock), Pace::default(), stop.clone());
    process.lifecycle.spawn("housekeeping", forgetting);
    process.lifecycle.spawn("score worker", async move {
        worker.run(stop).await;
        Ok::<_, Infallible>(())
    });
    let dependencies = vec![servers.database(), servers.cache(), servers.broker(), Arc::new(age) as _];
    let ended = process.run_until_stopped(admin, dependencies).await;
    servers.close().await;
    ended
}
