//! What a store forgets once nobody needs it any more.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::{Timestamp, UtcDay};

/// Takes rows away in batches, so that no step is long. Several may do so at once.
#[async_trait]
pub trait Housekeeping: Send + Sync {
    /// Forgets up to `limit` sessions that expired before `before`, ended or not; how many.
    async fn forget_sessions(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// Forgets up to `limit` sums of points by user and day, of days before `before`; how many.
    async fn forget_daily_sums(&self, before: UtcDay, limit: usize) -> Result<usize, StoreError>;
}
