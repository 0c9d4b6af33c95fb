//! A board's index, rebuilt beside the live one and put in its place.

use common::ids::BoardId;
use common::ports::{RankIndex, StoreError};
use common::state::StatePoint;
use deadpool_redis::redis::{self, Script};

use super::{RedisRanks, state_of};
use crate::redis::RedisLink;

/// What a swap came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The rebuilt index is the live one now, and nothing of it is left beside.
    Done,
    /// The live index is further ahead.
    Behind(StatePoint),
    /// Nothing was rebuilt, or Redis has forgotten it.
    NothingBuilt,
}

/// An index under names of its own, in the slots of the boards, that nobody reads before [`Self::swap`].
pub struct RebuiltRanks {
    ranks: RedisRanks,
    live: RedisRanks,
    swap: Script,
}

impl RebuiltRanks {
    /// On a link that is shared with others.
    #[must_use]
    pub fn new(link: RedisLink) -> Self {
        let swap = Script::new(concat!(include_str!("../scripts/rows.lua"), include_str!("../scripts/swap.lua")));
        let ranks = RedisRanks { place: "rebuild:", ..RedisRanks::new(link.clone()) };
        Self { ranks, live: RedisRanks::new(link), swap }
    }

    /// The index that is being built.
    #[must_use]
    pub fn index(&self) -> &dyn RankIndex {
        &self.ranks
    }

    /// Throws away what an earlier rebuild left.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn clear(&self, board: &BoardId) -> Result<(), StoreError> {
        let mut pipe = redis::pipe();
        for what in ["scores", "members", "version", "fill"] {
            pipe.cmd("UNLINK").arg(self.ranks.key(board, what)).ignore();
        }
        Ok(self.ranks.link.query("clear_rebuilt", self.ranks.call_timeout(), &pipe).await?)
    }

    /// Puts the rebuilt index of a board in the place of the live one, in one step. The live one may fall back by at most
    /// `may_lose` versions of its history; who projects next catches it up.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn swap(&self, board: &BoardId, may_lose: u64) -> Result<Swap, StoreError> {
        let mut call = self.live.on(&self.swap, board);
        for what in ["scores", "members", "version", "fill"] {
            call.key(self.ranks.key(board, what));
        }
        call.arg(may_lose);
        let (swapped, live): (i8, String) =
            self.live.link.invoke("swap_ranks", self.live.link.settings().fill_timeout, &call).await?;
        Ok(match swapped {
            1 => Swap::Done,
            0 => Swap::Behind(state_of(&live)?),
            _ => Swap::NothingBuilt,
        })
    }
}
