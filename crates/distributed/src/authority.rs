//! The port `Authority` over gRPC: what gateway and fan-out ask of auth.

use std::time::Duration;

use async_trait::async_trait;
use common::account::{OpenSession, Revocation, TokenGrant};
use common::clock::Timestamp;
use common::error_code::Refusal;
use common::ids::{SessionId, UserId};
use common::ports::{Authority, Dependency, IssuerKey, VerificationKey};
use runtime::secrets::ServiceKey;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use wire::v1::auth_service_client::AuthServiceClient;
use wire::{DamagedMessage, refusal_from_status, v1};

/// The longest that a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest that a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest that a check for readiness may take: the port allows 1 s.
const CHECK_TIMEOUT: Duration = Duration::from_millis(900);
/// How often a silent connection is asked whether it lives, and how long it has to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer: revocations of an hour, about 50 bytes each.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

const AUTH_SERVICE: &str = "scoreboard.v1.AuthService";
const URL_SETTING: &str = "SCOREBOARD__AUTH__URL";

/// Auth cannot be called as configured.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The address has no such form.
    #[error("{URL_SETTING} must be a URL such as http://auth:50051")]
    Url(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The service key cannot be sent.
    #[error("the service key cannot be sent as gRPC metadata")]
    ServiceKey(#[source] tonic::metadata::errors::InvalidMetadataValue),
}

/// Auth over gRPC. One connection, made when it is first needed and again whenever it was lost.
#[derive(Clone)]
pub struct GrpcAuthority {
    calls: AuthServiceClient<InterceptedService<Channel, ShowServiceKey>>,
    health: HealthClient<Channel>,
}

impl GrpcAuthority {
    /// Calls auth at `url`, showing `service_key`. Connects when first asked, so that services start without auth;
    /// must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn new(url: &str, service_key: &ServiceKey) -> Result<Self, AuthorityError> {
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| AuthorityError::Url(Box::new(error)))?;
        let scheme = endpoint.uri().scheme_str().unwrap_or_default();
        if scheme != "http" || endpoint.uri().host().is_none_or(str::is_empty) {
            return Err(AuthorityError::Url(
                format!("the scheme must be http and a host is needed, not {scheme:?}").into(),
            ));
        }
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_lazy();
        let calls = AuthServiceClient::with_interceptor(channel.clone(), ShowServiceKey::new(service_key)?)
            .max_decoding_message_size(MAX_ANSWER_BYTES);
        Ok(Self { calls, health: HealthClient::new(channel) })
    }

    async fn check_now(&self) -> Result<(), String> {
        let ask = HealthCheckRequest { service: AUTH_SERVICE.to_owned() };
        let answer = self.health.clone().check(ask).await.map_err(|status| for_operator(&status))?;
        if answer.get_ref().status() != ServingStatus::Serving {
            return Err("auth is not serving (starting or draining)".to_owned());
        }
        // Health is open to everybody: a wrong key shows only in a call that needs it.
        self.calls.clone().jwks(v1::JwksRequest {}).await.map_err(|status| for_operator(&status))?;
        Ok(())
    }
}

#[async_trait]
impl Authority for GrpcAuthority {
    async fn register(&self, username: &str, password: &str) -> Result<(UserId, String), Refusal> {
        let request = v1::RegisterRequest { username: username.to_owned(), password: password.to_owned() };
        taken("register", self.calls.clone().register(request).await, TryInto::try_into)
    }

    async fn login(&self, username: &str, password: &str) -> Result<TokenGrant, Refusal> {
        let request = v1::LoginRequest { username: username.to_owned(), password: password.to_owned() };
        taken("login", self.calls.clone().login(request).await, TryInto::try_into)
    }

    async fn refresh(&self, refresh_token: &str) -> Result<TokenGrant, Refusal> {
        let request = v1::RefreshRequest { refresh_token: refresh_token.to_owned() };
        taken("refresh", self.calls.clone().refresh(request).await, TryInto::try_into)
    }

    async fn logout(&self, session: SessionId) -> Result<(), Refusal> {
        let request = v1::LogoutRequest { session_id: session.to_string() };
        taken("logout", self.calls.clone().logout(request).await, |_| Ok(()))
    }

    async fn change_password(
        &self,
        user: UserId,
        session: SessionId,
        current_password: &str,
        new_password: &str,
    ) -> Result<Vec<SessionId>, Refusal> {
        let request = v1::ChangePasswordRequest {
            user_id: user.to_string(),
            session_id: session.to_string(),
            current_password: current_password.to_owned(),
            new_password: new_password.to_owned(),
        };
        taken("change_password", self.calls.clone().change_password(request).await, ended_sessions)
    }

    async fn logout_all(&self, user: UserId) -> Result<Vec<SessionId>, Refusal> {
        let request = v1::LogoutAllRequest { user_id: user.to_string() };
        taken("logout_all", self.calls.clone().logout_all(request).await, ended_sessions)
    }

    async fn sessions(&self, user: UserId) -> Result<Vec<OpenSession>, Refusal> {
        let request = v1::SessionsRequest { user_id: user.to_string() };
        taken("sessions", self.calls.clone().sessions(request).await, |answer| {
            answer.sessions.iter().map(TryInto::try_into).collect()
        })
    }

    async fn verification_keys(&self) -> Result<Vec<VerificationKey>, Refusal> {
        taken("jwks", self.calls.clone().jwks(v1::JwksRequest {}).await, |answer| {
            answer.keys.into_iter().map(TryInto::try_into).collect()
        })
    }

    async fn revocations(&self, since: Timestamp) -> Result<Vec<Revocation>, Refusal> {
        let request = v1::RevocationsRequest { since_ms: since.as_millis() };
        taken("revocations", self.calls.clone().revocations(request).await, |answer| {
            answer.revocations.iter().map(TryInto::try_into).collect()
        })
    }

    async fn issuer_keys(&self) -> Result<Vec<IssuerKey>, Refusal> {
        taken("issuer keys", self.calls.clone().issuer_keys(v1::IssuerKeysRequest {}).await, |answer| {
            answer.keys.into_iter().map(TryInto::try_into).collect()
        })
    }
}

#[async_trait]
impl Dependency for GrpcAuthority {
    fn name(&self) -> &'static str {
        "auth"
    }

    fn setting(&self) -> &'static str {
        URL_SETTING
    }

    async fn check(&self) -> Result<(), String> {
        let limit_ms = CHECK_TIMEOUT.as_millis();
        match tokio::time::timeout(CHECK_TIMEOUT, self.check_now()).await {
            Ok(checked) => checked,
            Err(_) => Err(format!("auth does not answer within {limit_ms} ms")),
        }
    }
}

/// Adds `authorization: Bearer <service key>`.
#[derive(Clone)]
struct ShowServiceKey(MetadataValue<Ascii>);

impl ShowServiceKey {
    fn new(key: &ServiceKey) -> Result<Self, AuthorityError> {
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {}", key.as_str()).parse().map_err(AuthorityError::ServiceKey)?;
        // Keeps it out of debug output and of HTTP/2 header tables.
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl Interceptor for ShowServiceKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

#[allow(clippy::needless_pass_by_value)] // for `taken`
fn ended_sessions(answer: v1::EndedSessions) -> Result<Vec<SessionId>, DamagedMessage> {
    answer.session_ids.iter().map(|id| wire::auth::session_id(id)).collect()
}

/// What auth answered, in the domain's words. What auth refused is passed on; every other failure is logged here.
fn taken<M, D>(
    call: &'static str,
    answer: Result<Response<M>, Status>,
    convert: impl FnOnce(M) -> Result<D, DamagedMessage>,
) -> Result<D, Refusal> {
    match answer {
        Ok(answer) => convert(answer.into_inner()).map_err(|error| {
            tracing::error!(call, error = %error, "auth gave a damaged answer");
            Refusal::internal()
        }),
        Err(status) => {
            let refusal = refusal_from_status(&status);
            if refusal.code.http_status() >= 500 {
                tracing::warn!(call, error = for_operator(&status), "auth did not answer");
            }
            Err(refusal)
        }
    }
}

/// What is wrong, and the next step where there is one. Without secrets: a status never holds any.
fn for_operator(status: &Status) -> String {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => {
            "auth refuses this service's key: both must come from one `scoreboard key init`".to_owned()
        }
        Code::Unavailable => format!("auth cannot be reached: {}", deepest_cause(status)),
        code => format!("auth answered {code:?}: {}", status.message()),
    }
}

/// The transport wraps the one useful sentence ("connection refused") several times.
fn deepest_cause(status: &Status) -> String {
    let mut deepest: &dyn std::error::Error = status;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    if std::ptr::addr_eq(deepest, status) { status.message().to_owned() } else { deepest.to_string() }
}
