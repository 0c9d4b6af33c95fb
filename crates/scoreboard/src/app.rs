//! All four services in one process on one HTTP port: built from settings, run until stopped.
//!
//! The order to stop is the reverse of the way an update takes: first HTTP and gRPC finish the requests in hand, whose
//! decisions the worker still makes; then the worker and the views end; then the backends are closed.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::{App, web};
use auth::{AuthApp, AuthService, AuthSettings};
use board_view::{BoardViews, ViewSettings};
use common::clock::Clock;
use common::ports::{Dependency, UpdateQueue};
use gateway::{AdminPorts, Gateway, GatewayGrpc, GatewayPorts, GatewaySettings};
use http_edge::request_scope::request_scope;
use http_edge::server::{ArrivalLimits, ServerOptions, serve};
use realtime_fanout::{FanoutPorts, FanoutSettings, FanoutState, tune_listener};
use runtime::clock::SystemClock;
use runtime::exit::{Exit, Failure, causes};
use runtime::first_reading::FirstReading;
use runtime::housekeeping::{Pace, forget_daily_sums, forget_sessions};
use runtime::lifecycle::Lifecycle;
use runtime::process::{bind, run_with_admin};
use runtime::queue_age::{self, QueueAge};
use runtime::settings::{Service, Settings};
use runtime::telemetry::Metrics;
use score_worker::{ScoreWorker, WorkerSettings};
use tokio_util::sync::CancellationToken;

use crate::backends::Backends;
use crate::secrets::{self, Secrets};

const SERVICE: Service = Service::AllInOne;

/// How long requests that were accepted may take after the stop, in seconds. The worker ends after them, and both must
/// fit into the lifecycle's limit.
const HTTP_DRAIN_S: u64 = 6;

/// Bytes that a connection collects before it writes: on a stream, more would be older states in front of newer ones.
const WRITE_BUFFER: usize = 4 * 1024;

/// Where the process listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The public interface, page and streams.
    pub http: SocketAddr,
    /// Health and metrics.
    pub admin: SocketAddr,
    /// The gRPC of auth and gateway.
    pub grpc: SocketAddr,
}

/// The listeners, bound before anything is built: a port that is taken is told at once.
struct Listeners {
    http: TcpListener,
    admin: TcpListener,
    grpc: TcpListener,
}

/// What the demo players and the start-up log use of a running process.
#[derive(Clone)]
pub(crate) struct Inside {
    pub(crate) authority: Arc<AuthService>,
    pub(crate) queue: Arc<dyn UpdateQueue>,
    pub(crate) views: Arc<BoardViews>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The whole product in one process.
pub struct ScoreboardApp {
    backends: Backends,
    lifecycle: Lifecycle,
    metrics: Metrics,
    listeners: Listeners,
    auth: AuthApp,
    gateway: Arc<Gateway>,
    fanout: Arc<FanoutState>,
    worker: ScoreWorker,
    views: Arc<BoardViews>,
    inside: Inside,
}

impl ScoreboardApp {
    /// Builds everything; nothing runs yet. Port 0 in the settings takes a free port.
    ///
    /// # Errors
    /// [`Failure`] naming the setting that is wrong.
    pub fn build(settings: &Settings, lifecycle: Lifecycle, metrics: Metrics) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let listeners = Listeners::bind(settings)?;
        // Before anything is connected to.
        secrets::check(settings)?;
        // The data directory first: two first runs at once must not both make secrets for it.
        let mut backends = Backends::open(settings, Arc::clone(&clock))?;
        let own = Secrets::open(settings)?;

        let views = Arc::new(BoardViews::new(
            Arc::clone(&backends.truth),
            Arc::clone(&backends.events),
            Arc::clone(&clock),
            ViewSettings::default(),
        ));
        let auth = AuthApp::build(
            backends.auth_ports(Arc::clone(&clock)),
            &AuthSettings::read(settings, own.auth),
            listeners.grpc.try_clone().map_err(|error| Failure::new(Exit::Bug, error.to_string()))?,
        )
        .map_err(|error| Failure::new(Exit::Bug, causes(&error)))?;
        let gateway = Gateway::new(
            GatewayPorts {
                truth: Arc::clone(&backends.truth),
                ranks: Arc::clone(&backends.ranks),
                profiles: Arc::clone(&backends.profiles),
                queue: Arc::clone(&backends.queue),
                pending: Arc::clone(&backends.pending),
                guard: Arc::clone(&backends.guard),
                events: Arc::clone(&backends.events),
                authority: auth.service(),
                views: Arc::clone(&views),
                clock: Arc::clone(&clock),
            },
            GatewaySettings::read(settings, own.gateway)?,
        );
        // One port for both: callers of auth and of the gateway.
        let admin = AdminPorts { issuer_keys: Arc::clone(&backends.issuer_keys), rules: Arc::clone(&backends.rules) };
        let calls = GatewayGrpc::new(Arc::clone(&gateway), admin, lifecycle.stop_token());
        let auth = auth.also_serving(|surface| calls.add_to(surface));
        let streams = FanoutPorts {
            views: Arc::clone(&views),
            events: Arc::clone(&backends.events),
            ranks: Arc::clone(&backends.ranks),
            tokens: gateway.token_gate(),
            clock: Arc::clone(&clock),
        };
        let fanout = FanoutState::new(streams, FanoutSettings::read(settings)?);
        let worker =
            ScoreWorker::new(backends.worker_ports(), WorkerSettings::from(&settings.worker), Arc::clone(&clock));
        let (service, door, from) = (auth.service(), Arc::clone(&gateway), settings.clone());
        lifecycle.on_hangup(move || {
            let secrets = Secrets::open(&from)?;
            // The side that verifies before the one that signs.
            door.reload(secrets.gateway);
            service.reload(&secrets.auth).map_err(|error| Failure::new(Exit::Config, causes(&error)))
        })?;
        queue_age::report("gateway", gateway.queue_age());
        queue_age::report("score-worker", worker.queue_age());
        let limit = Duration::from_secs(settings.submit.max_queue_age_s);
        let ages = (gateway.queue_age(), worker.queue_age());
        let queue_age = QueueAge::new(Arc::new(move || ages.0().max(ages.1())), limit);
        let inside =
            Inside { authority: auth.service(), queue: Arc::clone(&backends.queue), views: Arc::clone(&views), clock };
        backends.dependencies.push(Arc::new(queue_age));
        Ok(Self { backends, lifecycle, metrics, listeners, auth, gateway, fanout, worker, views, inside })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn addresses(&self) -> std::io::Result<Addresses> {
        let Listeners { http, admin, grpc } = &self.listeners;
        Ok(Addresses { http: http.local_addr()?, admin: admin.local_addr()?, grpc: grpc.local_addr()? })
    }

    pub(crate) fn inside(&self) -> Inside {
        self.inside.clone()
    }

    /// Serves until the lifecycle stops or a signal comes, then finishes what was accepted.
    ///
    /// # Errors
    /// [`Exit::Bug`] when a part failed, [`Exit::DrainTimedOut`] when one did not end in time.
    pub async fn run_until_stopped(self) -> Result<(), Failure> {
        let Self { backends, lifecycle, metrics, listeners, auth, gateway, fanout, worker, views, inside } = self;
        let stop = lifecycle.stop_token();
        // Cancelled when no request is in hand any more.
        let drained = CancellationToken::new();

        let dependencies = [backends.dependencies.clone(), first_readings(&views, &gateway)].concat();
        let token = drained.clone();
        lifecycle.spawn("board views", async move {
            views.run(token).await;
            Ok::<_, Infallible>(())
        });
        let token = drained.clone();
        let follower = Arc::clone(&gateway);
        let own = Arc::clone(&fanout);
        lifecycle.spawn("keys and revocations", async move {
            tokio::join!(follower.run(token.clone()), own.run(token));
            Ok::<_, Infallible>(())
        });
        let token = drained.clone();
        lifecycle.spawn("score worker", async move {
            worker.run(token).await;
            Ok::<_, Infallible>(())
        });
        let (store, clock) = (Arc::clone(&backends.housekeeping), Arc::clone(&inside.clock));
        let sessions = forget_sessions(Arc::clone(&store), Arc::clone(&clock), Pace::default(), stop.clone());
        lifecycle.spawn("housekeeping of sessions", sessions);
        lifecycle.spawn("housekeeping of sums", forget_daily_sums(store, clock, Pace::default(), stop.clone()));
        let (http, grpc) = (CancellationToken::new(), CancellationToken::new());
        let ended = grpc.clone().drop_guard();
        let token = stop.clone();
        lifecycle.spawn("grpc", async move {
            let _ended = ended;
            auth.run(token).await
        });
        let ended = http.clone().drop_guard();
        lifecycle.spawn("http", async move {
            let _ended = ended;
            serve_http(listeners.http, gateway, fanout, stop).await
        });
        lifecycle.spawn("drained", async move {
            tokio::join!(http.cancelled(), grpc.cancelled());
            drained.cancel();
            Ok::<_, Infallible>(())
        });
        let ended = run_with_admin(&lifecycle, metrics, listeners.admin, dependencies).await;
        backends.close().await;
        ended
    }
}

impl Listeners {
    fn bind(settings: &Settings) -> Result<Self, Failure> {
        Ok(Self {
            http: bind(settings.http_listen(SERVICE), "SCOREBOARD__HTTP__LISTEN")?,
            admin: bind(settings.admin_listen(SERVICE), "SCOREBOARD__ADMIN__LISTEN")?,
            grpc: bind(settings.grpc_listen(SERVICE), "SCOREBOARD__GRPC__LISTEN")?,
        })
    }
}

/// What this process must have read before it is ready.
fn first_readings(views: &Arc<BoardViews>, gateway: &Arc<Gateway>) -> Vec<Arc<dyn Dependency>> {
    let (views, gateway) = (Arc::clone(views), Arc::clone(gateway));
    vec![
        Arc::new(FirstReading::new("boards", "the database", "SCOREBOARD__DATABASE__URL", move || {
            views.are_all_read()
        })),
        Arc::new(FirstReading::new("keys", "auth", "SCOREBOARD__SECRETS__DIR", move || gateway.knows_keys())),
    ]
}

async fn serve_http(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    fanout: Arc<FanoutState>,
    stop: CancellationToken,
) -> Result<(), std::io::Error> {
    if let Err(error) = tune_listener(&listener) {
        tracing::warn!(%error, "the kernel does not bound what slow readers hold");
    }
    let origins = web::Data::new(gateway.allowed_origins().clone());
    let proxies = web::Data::new(gateway.trusted_proxies().clone());
    let (gateway, streams) = (web::Data::from(gateway), web::Data::from(Arc::clone(&fanout)));
    let options = ServerOptions {
        drain_s: HTTP_DRAIN_S,
        write_buffer: WRITE_BUFFER,
        arrival: ArrivalLimits::default(),
        half_closed: false,
        upgrades: true,
    };
    let server = serve(listener, options, move || {
        App::new()
            .app_data(gateway.clone())
            .app_data(streams.clone())
            .app_data(origins.clone())
            .app_data(proxies.clone())
            .wrap(from_fn(request_scope))
            .configure(realtime_fanout::configure)
            .configure(gateway::configure)
    })?;
    let handle = server.handle();
    let stopper = async {
        stop.cancelled().await;
        // Both at once: nothing new is accepted, and the server waits for open sockets.
        tokio::join!(fanout.drain(), handle.stop(true));
    };
    tokio::join!(server, stopper).0
}
