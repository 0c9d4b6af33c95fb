//! The gateway as a service of its own, on the distributed backends.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use board_view::{BoardViews, ViewSettings};
use distributed::authority::GrpcAuthority;
use distributed::redis::{RedisGuard, RedisPendingMarks, RedisProfiles, RedisRanks};
use distributed::servers::Servers;
use gateway::{AdminPorts, GatewayApp, GatewayGrpc, GatewayPorts, GatewaySettings};
use grpc_edge::{GrpcSurface, serve_grpc};
use runtime::clock::SystemClock;
use runtime::exit::{Exit, Failure, causes};
use runtime::first_reading::FirstReading;
use runtime::process::{Process, service_main};
use runtime::queue_age::{self, QueueAge};
use runtime::secrets::GatewaySecrets;
use runtime::settings::Service;

fn main() -> ExitCode {
    service_main(Service::Gateway, "Checks and accepts score updates, reads boards, serves the page", run)
}

async fn run(process: Process) -> Result<(), Failure> {
    let clock = Arc::new(SystemClock);
    let servers = Servers::named_by(&process.settings, process.service.as_str(), clock.clone())?;
    let secrets =
        GatewaySecrets::load(process.secrets_dir()?).map_err(|error| Failure::new(Exit::Config, causes(&error)))?;
    let authority = GrpcAuthority::new(process.auth_url()?, &secrets.service_key)
        .map_err(|error| Failure::new(Exit::Config, causes(&error)))?;
    let authority = Arc::new(authority);
    let settings = GatewaySettings::read(&process.settings, secrets)?;
    let (http, admin, grpc) = (process.bind_http()?, process.bind_admin()?, process.bind_grpc()?);

    let (store, redis) = (&servers.store, &servers.redis);
    let events = Arc::new(servers.rabbit.bus());
    let views = Arc::new(BoardViews::new(
        store.clone(),
        events.clone(),
        clock.clone(),
        ViewSettings { recent_states: 0, ..ViewSettings::default() },
    ));
    let ports = GatewayPorts {
        truth: store.clone(),
        ranks: Arc::new(RedisRanks::new(redis.clone())),
        profiles: Arc::new(RedisProfiles::new(redis.clone(), store.clone())),
        queue: Arc::new(servers.rabbit.queue()),
        pending: Arc::new(RedisPendingMarks::new(redis.clone())),
        guard: Arc::new(RedisGuard::new(redis.clone(), clock.clone())),
        events,
        authority: authority.clone(),
        views: views.clone(),
        clock,
    };
    let app = GatewayApp::build(ports, settings, http);
    let (gateway, dir) = (app.gateway(), process.secrets_dir()?.to_owned());
    process.lifecycle.on_hangup(move || {
        let secrets = GatewaySecrets::load(&dir).map_err(|error| Failure::new(Exit::Config, causes(&error)))?;
        gateway.reload(secrets);
        Ok(())
    })?;
    let (read, door) = (views.clone(), app.gateway());
    let boards =
        Arc::new(FirstReading::new("boards", "the database", "SCOREBOARD__DATABASE__URL", move || read.are_all_read()));
    let keys = Arc::new(FirstReading::new("keys", "auth", "SCOREBOARD__AUTH__URL", move || door.knows_keys()));
    let age = app.gateway().queue_age();
    queue_age::report(process.service.as_str(), age.clone());
    let age = QueueAge::new(age, Duration::from_secs(process.settings.submit.max_queue_age_s));
    let stop = process.lifecycle.stop_token();
    process.lifecycle.spawn("board views", {
        let stop = stop.clone();
        async move {
            tokio::join!(views.run(stop.clone()), async {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = gateway::name_movable_boards(&views) => {}
                }
            });
            Ok::<_, Infallible>(())
        }
    });
    let callers = AdminPorts { issuer_keys: store.clone(), rules: store.clone() };
    let callers = GatewayGrpc::new(app.gateway(), callers, stop.clone());
    let surface = GrpcSurface::new().map_err(|error| Failure::new(Exit::Bug, causes(&error)))?;
    process.lifecycle.spawn("grpc", serve_grpc(grpc, callers.add_to(surface), stop.clone()));
    process.lifecycle.spawn("http", app.run(stop));
    let (database, cache, broker, depth) =
        (servers.database(), servers.cache(), servers.broker(), servers.queue_depth());
    let dependencies = vec![database, cache, broker, depth, Arc::new(age), authority, boards, keys];
    let ended = process.run_until_stopped(admin, dependencies).await;
    servers.close().await;
    ended
}
