//! Signs actions for trusted callers: game servers that hold a service key of their own and no issuer key.
//!
//! Each caller has an issuer key that only auth holds and no store keeps: derived from auth's own master secret, the
//! caller's name and its service key. It ends when the caller's file is taken away or made anew.

use std::collections::BTreeMap;

use common::clock::Timestamp;
use common::ids::{ActionId, ActionType, BoardId, UserId};
use common::ports::IssuerKey;
use common::signature::{SignedAction, SigningKey};
use runtime::secrets::AuthSecrets;

use crate::callers::is_game_server;

/// Separates these keys from every other use of the master.
const LABEL: &str = "scoreboard-caller-issuer-key-v1";

/// What a caller wants signed.
#[derive(Clone, Debug)]
pub struct ActionToSign {
    /// Whose action.
    pub user: UserId,
    /// On which board.
    pub board: BoardId,
    /// The action.
    pub action_id: ActionId,
    /// Its type.
    pub action_type: ActionType,
    /// The points, where the update will name them.
    pub points: Option<i64>,
}

/// What goes into the update beside the action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionSignature {
    /// 64 lower-case hex digits.
    pub signature: String,
    /// As signed.
    pub timestamp: String,
    /// Names the key.
    pub key_id: String,
}

/// The keys of callers.
pub(crate) struct ActionSigner {
    keys: BTreeMap<String, IssuerKey>,
}

impl ActionSigner {
    pub(crate) fn new(secrets: &AuthSecrets) -> Self {
        let callers = secrets.callers.iter().filter(|(name, _)| is_game_server(name));
        let keys = callers.map(|(name, service_key)| {
            let line = format!("{LABEL}\n{name}\n{}", service_key.as_str());
            let secret = SigningKey::from_bytes(secrets.refresh_master.mac(line.as_bytes()));
            // A part of what the secret makes of a constant: tells this key from the caller's earlier ones and nothing
            // of itself.
            let key_id = format!("auth-{name}-{}", hex::encode(&secret.mac(LABEL.as_bytes())[..4]));
            (name.clone(), IssuerKey { key_id, secret })
        });
        Self { keys: keys.collect() }
    }

    /// What gateways verify with.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &IssuerKey> {
        self.keys.values()
    }

    /// `None`: the caller may not sign.
    pub(crate) fn sign(&self, caller: &str, action: &ActionToSign, now: Timestamp) -> Option<ActionSignature> {
        let key = self.keys.get(caller)?;
        let timestamp = now.to_string();
        let signed = SignedAction {
            board: &action.board,
            user: action.user,
            action_id: &action.action_id,
            action_type: &action.action_type,
            points: action.points,
            timestamp: &timestamp,
        };
        Some(ActionSignature { signature: signed.sign(&key.secret), key_id: key.key_id.clone(), timestamp })
    }
}
