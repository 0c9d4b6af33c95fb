//! The messages of `ScoreService`, from the domain.

use common::error_code::{Details, Refusal};
use common::standing::{Entry, TopList};

use crate::v1;

impl From<&Entry> for v1::BoardEntry {
    fn from(entry: &Entry) -> Self {
        Self {
            user_id: entry.user.to_string(),
            username: entry.username.to_string(),
            score: entry.score,
            rank: entry.rank,
            last_updated_ms: entry.updated_at.as_millis(),
        }
    }
}

/// Lines in their order.
#[must_use]
pub fn entries(entries: &[Entry]) -> Vec<v1::BoardEntry> {
    entries.iter().map(Into::into).collect()
}

impl v1::TopResponse {
    /// The best of `board`.
    #[must_use]
    pub fn new(board: &str, top: &TopList) -> Self {
        Self {
            board: board.to_owned(),
            epoch: top.state.epoch.to_string(),
            version: top.state.version.0,
            leaderboard: entries(&top.entries),
        }
    }
}

impl From<&Refusal> for v1::SubmitRefusal {
    fn from(refusal: &Refusal) -> Self {
        let mut this = Self {
            code: refusal.code.as_str().to_owned(),
            message: refusal.message.clone(),
            retry_after_seconds: refusal.retry_after_s,
            ..Self::default()
        };
        match &refusal.details {
            Details::Field(field) => this.field = (*field).to_owned(),
            Details::Limit(limit) => this.limit = (*limit).to_owned(),
            Details::Receipt(receipt) => this.receipt = Some(receipt.as_ref().into()),
            // The others belong to requests that are no updates.
            _ => {}
        }
        this
    }
}
