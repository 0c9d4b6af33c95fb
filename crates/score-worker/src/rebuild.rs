//! Building an index from the truth, beside whatever is live.

use common::ids::BoardId;
use common::ports::{IndexState, RankIndex, Truth};
use common::state::StatePoint;

pub use crate::catch_up::RepairError;
use crate::catch_up::{Fill, Paged, by_one_page};

/// Rows that are read at once.
const PAGE_ROWS: usize = 2_000;

/// Brings `index` to the truth's head, by whatever that takes; where it stands then. `None`: no such board.
///
/// # Errors
/// [`RepairError`].
pub async fn bring_to_head(
    truth: &dyn Truth,
    index: &dyn RankIndex,
    board: &BoardId,
) -> Result<Option<StatePoint>, RepairError> {
    match by_one_page(truth, index, board, PAGE_ROWS).await? {
        Paged::NoBoard => return Ok(None),
        Paged::AtHead | Paged::Caught(..) => {}
        Paged::NeedsFill(head, _) => {
            let mut fill = Fill::begin(truth, index, head, PAGE_ROWS).await?;
            while !fill.step().await? {}
        }
    }
    match index.state(board).await? {
        IndexState::At(state) => Ok(Some(state)),
        IndexState::Empty | IndexState::Filling => Err(RepairError::Moved),
    }
}
