//! Auth on a real socket, over a real store, with a clock in hand.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use auth::{AuthApp, AuthPorts, AuthService, AuthSettings, ServeError};
use common::account::Revocation;
use common::clock::Timestamp;
use common::error_code::{ErrorCode, Refusal};
use common::ports::{Accounts, Event, EventBus, EventStream, QueueError};
use embedded::Embedded;
use parking_lot::Mutex;
use runtime::secrets::{AuthSecrets, FanoutSecrets, GatewaySecrets, Permission, ServiceKey, create_caller, init};
use runtime::settings::Registration;
use testkit::clock::ManualClock;
use testkit::waiting::{SOON, within};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use wire::refusal_from_status;
use wire::v1::auth_service_client::AuthServiceClient;
use wire::v1::{LoginRequest, RefreshRequest, RegisterRequest, TokenGrant, ValidateTokenRequest};

pub(crate) const PASSWORD: &str = "correct horse battery";

/// Hears what nodes would hear; can be told to take nothing.
pub(crate) struct HeardBus {
    accounts: Arc<dyn Accounts>,
    heard: Mutex<Vec<Revocation>>,
    hangs: AtomicBool,
}

impl HeardBus {
    pub(crate) fn take_nothing_more(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl EventBus for HeardBus {
    async fn publish(&self, event: Event) -> Result<(), QueueError> {
        let Event::SessionRevoked(revocation) = event else { panic!("auth tells of sessions only: {event:?}") };
        let committed = self.accounts.revocations(Timestamp::from_millis(0)).await.unwrap();
        assert!(committed.iter().any(|r| r.session == revocation.session), "the store knows before the nodes hear");
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.heard.lock().push(revocation);
        Ok(())
    }

    fn subscribe(&self) -> Box<dyn EventStream> {
        unreachable!("auth only publishes")
    }
}

/// A running auth; stopped by [`Auth::stop`] or when the test's runtime ends.
pub(crate) struct Auth {
    pub(crate) clock: ManualClock,
    pub(crate) accounts: Arc<dyn Accounts>,
    pub(crate) issuer_keys: Arc<dyn common::ports::IssuerKeys>,
    pub(crate) bus: Arc<HeardBus>,
    pub(crate) service: Arc<AuthService>,
    pub(crate) secrets: AuthSecrets,
    pub(crate) gateway: GatewaySecrets,
    pub(crate) fanout: FanoutSecrets,
    pub(crate) url: String,
    stop: CancellationToken,
    running: JoinHandle<Result<(), ServeError>>,
    dir: tempfile::TempDir,
}

impl Auth {
    pub(crate) async fn start() -> Self {
        Self::start_on(0).await
    }

    pub(crate) async fn start_on(port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path()).unwrap();
        create_caller(dir.path(), "arena", &[Permission::Sign]).unwrap();
        let secrets = AuthSecrets::load(dir.path()).unwrap();
        let clock = ManualClock::default();
        let embedded = Embedded::open(&dir.path().join("data"), Arc::new(clock.clone())).unwrap();
        let store = embedded.store;
        let accounts: Arc<dyn Accounts> = store.clone();
        let bus = Arc::new(HeardBus {
            accounts: Arc::clone(&accounts),
            heard: Mutex::default(),
            hangs: AtomicBool::new(false),
        });
        let events = Arc::clone(&bus) as Arc<dyn EventBus>;
        let ports = AuthPorts::new(Arc::clone(&accounts), store.clone(), events, Arc::new(clock.clone()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let app = AuthApp::build(ports, &AuthSettings::new(secrets.clone()), listener).unwrap();
        let (url, service) = (format!("http://127.0.0.1:{}", app.port()), app.service());
        let stop = CancellationToken::new();
        let running = tokio::spawn(app.run(stop.clone()));
        let (gateway, fanout) = (GatewaySecrets::load(dir.path()).unwrap(), FanoutSecrets::load(dir.path()).unwrap());
        Self {
            clock,
            accounts,
            issuer_keys: store.clone(),
            bus,
            service,
            secrets,
            gateway,
            fanout,
            url,
            stop,
            running,
            dir,
        }
    }

    /// The same, on the same store, with registration closed.
    pub(crate) fn closed_to_strangers(&self) -> AuthService {
        let (bus, clock) = (Arc::clone(&self.bus) as Arc<dyn EventBus>, Arc::new(self.clock.clone()));
        let mut settings = AuthSettings::new(self.secrets.clone());
        settings.registration = Registration::Closed;
        let ports = AuthPorts::new(Arc::clone(&self.accounts), Arc::clone(&self.issuer_keys), bus, clock);
        AuthService::new(ports, &settings).unwrap()
    }

    /// The directory of its secrets.
    pub(crate) fn secrets_dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url.clone()).unwrap().connect().await.unwrap()
    }

    /// A client that shows the gateway's key.
    pub(crate) async fn client(&self) -> Client {
        Client { calls: AuthServiceClient::new(self.channel().await), key: Some(self.gateway.service_key.clone()) }
    }

    pub(crate) async fn registered(&self, username: &str) -> Client {
        let mut client = self.client().await;
        client.register(username, PASSWORD).await.unwrap();
        client
    }

    pub(crate) fn heard(&self) -> Vec<Revocation> {
        self.bus.heard.lock().clone()
    }

    pub(crate) async fn stop(self) -> Result<(), ServeError> {
        self.stop.cancel();
        within(SOON, "auth to stop", self.running).await.unwrap()
    }
}

/// Calls over the socket; errors as a gateway reads them.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) calls: AuthServiceClient<Channel>,
    pub(crate) key: Option<ServiceKey>,
}

impl Client {
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(key) = &self.key {
            let value = format!("Bearer {}", key.as_str()).parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    pub(crate) async fn register(&mut self, username: &str, password: &str) -> Result<String, Refusal> {
        let message = RegisterRequest { username: username.to_owned(), password: password.to_owned() };
        let answer = self.calls.register(self.request(message)).await.map_err(refused)?;
        assert_eq!(answer.get_ref().username, username);
        Ok(answer.into_inner().user_id)
    }

    pub(crate) async fn login(&mut self, username: &str, password: &str) -> Result<TokenGrant, Refusal> {
        let message = LoginRequest { username: username.to_owned(), password: password.to_owned() };
        Ok(self.calls.login(self.request(message)).await.map_err(refused)?.into_inner())
    }

    pub(crate) async fn refresh(&mut self, token: &str) -> Result<TokenGrant, Refusal> {
        let message = RefreshRequest { refresh_token: token.to_owned() };
        Ok(self.calls.refresh(self.request(message)).await.map_err(refused)?.into_inner())
    }

    pub(crate) async fn logout(&mut self, session: &str) -> Result<(), Refusal> {
        let message = wire::v1::LogoutRequest { session_id: session.to_owned() };
        self.calls.logout(self.request(message)).await.map_err(refused)?;
        Ok(())
    }

    /// The session of a good token, else the code of its refusal.
    pub(crate) async fn validate(&mut self, token: &str) -> Result<String, ErrorCode> {
        let message = ValidateTokenRequest { access_token: token.to_owned() };
        let answer = self.calls.validate_token(self.request(message)).await;
        answer.map(|answer| answer.into_inner().session_id).map_err(|status| refused(status).code)
    }
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn refused(status: Status) -> Refusal {
    refusal_from_status(&status)
}
