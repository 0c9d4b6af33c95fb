//! How an index that stands somewhere is brought to the truth's head: with one page where that is enough, else by a
//! fill, page by page.

use common::ids::{BoardId, UserId};
use common::ports::{FillStart, FillStep, IndexState, Projected, QueueError, RankIndex, RowPage, StoreError, Truth};
use common::standing::BoardChange;
use common::state::{BoardHead, StatePoint, Version};
use uuid::Uuid;

/// Why a repair did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The truth or the index failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] QueueError),
    /// A call took too long.
    #[error("no answer within {0} ms")]
    TimedOut(u128),
    /// Another worker fills the index.
    #[error("another worker is filling the index")]
    Busy,
    /// The index or the board's epoch changed meanwhile.
    #[error("the index moved while it was being repaired")]
    Moved,
}

/// What one page could do.
pub(crate) enum Paged {
    /// The index stands at the head already.
    AtHead,
    /// The page brought it there. With the positions of the rows' users.
    Caught(BoardChange, Vec<Option<u64>>),
    /// It needs a fill.
    NeedsFill(BoardHead, IndexState),
    /// There is no such board.
    NoBoard,
}

/// The change from `after` to the page's head; all of it, if the page is complete.
pub(crate) fn change_of(page: RowPage, after: Version) -> BoardChange {
    let BoardHead { board, state } = page.head;
    BoardChange { board, epoch: state.epoch, from: after, to: state.version, rows: page.rows }
}

/// Versions from an index's state to the head; all of them when the index shows another history.
pub(crate) fn lag(head: &StatePoint, state: &IndexState) -> u64 {
    match state {
        IndexState::At(at) if at.epoch == head.epoch => head.version.0.saturating_sub(at.version.0),
        IndexState::At(_) | IndexState::Empty | IndexState::Filling => head.version.0,
    }
}

/// Applies what the index lacks as one live change, if one page holds it.
pub(crate) async fn by_one_page(
    truth: &dyn Truth,
    ranks: &dyn RankIndex,
    board: &BoardId,
    page_rows: usize,
) -> Result<Paged, StoreError> {
    // The state first: commits come before projections, so a head that is read later is never below a sound index.
    let state = ranks.state(board).await?;
    let after = match &state {
        IndexState::At(at) => at.version,
        IndexState::Empty | IndexState::Filling => Version::ZERO,
    };
    let Some(page) = truth.rows_above(board, after, page_rows).await? else { return Ok(Paged::NoBoard) };
    let head = page.head.clone();
    match &state {
        IndexState::At(at) if *at == head.state => return Ok(Paged::AtHead),
        IndexState::At(at) if at.epoch == head.state.epoch && at.version < head.state.version && page.complete => {}
        _ => return Ok(Paged::NeedsFill(head, state)),
    }
    let change = change_of(page, after);
    match ranks.apply(&change).await? {
        Projected::Standing(positions) => Ok(Paged::Caught(change, positions)),
        Projected::Behind(state) => Ok(Paged::NeedsFill(head, state)),
    }
}

/// A fill in our hand.
pub(crate) struct Fill<'a> {
    truth: &'a dyn Truth,
    ranks: &'a dyn RankIndex,
    head: BoardHead,
    filler: Uuid,
    /// The board is read as it is stored first, up to this user: by version its rows are all over the table.
    by_user: Option<Option<UserId>>,
    /// Then whatever has changed since the first page.
    after: Version,
    page_rows: usize,
}

impl<'a> Fill<'a> {
    /// Begins, or goes on where the index stands soundly below `head`.
    pub(crate) async fn begin(
        truth: &'a dyn Truth,
        ranks: &'a dyn RankIndex,
        head: BoardHead,
        page_rows: usize,
    ) -> Result<Self, RepairError> {
        let filler = Uuid::new_v4();
        match ranks.begin_fill(&head.board, &head.state.epoch, head.state.version, filler).await? {
            FillStart::From(after) => {
                let by_user = (after == Version::ZERO).then_some(None);
                Ok(Self { truth, ranks, head, filler, by_user, after, page_rows })
            }
            FillStart::Busy => Err(RepairError::Busy),
        }
    }

    /// Adds the next page. `true` when that was the last and the index shows the head.
    pub(crate) async fn step(&mut self) -> Result<bool, RepairError> {
        let board = &self.head.board;
        let page = match self.by_user {
            Some(after) => self.truth.rows_by_user(board, after, self.page_rows).await?,
            None => self.truth.rows_above(board, self.after, self.page_rows).await?,
        };
        let ours = |page: &RowPage| page.head.state.epoch == self.head.state.epoch;
        let page = page.filter(ours).ok_or(RepairError::Moved)?;
        if let Some(after) = self.by_user {
            step_of(self.ranks.fill(board, self.filler, &page.rows).await?)?;
            if after.is_none() {
                self.after = page.head.state.version;
            }
            self.by_user = (!page.complete).then(|| page.rows.last().map(|last| last.user));
            return Ok(false);
        }
        if let Some(last) = page.rows.last() {
            self.after = last.version;
            step_of(self.ranks.fill(board, self.filler, &page.rows).await?)?;
        } else if !page.complete {
            return Err(RepairError::Moved);
        }
        if page.complete {
            step_of(self.ranks.finish_fill(board, self.filler, &page.head.state).await?)?;
        }
        Ok(page.complete)
    }
}

fn step_of(step: FillStep) -> Result<(), RepairError> {
    match step {
        FillStep::Done => Ok(()),
        FillStep::Lost => Err(RepairError::Moved),
    }
}
