//! The frame of a process: settings, telemetry, lifecycle, the admin listener, the exit code. What is the same in all
//! five binaries is here; what they build on top is theirs.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _};
use common::ports::Dependency;
use socket2::{Domain, Protocol, Socket, Type};

use crate::admin::{self, Readiness};
use crate::exit::{Exit, Failure};
use crate::lifecycle::Lifecycle;
use crate::settings::{Log, Service, Settings, Sources};
use crate::telemetry::{Metrics, Telemetry};

/// What the runtime waits for blocking calls that were abandoned, when everything else has ended.
const RUNTIME_SHUTDOWN: Duration = Duration::from_millis(200);

/// How long the admin listener may take to close.
const ADMIN_SHUTDOWN: Duration = Duration::from_secs(2);

/// Where settings come from, as every command line says it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SettingsArgs {
    /// A TOML file of settings; the environment (SCOREBOARD__SECTION__KEY) and --set win over it
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// One setting, such as submit.wait_ms=500; wins over file and environment; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", global = true, value_parser = assignment)]
    pub set: Vec<(String, String)>,
}

impl SettingsArgs {
    /// The command line together with the process's environment.
    #[must_use]
    pub fn sources(&self) -> Sources {
        Sources::of_process(self.config.clone(), self.set.clone())
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, _)| key.contains('.'))
        .map(|(key, value)| (key.trim().to_owned(), value.to_owned()))
        .ok_or_else(|| "must be section.key=value, such as http.listen=127.0.0.1:8080".to_owned())
}

#[derive(clap::Parser)]
#[command(version)]
struct ServiceArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// A process whose settings are read and whose telemetry runs.
#[derive(Clone)]
pub struct Process {
    /// Which one.
    pub service: Service,
    /// Checked.
    pub settings: Settings,
    /// Owns the tasks.
    pub lifecycle: Lifecycle,
    metrics: Metrics,
}

impl Process {
    /// The directory of our own secrets.
    ///
    /// # Errors
    /// [`Exit::Config`] when it is not set.
    pub fn secrets_dir(&self) -> Result<&Path, Failure> {
        secrets_dir(&self.settings)
    }

    /// Where auth's gRPC is.
    ///
    /// # Errors
    /// [`Exit::Config`] when it is not set.
    pub fn auth_url(&self) -> Result<&str, Failure> {
        self.settings.auth.url.as_deref().ok_or_else(|| {
            Failure::new(
                Exit::Config,
                "SCOREBOARD__AUTH__URL is not set: it says where auth is, such as http://auth:50051",
            )
        })
    }

    /// Binds the public listener.
    ///
    /// # Errors
    /// [`Exit::Config`] naming the setting.
    pub fn bind_http(&self) -> Result<TcpListener, Failure> {
        bind(self.settings.http_listen(self.service), "SCOREBOARD__HTTP__LISTEN")
    }

    /// Binds the gRPC listener.
    ///
    /// # Errors
    /// [`Exit::Config`] naming the setting.
    pub fn bind_grpc(&self) -> Result<TcpListener, Failure> {
        bind(self.settings.grpc_listen(self.service), "SCOREBOARD__GRPC__LISTEN")
    }

    /// Binds the admin listener.
    ///
    /// # Errors
    /// [`Exit::Config`] naming the setting.
    pub fn bind_admin(&self) -> Result<TcpListener, Failure> {
        bind(self.settings.admin_listen(self.service), "SCOREBOARD__ADMIN__LISTEN")
    }

    /// Runs until TERM, INT or the end of a task: the admin listener says whether `dependencies` are there, and
    /// closes last.
    ///
    /// # Errors
    /// [`Exit::Bug`] when a task failed, [`Exit::DrainTimedOut`] when one did not end in time.
    pub async fn run_until_stopped(
        &self,
        admin: TcpListener,
        dependencies: Vec<Arc<dyn Dependency>>,
    ) -> Result<(), Failure> {
        run_with_admin(&self.lifecycle, self.metrics.clone(), admin, dependencies).await
    }

    /// For a caller that runs its own lifecycle.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }
}

/// Runs a lifecycle with an admin listener beside it, which closes last.
///
/// # Errors
/// As [`Lifecycle::run_until_stopped`].
pub async fn run_with_admin(
    lifecycle: &Lifecycle,
    metrics: Metrics,
    admin: TcpListener,
    dependencies: Vec<Arc<dyn Dependency>>,
) -> Result<(), Failure> {
    let readiness = Readiness::new(dependencies, lifecycle.stop_token());
    let (closed, stop) = (lifecycle.closed_token(), lifecycle.clone());
    // Not one of the lifecycle's tasks: it answers until they have ended.
    let admin = tokio::spawn(async move {
        if let Err(error) = admin::serve(admin, readiness, metrics, closed).await {
            stop.fail(format!("the admin listener cannot be served: {error}"));
        }
    });
    let ended = lifecycle.run_until_stopped().await;
    if tokio::time::timeout(ADMIN_SHUTDOWN, admin).await.is_err() {
        tracing::warn!("the admin listener did not close in time");
    }
    ended
}

/// The directory of our own secrets.
///
/// # Errors
/// [`Exit::Config`] when it is not set.
pub fn secrets_dir(settings: &Settings) -> Result<&Path, Failure> {
    settings.secrets.dir.as_deref().ok_or_else(|| {
        Failure::new(
            Exit::Config,
            "SCOREBOARD__SECRETS__DIR is not set: make the directory with `scoreboard key init DIR` and name it there",
        )
    })
}

/// Connections that the kernel keeps until they are accepted; Linux cuts it at `net.core.somaxconn`. The standard
/// library's 128 are less than what comes at once after a restart, and a client whose first packet finds no place sends
/// the next one a second later.
const BACKLOG: i32 = 4096;

/// Binds a listener that `setting` names; port 0 takes a free one.
///
/// # Errors
/// [`Exit::Config`] naming the setting.
pub fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener, Failure> {
    listen(address).map_err(|error| {
        Failure::new(
            Exit::Config,
            format!(
                "cannot listen on {address}: {error}. {setting} says where to listen; choose another port there, \
                     or stop the program that has this one"
            ),
        )
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // As the standard library does: a restart finds the port of connections that are just ending.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The whole `main` of a service of its own: reads the command line, then runs `body`.
pub fn service_main<B, F>(service: Service, about: &'static str, body: B) -> ExitCode
where
    B: FnOnce(Process) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let command = ServiceArgs::command().name(service.as_str()).about(about);
    let args = ServiceArgs::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    run(service, &args.settings, body)
}

/// Runs a process: settings, telemetry, then `body`. A failure becomes one line in the log and the exit code.
pub fn run<B, F>(service: Service, args: &SettingsArgs, body: B) -> ExitCode
where
    B: FnOnce(Process) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no threads for the process: {error}");
            return Exit::Bug.into();
        }
    };
    // Exporters and drivers may want the runtime while they are built and while they are shut down.
    let entered = runtime.enter();
    let loaded = Settings::load(&args.sources());
    let log = loaded.as_ref().map(|settings| settings.log.clone()).unwrap_or_default();
    let (telemetry, loaded) = match Telemetry::start(service, &log) {
        Ok(telemetry) => (telemetry, loaded.map_err(Failure::from)),
        // A wrong filter must not make its own message invisible.
        Err(failure) => match Telemetry::start(service, &Log::default()) {
            Ok(telemetry) => (telemetry, Err(failure)),
            Err(_) => {
                eprintln!("{failure}");
                return failure.exit.into();
            }
        },
    };
    log_panics();
    let ended = loaded.and_then(|settings| {
        let metrics = telemetry.metrics();
        runtime.block_on(body(Process { service, settings, lifecycle: Lifecycle::new(), metrics }))
    });
    let exit = match ended {
        Ok(()) => Exit::Success,
        Err(failure) => {
            tracing::error!(exit_code = failure.exit.code(), "{}", failure.message);
            failure.exit
        }
    };
    telemetry.shut_down();
    // What is thrown away from here on is not ours to tell: drivers whose tasks are cancelled panic (async-rs does).
    std::panic::set_hook(Box::new(|_| {}));
    drop(entered);
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN);
    exit.into()
}

/// A panic is a bug; it belongs in the log, in one line, like every other.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic: {}", panic.payload_as_str().unwrap_or("of an unknown kind"));
    }));
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    /// As after a restart: all clients come at once, before the first of them is accepted.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_thousand_connections_at_once_find_a_place() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), "SCOREBOARD__HTTP__LISTEN").unwrap();
        let address = listener.local_addr().unwrap();
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let places = allowed.trim().parse().unwrap_or(0).min(1000);
        // Less than the second after which a first packet is sent again.
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(800));
        let connected: Result<Vec<_>, _> = (0..places).map(connect).collect();
        assert_eq!(connected.expect("no packet is sent twice").len(), places);
    }

    #[test]
    fn a_port_that_is_taken_is_told_with_its_setting() {
        let first = bind("127.0.0.1:0".parse().unwrap(), "SCOREBOARD__HTTP__LISTEN").unwrap();
        let again = bind(first.local_addr().unwrap(), "SCOREBOARD__HTTP__LISTEN").expect_err("taken");
        assert!(again.to_string().contains("SCOREBOARD__HTTP__LISTEN"), "{again}");
    }
}
