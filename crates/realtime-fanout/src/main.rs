//! The fan-out node as a service of its own, on the distributed backends.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

use board_view::{BoardViews, ViewSettings};
use common::ports::EventBus;
use distributed::authority::GrpcAuthority;
use distributed::redis::RedisRanks;
use distributed::servers::Servers;
use realtime_fanout::{FanoutApp, FanoutPorts, FanoutSettings, FanoutState};
use runtime::clock::SystemClock;
use runtime::exit::{Exit, Failure, causes};
use runtime::first_reading::FirstReading;
use runtime::process::{Process, service_main};
use runtime::secrets::FanoutSecrets;
use runtime::settings::Service;
use runtime::token_gate::TokenGate;

fn main() -> ExitCode {
    service_main(Service::RealtimeFanout, "Shows every board's newest state on WebSockets", run)
}

async fn run(process: Process) -> Result<(), Failure> {
    let clock = Arc::new(SystemClock);
    let servers = Servers::named_by(&process.settings, process.service.as_str(), clock.clone())?;
    let settings = FanoutSettings::read(&process.settings)?;
    let secrets =
        FanoutSecrets::load(process.secrets_dir()?).map_err(|error| Failure::new(Exit::Config, causes(&error)))?;
    let authority = GrpcAuthority::new(process.auth_url()?, &secrets.service_key)
        .map_err(|error| Failure::new(Exit::Config, causes(&error)))?;
    let (http, admin) = (process.bind_http()?, process.bind_admin()?);

    let events: Arc<dyn EventBus> = Arc::new(servers.rabbit.bus());
    let views =
        Arc::new(BoardViews::new(servers.store.clone(), events.clone(), clock.clone(), ViewSettings::default()));
    // Without auth, public boards are shown all the same: it is no dependency that readiness asks.
    let tokens = Arc::new(TokenGate::new(Arc::new(authority), clock.clone()));
    let ports = FanoutPorts {
        views: views.clone(),
        events: events.clone(),
        ranks: Arc::new(RedisRanks::new(servers.redis.clone())),
        tokens: tokens.clone(),
        clock,
    };
    let state = FanoutState::new(ports, settings);
    let app = FanoutApp::build(state.clone(), http);
    let read = views.clone();
    let boards =
        Arc::new(FirstReading::new("boards", "the database", "SCOREBOARD__DATABASE__URL", move || read.are_all_read()));
    let stop = process.lifecycle.stop_token();
    process.lifecycle.spawn("views and tokens", {
        let stop = stop.clone();
        async move {
            tokio::join!(views.run(stop.clone()), state.run(stop.clone()), tokens.run(events.as_ref(), stop));
            Ok::<_, Infallible>(())
        }
    });
    process.lifecycle.spawn("streams", app.run(stop));
    let ended = process.run_until_stopped(admin, vec![servers.database(), servers.broker(), boards]).await;
    servers.close().await;
    ended
}
