//! The fan-out node as a service of its own, on the distributed backends.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

use board_view::{BoardViews, ViewSettings};
use distributed::servers::Servers;
use realtime_fanout::{FanoutApp, FanoutSettings, FanoutState};
use runtime::clock::SystemClock;
use runtime::exit::Failure;
use runtime::first_reading::FirstReading;
use runtime::process::{Process, service_main};
use runtime::settings::Service;

fn main() -> ExitCode {
    service_main(Service::RealtimeFanout, "Shows every board's newest state on WebSockets", run)
}

async fn run(process: Process) -> Result<(), Failure> {
    let clock = Arc::new(SystemClock);
    let servers = Servers::named_by(&process.settings, process.service.as_str(), clock.clone())?;
    let settings = FanoutSettings::read(&process.settings)?;
    let (http, admin) = (process.bind_http()?, process.bind_admin()?);

    let events = Arc::new(servers.rabbit.bus());
    let views = Arc::new(BoardViews::new(servers.store.clone(), events, clock.clone(), ViewSettings::default()));
    let app = FanoutApp::build(FanoutState::new(views.clone(), settings, clock), http);
    let read = views.clone();
    let boards =
        Arc::new(FirstReading::new("boards", "the database", "SCOREBOARD__DATABASE__URL", move || read.are_all_read()));
    let stop = process.lifecycle.stop_token();
    process.lifecycle.spawn("board views", {
        let stop = stop.clone();
        async move {
            views.run(stop).await;
            Ok::<_, Infallible>(())
        }
    });
    process.lifecycle.spawn("streams", app.run(stop));
    let ended = process.run_until_stopped(admin, vec![servers.database(), servers.broker(), boards]).await;
    servers.close().await;
    ended
}
