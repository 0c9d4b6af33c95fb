//! Auth as a service of its own, on the distributed backends.

use std::process::ExitCode;
use std::sync::Arc;

use auth::{AuthApp, AuthPorts, AuthSettings};
use distributed::servers::Servers;
use runtime::clock::SystemClock;
use runtime::exit::{Exit, Failure, causes};
use runtime::housekeeping::{Pace, forget_sessions};
use runtime::process::{Process, service_main};
use runtime::secrets::AuthSecrets;
use runtime::settings::Service;

fn main() -> ExitCode {
    service_main(Service::Auth, "Accounts, sessions, tokens and keys, over gRPC", run)
}

async fn run(process: Process) -> Result<(), Failure> {
    let clock = Arc::new(SystemClock);
    let servers = Servers::named_by(&process.settings, process.service.as_str(), clock.clone())?;
    let secrets =
        AuthSecrets::load(process.secrets_dir()?).map_err(|error| Failure::new(Exit::Config, causes(&error)))?;
    let (grpc, admin) = (process.bind_grpc()?, process.bind_admin()?);

    let ports = AuthPorts::new(servers.store.clone(), servers.store.clone(), Arc::new(servers.rabbit.bus()), clock);
    let app = AuthApp::build(ports, &AuthSettings::read(&process.settings, secrets), grpc)
        .map_err(|error| Failure::new(Exit::Bug, causes(&error)))?;
    let (service, dir) = (app.service(), process.secrets_dir()?.to_owned());
    process.lifecycle.on_hangup(move || {
        let secrets = AuthSecrets::load(&dir).map_err(|error| Failure::new(Exit::Config, causes(&error)))?;
        service.reload(&secrets).map_err(|error| Failure::new(Exit::Config, causes(&error)))
    })?;
    process.lifecycle.spawn("auth", app.run(process.lifecycle.stop_token()));
    let stop = process.lifecycle.stop_token();
    let forgetting = forget_sessions(servers.store.clone(), Arc::new(SystemClock), Pace::default(), stop);
    process.lifecycle.spawn("housekeeping", forgetting);
    // Not the broker: whoever misses the end of a session reads it from the database.
    let ended = process.run_until_stopped(admin, vec![servers.database()]).await;
    servers.close().await;
    ended
}
