//! The truth, taken away by a switch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use common::board::Board;
use common::ids::{ActionId, BoardId, UserId};
use common::ports::{BoardDigest, RowPage, StoreError, Truth};
use common::receipt::Receipt;
use common::standing::{Entry, Neighborhood, TopList};
use common::state::{BoardHead, Version};

pub(crate) struct TruthWithFaults {
    pub(crate) inner: Arc<dyn Truth>,
    pub(crate) away: AtomicBool,
    /// What stands in its place once it was restored.
    pub(crate) restored: OnceLock<Arc<dyn Truth>>,
}

impl TruthWithFaults {
    fn here(&self) -> Result<&dyn Truth, StoreError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { store: "test", source: "taken away".into() });
        }
        Ok(&**self.restored.get().unwrap_or(&self.inner))
    }
}

#[async_trait]
impl Truth for TruthWithFaults {
    async fn boards(&self) -> Result<Vec<Board>, StoreError> {
        self.here()?.boards().await
    }
    async fn heads(&self) -> Result<Vec<BoardHead>, StoreError> {
        self.here()?.heads().await
    }
    async fn top(&self, board: &BoardId, limit: usize) -> Result<Option<TopList>, StoreError> {
        self.here()?.top(board, limit).await
    }
    async fn neighborhood(
        &self,
        board: &BoardId,
        user: UserId,
        around: usize,
    ) -> Result<Option<Neighborhood<Entry>>, StoreError> {
        self.here()?.neighborhood(board, user, around).await
    }
    async fn rows_above(&self, board: &BoardId, after: Version, limit: usize) -> Result<Option<RowPage>, StoreError> {
        self.here()?.rows_above(board, after, limit).await
    }
    async fn rows_by_user(
        &self,
        board: &BoardId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Option<RowPage>, StoreError> {
        self.here()?.rows_by_user(board, after, limit).await
    }
    async fn receipt(&self, user: UserId, board: &BoardId, action: &ActionId) -> Result<Option<Receipt>, StoreError> {
        self.here()?.receipt(user, board, action).await
    }
    async fn digest(&self, board: &BoardId) -> Result<Option<BoardDigest>, StoreError> {
        self.here()?.digest(board).await
    }
}
