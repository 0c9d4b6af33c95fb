//! Marks of actions that were accepted and are not decided yet.

use async_trait::async_trait;
use common::ids::{ActionId, BoardId, UserId};
use common::ports::PendingMarks;
use common::score_update::ScoreUpdate;
use deadpool_redis::redis;
use prost::Message as _;
use wire::v1;

use super::RedisLink;

/// How long an action stays pending at most, in seconds.
const LIFETIME_S: u64 = 3_600;

/// Pending marks on Redis, each the protobuf of its update. A mark that cannot be set or read is no mark: the receipt
/// is `not_found` until the decision.
pub struct RedisPendingMarks {
    link: RedisLink,
}

impl RedisPendingMarks {
    /// On a link that is shared with others.
    #[must_use]
    pub fn new(link: RedisLink) -> Self {
        Self { link }
    }
}

/// A user's id has one length and a board's id no colon, so the join is unambiguous.
fn key(user: UserId, board: &BoardId, action: &ActionId) -> String {
    format!("pending:{{{user}}}:{board}:{action}")
}

#[async_trait]
impl PendingMarks for RedisPendingMarks {
    async fn mark(&self, update: &ScoreUpdate) {
        let message = v1::ScoreUpdate::from(update).encode_to_vec();
        let mut pipe = redis::pipe();
        pipe.set_ex(key(update.user, &update.board, &update.action_id), message, LIFETIME_S).ignore();
        let limit = self.link.settings().call_timeout;
        if let Err(failure) = self.link.query::<()>("mark_pending", limit, &pipe).await {
            let error = runtime::exit::causes(&failure);
            tracing::warn!(board = %update.board, request_id = %update.request_id, error, "could not mark an action as pending");
        }
    }

    async fn find(&self, user: UserId, board: &BoardId, action: &ActionId) -> Option<ScoreUpdate> {
        let mut pipe = redis::pipe();
        pipe.get(key(user, board, action));
        let limit = self.link.settings().call_timeout;
        let found: Option<Vec<u8>> = match self.link.query::<(Option<Vec<u8>>,)>("find_pending", limit, &pipe).await {
            Ok((found,)) => found,
            Err(failure) => {
                let error = runtime::exit::causes(&failure);
                tracing::warn!(%board, error, "could not look for a pending action");
                return None;
            }
        };
        let message = v1::ScoreUpdate::decode(&*found?);
        let update = message.map_err(wire::DamagedMessage::from).and_then(|message| ScoreUpdate::try_from(&message));
        update.inspect_err(|error| tracing::warn!(%board, %error, "a pending mark is damaged")).ok()
    }
}
