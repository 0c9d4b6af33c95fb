//! What auth signs with now, and what takes its place after a rotation.
//!
//! New keys are published at once and used a while later: by then every verifier could read them, so that no token and
//! no signature of a player is refused because a node has not heard yet. Where the old key does not verify any more,
//! somebody took it away on purpose, and the new one is used at once.

use std::sync::Arc;

use common::clock::Timestamp;
use common::ports::VerificationKey;
use parking_lot::RwLock;
use runtime::secrets::{AuthSecrets, SigningMasters};

use crate::access_tokens::{AccessTokens, IssueError};

/// What a login is signed with.
pub(crate) struct Signer {
    pub(crate) access_tokens: AccessTokens,
    pub(crate) masters: SigningMasters,
    kid: String,
}

impl Signer {
    fn new(secrets: &AuthSecrets) -> Result<Self, IssueError> {
        Ok(Self {
            access_tokens: AccessTokens::new(&secrets.active_key)?,
            masters: secrets.signing_masters.clone(),
            kid: secrets.active_key.kid().to_owned(),
        })
    }

    fn signs_like(&self, other: &Self) -> bool {
        self.kid == other.kid && self.masters.current == other.masters.current
    }
}

struct State {
    signer: Arc<Signer>,
    /// From when on it is the signer.
    next: Option<(Timestamp, Arc<Signer>)>,
    published: Arc<Vec<VerificationKey>>,
}

impl State {
    fn signer(&self, now: Timestamp) -> &Arc<Signer> {
        match &self.next {
            Some((from, next)) if now >= *from => next,
            _ => &self.signer,
        }
    }
}

/// Signs, and follows rotations.
pub(crate) struct SigningKeys {
    state: RwLock<State>,
    overlap_ms: i64,
}

impl SigningKeys {
    /// Signs with `secrets` at once: a process that starts has nothing older.
    pub(crate) fn new(secrets: &AuthSecrets, overlap_ms: i64) -> Result<Self, IssueError> {
        let published = Arc::new(secrets.verification_keys.clone());
        Ok(Self {
            state: RwLock::new(State { signer: Arc::new(Signer::new(secrets)?), next: None, published }),
            overlap_ms,
        })
    }

    pub(crate) fn signer(&self, now: Timestamp) -> Arc<Signer> {
        Arc::clone(self.state.read().signer(now))
    }

    pub(crate) fn published(&self) -> Arc<Vec<VerificationKey>> {
        Arc::clone(&self.state.read().published)
    }

    /// Takes `secrets` over; from when on they sign.
    pub(crate) fn replace(&self, secrets: &AuthSecrets, now: Timestamp) -> Result<Timestamp, IssueError> {
        let incoming = Arc::new(Signer::new(secrets)?);
        let mut state = self.state.write();
        let signing = Arc::clone(state.signer(now));
        let still_good = secrets.verification_keys.iter().any(|key| key.kid == signing.kid)
            && secrets.signing_masters.verify_keys_of(&signing.masters.current);
        let from = match &state.next {
            // Heard twice: the wait does not begin anew.
            Some((from, next)) if still_good && next.signs_like(&incoming) => *from,
            _ if still_good && !signing.signs_like(&incoming) => now.plus_millis(self.overlap_ms),
            _ => now,
        };
        state.signer = signing;
        state.next = Some((from, incoming));
        state.published = Arc::new(secrets.verification_keys.clone());
        Ok(from)
    }
}
