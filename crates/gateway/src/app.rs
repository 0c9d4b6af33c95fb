//! The application object: built from ports and settings, run until stopped.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::{App, web};
use board_view::BoardViews;
use common::clock::Clock;
use common::ports::{Authority, EventBus, Guard, PendingMarks, Profiles, RankIndex, Truth, UpdateQueue};
use http_edge::client_address::TrustedProxies;
use http_edge::origin::AllowedOrigins;
use http_edge::request_scope::request_scope;
use http_edge::server::{ArrivalLimits, ServerOptions, serve};
use runtime::exit::{Exit, Failure};
use runtime::queue_age::Age;
use runtime::rate_buckets::RateBuckets;
use runtime::secrets::{GatewayCaller, GatewaySecrets, SigningMasters};
use runtime::settings::Settings;
use tokio_util::sync::CancellationToken;

use crate::grpc::Callers;
use crate::issuer_keys::IssuerKeyRing;
use crate::limits::RateLimits;
use crate::metrics::GatewayMetrics;
use crate::standings::Standings;
use crate::tokens::TokenGate;
use crate::top_answers::TopAnswers;
use crate::undecided::Undecided;

/// Bytes that a connection collects before it writes.
const WRITE_BUFFER: usize = 32 * 1024;

/// What the gateway asks of the world.
#[derive(Clone)]
pub struct GatewayPorts {
    /// The truth, for reads that memory and the index cannot answer.
    pub truth: Arc<dyn Truth>,
    /// Positions.
    pub ranks: Arc<dyn RankIndex>,
    /// Names.
    pub profiles: Arc<dyn Profiles>,
    /// The way to the worker.
    pub queue: Arc<dyn UpdateQueue>,
    /// Which accepted actions are not decided yet.
    pub pending: Arc<dyn PendingMarks>,
    /// Rates, revocations and first answers.
    pub guard: Arc<dyn Guard>,
    /// Revocations.
    pub events: Arc<dyn EventBus>,
    /// Accounts, tokens, keys.
    pub authority: Arc<dyn Authority>,
    /// The tops and rules of all boards; whoever builds the gateway runs it.
    pub views: Arc<BoardViews>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What an operator can choose.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// How long to wait for the worker's answer.
    pub submit_wait: Duration,
    /// The keys of sessions are derived from them.
    pub signing_masters: SigningMasters,
    /// Who may call by gRPC.
    pub callers: Vec<GatewayCaller>,
    /// The shortest time between two events of a watched board.
    pub tick: Duration,
    /// Where the page finds the stream; `None`: on this origin.
    pub stream_public_url: Option<String>,
    /// How often who may do what.
    pub limits: RateLimits,
    /// Whose forwarding headers count.
    pub trusted_proxies: TrustedProxies,
    /// Pages of other origins that may read answers.
    pub allowed_origins: AllowedOrigins,
}

impl GatewaySettings {
    /// As the process's settings say.
    ///
    /// # Errors
    /// [`Exit::Config`] naming the setting that is wrong.
    pub fn read(settings: &Settings, secrets: GatewaySecrets) -> Result<Self, Failure> {
        let trusted_proxies = TrustedProxies::parse(&settings.http.trusted_proxies)
            .map_err(|error| Failure::new(Exit::Config, format!("SCOREBOARD__HTTP__TRUSTED_PROXIES: {error}")))?;
        Ok(Self {
            submit_wait: Duration::from_millis(settings.submit.wait_ms),
            tick: Duration::from_millis(settings.stream.tick_ms),
            signing_masters: secrets.signing_masters,
            callers: secrets.callers,
            stream_public_url: settings.stream.public_url.clone(),
            limits: RateLimits::from(&settings.limits),
            trusted_proxies,
            allowed_origins: AllowedOrigins::new(settings.http.allowed_origins.clone()),
        })
    }
}

/// The gateway's state, shared by all workers.
pub struct Gateway {
    pub(crate) ports: GatewayPorts,
    pub(crate) settings: GatewaySettings,
    pub(crate) tokens: TokenGate,
    pub(crate) issuer_keys: IssuerKeyRing,
    pub(crate) callers: Arc<Callers>,
    pub(crate) standings: Standings,
    pub(crate) metrics: GatewayMetrics,
    /// What was answered with 202 and is not decided.
    pub(crate) undecided: Undecided,
    /// Reads are counted per node.
    pub(crate) reads: RateBuckets,
    pub(crate) top_answers: TopAnswers,
}

impl Gateway {
    /// Builds the state. [`Self::run`] keeps it current.
    #[must_use]
    pub fn new(ports: GatewayPorts, settings: GatewaySettings) -> Arc<Self> {
        let masters = settings.signing_masters.clone();
        let gate = runtime::token_gate::TokenGate::new(Arc::clone(&ports.authority), Arc::clone(&ports.clock));
        let tokens = TokenGate::new(Arc::new(gate), masters);
        let standings = Standings::new(&ports);
        let strangers = settings.limits.address_anonymous;
        let callers = Callers::new(settings.callers.clone(), strangers, Arc::clone(&ports.clock));
        Arc::new(Self {
            callers: Arc::new(callers),
            issuer_keys: IssuerKeyRing::new(Arc::clone(&ports.authority)),
            tokens,
            standings,
            metrics: GatewayMetrics::new(),
            undecided: Undecided::new(Arc::clone(&ports.truth), Arc::clone(&ports.clock)),
            reads: RateBuckets::default(),
            top_answers: TopAnswers::default(),
            ports,
            settings,
        })
    }

    /// Pages of other origins that may read answers.
    #[must_use]
    pub const fn allowed_origins(&self) -> &AllowedOrigins {
        &self.settings.allowed_origins
    }

    /// The gate for tokens, for the streams of the same process; [`Self::run`] keeps it current.
    #[must_use]
    pub fn token_gate(&self) -> Arc<runtime::token_gate::TokenGate> {
        self.tokens.shared()
    }

    /// Whose forwarding headers count.
    #[must_use]
    pub const fn trusted_proxies(&self) -> &TrustedProxies {
        &self.settings.trusted_proxies
    }

    /// Whether auth's keys were read: before that, no token can be told from a forged one.
    #[must_use]
    pub fn knows_keys(&self) -> bool {
        self.tokens.keys().is_ok()
    }

    /// Takes over what an operator rotated: signatures by the current and the previous master verify from now on, and
    /// auth is asked for its keys at once; callers are those of the files now. The service key stays as it was.
    pub fn reload(&self, secrets: GatewaySecrets) {
        self.callers.reload(secrets.callers);
        self.tokens.reload(secrets.signing_masters);
    }

    /// Tells how long the oldest update has waited that this gateway promised and nobody has decided; [`Self::run`] keeps
    /// it current.
    #[must_use]
    pub fn queue_age(self: &Arc<Self>) -> Age {
        let gateway = Arc::downgrade(self);
        Arc::new(move || gateway.upgrade().map_or(Duration::ZERO, |gateway| gateway.undecided.age()))
    }

    /// Follows keys, revocations and what is not decided until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::select! {
            () = self.tokens.run(self.ports.events.as_ref(), stop) => {}
            () = self.issuer_keys.run() => {}
            () = self.undecided.run() => {}
        }
    }
}

/// The gateway could not go on serving.
#[derive(Debug, thiserror::Error)]
#[error("the public listener cannot be served")]
pub struct GatewayError(#[from] std::io::Error);

/// The gateway as a service of its own, with its listener.
pub struct GatewayApp {
    gateway: Arc<Gateway>,
    listener: TcpListener,
}

impl GatewayApp {
    /// Builds the service on a bound listener (port 0 in tests).
    #[must_use]
    pub fn build(ports: GatewayPorts, settings: GatewaySettings, listener: TcpListener) -> Self {
        Self { gateway: Gateway::new(ports, settings), listener }
    }

    /// The state, for who tells it of rotated secrets.
    #[must_use]
    pub fn gateway(&self) -> Arc<Gateway> {
        Arc::clone(&self.gateway)
    }

    /// The port that it listens on.
    ///
    /// # Errors
    /// When the listener has none.
    pub fn port(&self) -> std::io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// Serves until `stop`, then finishes the requests in hand.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn run(self, stop: CancellationToken) -> Result<(), GatewayError> {
        let gateway = web::Data::from(Arc::clone(&self.gateway));
        let origins = web::Data::new(self.gateway.allowed_origins().clone());
        let proxies = web::Data::new(self.gateway.trusted_proxies().clone());
        let options = ServerOptions {
            drain_s: 8,
            write_buffer: WRITE_BUFFER,
            arrival: ArrivalLimits::default(),
            half_closed: true,
            upgrades: false,
        };
        let server = serve(self.listener, options, move || {
            App::new()
                .app_data(gateway.clone())
                .app_data(origins.clone())
                .app_data(proxies.clone())
                .wrap(from_fn(request_scope))
                .configure(crate::paths::configure)
        })?;
        let handle = server.handle();
        let stopper = async {
            stop.cancelled().await;
            handle.stop(true).await;
        };
        let (served, (), ()) = tokio::join!(server, stopper, self.gateway.run(stop.clone()));
        Ok(served?)
    }
}
