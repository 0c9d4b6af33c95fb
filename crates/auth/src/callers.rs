//! Who calls auth, shown by a service key, and what each may ask.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use grpc_edge::CallerRing;
use runtime::secrets::ServiceKey;
use tonic::{Request, Status};

/// The one caller that acts for players: it may ask everything.
const GATEWAY: &str = "gateway";

/// The services of ours: every other caller is a game server, which may have actions signed.
const OURS: [&str; 4] = [GATEWAY, "realtime-fanout", "score-worker", "auth"];

/// Whether a caller of this name may have actions signed. A gateway may not: it acts for players, who earn nothing by
/// asking.
pub(crate) fn is_game_server(caller: &str) -> bool {
    !OURS.contains(&caller)
}

/// A service that showed its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(Arc<str>);

impl Caller {
    /// The caller's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether it may register, log in, refresh and log out for players. Others may read keys and revocations and
    /// have tokens validated: the key of a stolen fan-out node opens nothing more.
    #[must_use]
    pub fn acts_for_players(&self) -> bool {
        &*self.0 == GATEWAY
    }
}

/// Who may call auth, and what each shows.
pub struct AuthCallers(Vec<(Caller, ServiceKey)>);

impl AuthCallers {
    /// Knows these callers by these keys.
    #[must_use]
    pub fn new(callers: &BTreeMap<String, ServiceKey>) -> Self {
        Self(callers.iter().map(|(name, key)| (Caller(Arc::from(name.as_str())), key.clone())).collect())
    }
}

impl CallerRing for AuthCallers {
    type Caller = Caller;

    fn find(&self, presented: &str) -> Option<Caller> {
        // All are compared, whichever matches: the time tells nothing.
        self.0
            .iter()
            .fold(None, |found, (caller, key)| if key.matches(presented) { Some(caller.clone()) } else { found })
    }

    fn refusal(&self, _remote: Option<IpAddr>) -> (Status, bool) {
        // Not one of the contract's codes, on purpose: it is the operator's mistake and no player's.
        (Status::unauthenticated("this needs a service key: authorization: Bearer <key>"), true)
    }
}

/// Lets only callers in that act for players.
pub(crate) fn require_gateway<T>(request: &Request<T>) -> Result<(), Status> {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.acts_for_players() => Ok(()),
        _ => Err(Status::permission_denied("this service key may read keys and revocations and validate tokens only")),
    }
}

/// Lets only callers in that are game servers; who it is.
pub(crate) fn require_game_server<T>(request: &Request<T>) -> Result<Caller, Status> {
    match request.extensions().get::<Caller>() {
        Some(caller) if is_game_server(caller.name()) => Ok(caller.clone()),
        _ => Err(Status::permission_denied("actions are signed for game servers with a service key of their own only")),
    }
}
