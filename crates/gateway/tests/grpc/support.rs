//! A gateway on a port of its own, with everything behind it in the same process.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use auth::{AuthPorts, AuthService, AuthSettings};
use board_view::{BoardViews, ViewSettings};
use common::board::{ActionRule, Proof};
use common::ids::BoardId;
use common::ports::{Authority, BoardRules as _, SubmitError, Submitted, Truth as _, UpdateQueue};
use common::score_update::ScoreUpdate;
use embedded::{Embedded, MemoryQueue};
use gateway::{AdminPorts, Gateway, GatewayGrpc, GatewayPorts, GatewaySettings};
use grpc_edge::{GrpcSurface, ServeError, serve_grpc};
use parking_lot::Mutex;
use runtime::memory_guard::MemoryGuard;
use runtime::secrets::{AuthSecrets, GatewaySecrets, Permission, create_caller, init};
use runtime::settings::{Settings, Sources};
use score_worker::{ScoreWorker, WorkerPorts, WorkerSettings};
use testkit::clock::ManualClock;
use testkit::fixtures::{Player, players};
use testkit::waiting::{SOON, eventually, within};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use wire::v1::admin_service_client::AdminServiceClient;
use wire::v1::score_service_client::ScoreServiceClient;
use wire::v1::{SubmitRequest, SubmitResponse};

/// Shows a service key.
#[derive(Clone)]
pub(crate) struct Key(String);

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value: MetadataValue<_> = format!("Bearer {}", self.0).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

pub(crate) type Scores = ScoreServiceClient<InterceptedService<Channel, Key>>;
pub(crate) type Admin = AdminServiceClient<InterceptedService<Channel, Key>>;

/// The real queue, with what went into it.
pub(crate) struct Recording {
    queue: Arc<MemoryQueue>,
    pub(crate) proofs: Mutex<Vec<Proof>>,
}

#[async_trait]
impl UpdateQueue for Recording {
    async fn submit(&self, update: ScoreUpdate, wait: Duration) -> Result<Submitted, SubmitError> {
        self.proofs.lock().push(update.proof);
        self.queue.submit(update, wait).await
    }

    fn outlives_process(&self) -> bool {
        self.queue.outlives_process()
    }
}

/// A running gateway.
pub(crate) struct Node {
    pub(crate) clock: ManualClock,
    pub(crate) embedded: Arc<Embedded>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) views: Arc<BoardViews>,
    pub(crate) authority: Arc<dyn Authority>,
    pub(crate) queue: Arc<Recording>,
    pub(crate) url: String,
    stop: CancellationToken,
    /// Stops what is behind the gateway.
    behind: CancellationToken,
    serving: JoinHandle<Result<(), ServeError>>,
    dir: tempfile::TempDir,
}

impl Node {
    /// Without limits.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path()).unwrap();
        create_caller(dir.path(), "referee", &[Permission::Score]).unwrap();
        create_caller(dir.path(), "operator", &[Permission::Admin]).unwrap();
        create_caller(dir.path(), "arena", &[Permission::Sign]).unwrap();
        let none = [("limits.user_updates_per_minute", "0"), ("stream.tick_ms", "1")];
        let flags = none.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = Settings::load(&Sources { flags: flags.collect(), ..Sources::default() }).unwrap();
        let clock = ManualClock::default();
        let embedded = Arc::new(Embedded::open(&dir.path().join("data"), Arc::new(clock.clone())).unwrap());
        let behind = CancellationToken::new();
        let queue = Arc::new(Recording { queue: embedded.queue.clone(), proofs: Mutex::default() });
        let ports = GatewayPorts { queue: queue.clone(), ..ports(&embedded, &clock, dir.path()) };
        let (views, authority) = (Arc::clone(&ports.views), Arc::clone(&ports.authority));
        let gateway =
            Gateway::new(ports, GatewaySettings::read(&settings, GatewaySecrets::load(dir.path()).unwrap()).unwrap());
        let worker = worker(&embedded, &settings, &clock);
        tokio::spawn({
            let (stop, gateway, views) = (behind.clone(), Arc::clone(&gateway), Arc::clone(&views));
            async move { tokio::join!(views.run(stop.clone()), gateway.run(stop.clone()), worker.run(stop)) }
        });
        eventually(SOON, "the boards to be read", || async { views.are_all_read() }).await;

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let admin = AdminPorts { issuer_keys: embedded.store.clone(), rules: embedded.store.clone() };
        let grpc = GatewayGrpc::new(Arc::clone(&gateway), admin, stop.clone());
        let surface = grpc.add_to(GrpcSurface::new().unwrap());
        let serving = tokio::spawn(serve_grpc(listener, surface, stop.clone()));
        Self { clock, embedded, gateway, views, authority, queue, url, stop, behind, serving, dir }
    }

    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(crate) fn key_of(&self, caller: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(caller).join("service-key")).unwrap().trim().to_owned()
    }

    pub(crate) async fn channel(&self) -> Channel {
        // A small window, so that a reader who does not read is soon a slow one.
        let endpoint = Endpoint::from_shared(self.url.clone()).unwrap().initial_stream_window_size(Some(65_535));
        endpoint.initial_connection_window_size(Some(1 << 20)).connect().await.unwrap()
    }

    /// The scores, to the caller of this key.
    pub(crate) async fn scores_with(&self, key: &str) -> Scores {
        ScoreServiceClient::with_interceptor(self.channel().await, Key(key.to_owned()))
    }

    pub(crate) async fn scores(&self) -> Scores {
        self.scores_with(&self.key_of("referee")).await
    }

    pub(crate) async fn admin_with(&self, key: &str) -> Admin {
        AdminServiceClient::with_interceptor(self.channel().await, Key(key.to_owned()))
    }

    pub(crate) async fn admin(&self) -> Admin {
        self.admin_with(&self.key_of("operator")).await
    }

    pub(crate) async fn players(&self, count: usize) -> Vec<Player> {
        players(&*self.embedded.store, count).await
    }

    /// Sets a rule and waits until the gateway follows it.
    pub(crate) async fn rule(&self, rule: ActionRule) {
        let board = BoardId::global();
        assert!(self.embedded.store.set_action_type(&board, &rule).await.unwrap());
        let views = &self.views;
        eventually(SOON, "the rule to be read", || async {
            views.board(&board).is_some_and(|board| board.rule(&rule.action_type).is_ok_and(|known| *known == rule))
        })
        .await;
    }

    /// Rows of the truth that bear the board's version.
    pub(crate) async fn version(&self) -> u64 {
        self.embedded.store.heads().await.unwrap()[0].state.version.0
    }

    /// Begins to drain.
    pub(crate) fn drain(&self) {
        self.stop.cancel();
    }

    /// Waits for the end.
    pub(crate) async fn stopped(self) -> Result<(), ServeError> {
        self.stop.cancel();
        let ended = within(SOON, "the gateway to stop", self.serving).await.unwrap();
        self.behind.cancel();
        ended
    }
}

fn ports(embedded: &Embedded, clock: &ManualClock, secrets: &std::path::Path) -> GatewayPorts {
    let Embedded { store, ranks, queue, bus, pending } = embedded;
    let clock = Arc::new(clock.clone());
    let auth = AuthPorts::new(store.clone(), store.clone(), bus.clone(), clock.clone());
    let authority = AuthService::new(auth, &AuthSettings::new(AuthSecrets::load(secrets).unwrap())).unwrap();
    let settings = ViewSettings { poll: Duration::from_millis(100), ..ViewSettings::default() };
    GatewayPorts {
        truth: store.clone(),
        ranks: ranks.clone(),
        profiles: store.clone(),
        queue: queue.clone(),
        pending: pending.clone(),
        guard: Arc::new(MemoryGuard::new(clock.clone())),
        events: bus.clone(),
        authority: Arc::new(authority),
        views: Arc::new(BoardViews::new(store.clone(), bus.clone(), clock.clone(), settings)),
        clock,
    }
}

fn worker(embedded: &Embedded, settings: &Settings, clock: &ManualClock) -> ScoreWorker {
    let Embedded { store, ranks, queue, bus, .. } = embedded;
    let ports = WorkerPorts {
        ledger: store.clone(),
        truth: store.clone(),
        ranks: ranks.clone(),
        source: queue.clone(),
        events: bus.clone(),
    };
    ScoreWorker::new(ports, WorkerSettings::from(&settings.worker), Arc::new(clock.clone()))
}

/// An update of type `default` on `global`.
pub(crate) fn update(player: &Player, action: &str, points: i64) -> SubmitRequest {
    SubmitRequest {
        user_id: player.user.to_string(),
        action_id: action.to_owned(),
        points: Some(points),
        ..SubmitRequest::default()
    }
}

pub(crate) async fn submit(scores: &mut Scores, update: SubmitRequest) -> Result<SubmitResponse, Status> {
    scores.submit(update).await.map(tonic::Response::into_inner)
}
