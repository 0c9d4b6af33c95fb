//! Refusals that no batch decided: updates that no transaction takes.

use common::clock::Timestamp;
use common::error_code::ErrorCode;
use common::ids::IdempotencyKey;
use common::ports::StoreError;
use common::score_update::ScoreUpdate;

use super::values::PgTime;
use super::{PgStore, statements};

impl PgStore {
    pub(super) async fn write_refusal(
        &self,
        update: &ScoreUpdate,
        code: ErrorCode,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = update.idempotency_key.as_ref().map(IdempotencyKey::as_str);
        let hash: &[u8] = &update.content_hash.0;
        self.change(
            statements::WRITE_REFUSAL,
            &[
                &update.user.0,
                &update.submission.0,
                &update.board.as_str(),
                &update.action_id.as_str(),
                &update.action_type.as_str(),
                &update.points,
                &update.proof.as_str(),
                &key,
                &hash,
                &code.as_str(),
                &PgTime(update.accepted_at),
                &update.request_id,
                &PgTime(now),
            ],
        )
        .await?;
        Ok(())
    }
}
