//! Ranks on Redis: a sorted set per board, moved by absolute, versioned rows.
//!
//! | Key | What it holds |
//! |---|---|
//! | `leaderboard:{<board>}:scores` | sorted set; the member `{hex(u64::MAX - version)}:{userId}` makes ZREVRANGE give the strict order |
//! | `leaderboard:{<board>}:members` | hash; a user's line `version:score:updated_at`, without score for a tombstone |
//! | `leaderboard:{<board>}:version` | `epoch.version`; missing while nothing is held and during a fill |
//! | `leaderboard:{<board>}:fill` | the filler's name, gone after 10 s of its silence |
//!
//! `leaderboard:{<board>}:rebuild:…` are the same keys of an index that is rebuilt beside the live one.
//!
//! Every operation is one script, so that version and lines are of one state and Redis may forget everything between
//! two of them. The version key is what makes the rest count: a fill takes it away first and sets it last, so that
//! neither a reader nor the next filler ever trusts what a fill left half done.

mod lines;
mod rebuilding;

use std::time::Duration;

use async_trait::async_trait;
use common::ids::{BoardId, UserId};
use common::ports::{FillStart, FillStep, IndexState, Projected, RankIndex, ScoresAt, StoreError};
use common::standing::{BoardChange, Neighborhood, Placement, ScoreRow};
use common::state::{Epoch, StatePoint, Version};
use deadpool_redis::redis::{self, Script, ScriptInvocation};
use uuid::Uuid;

use super::{RedisLink, STORE};
use lines::{Unholdable, add_rows, check_version, read_placements, read_state};
pub use rebuilding::{RebuiltRanks, Swap};

/// After this much silence of a filler another one may take over.
const FILL_SILENCE: Duration = Duration::from_secs(10);

macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(include_str!("scripts/rows.lua"), include_str!(concat!("scripts/", $file))))
    };
}

struct Scripts {
    apply: Script,
    begin_fill: Script,
    fill: Script,
    finish_fill: Script,
    top: Script,
    neighborhood: Script,
    count: Script,
    scores_at: Script,
}

/// The rank index on Redis. Scores and versions are exact up to 2^53 - 1 either way; rows beyond are refused.
pub struct RedisRanks {
    link: RedisLink,
    scripts: Scripts,
    /// Between a board and the rest of its keys' names: empty for the live index.
    place: &'static str,
}

impl RedisRanks {
    /// On a link that is shared with others.
    #[must_use]
    pub fn new(link: RedisLink) -> Self {
        let scripts = Scripts {
            apply: script!("apply.lua"),
            begin_fill: script!("begin_fill.lua"),
            fill: script!("fill.lua"),
            finish_fill: script!("finish_fill.lua"),
            top: script!("top.lua"),
            neighborhood: script!("neighborhood.lua"),
            count: script!("count.lua"),
            scores_at: script!("scores_at.lua"),
        };
        Self { link, scripts, place: "" }
    }

    fn key(&self, board: &BoardId, what: &str) -> String {
        format!("leaderboard:{{{board}}}:{}{what}", self.place)
    }

    /// A call with the four keys in the order that `rows.lua` gives them.
    fn on<'s>(&self, script: &'s Script, board: &BoardId) -> ScriptInvocation<'s> {
        let mut call = script.key(self.key(board, "scores"));
        for what in ["members", "version", "fill"] {
            call.key(self.key(board, what));
        }
        call
    }

    fn call_timeout(&self) -> Duration {
        self.link.settings().call_timeout
    }

    /// What is held contradicts itself: Redis evicted a key, or somebody else wrote. Without its version it is
    /// rebuilt by whoever comes next.
    async fn distrust(&self, board: &BoardId) -> Result<(), StoreError> {
        tracing::warn!(%board, "the ranks in redis contradict themselves and are thrown away");
        let mut pipe = redis::pipe();
        pipe.del(self.key(board, "version")).ignore();
        Ok(self.link.query("distrust_ranks", self.call_timeout(), &pipe).await?)
    }
}

fn refused(unholdable: Unholdable) -> StoreError {
    StoreError::Refused { store: STORE, source: unholdable.into() }
}

fn unreadable(what: String) -> StoreError {
    StoreError::Unavailable { store: STORE, source: format!("it answered what this binary cannot read: {what}").into() }
}

fn state_of(text: &str) -> Result<StatePoint, StoreError> {
    read_state(text).ok_or_else(|| unreadable(format!("the state {text:?}")))
}

/// What the scripts give for one fill step.
fn step(done: u8) -> FillStep {
    if done == 1 { FillStep::Done } else { FillStep::Lost }
}

#[async_trait]
impl RankIndex for RedisRanks {
    async fn state(&self, board: &BoardId) -> Result<IndexState, StoreError> {
        let mut pipe = redis::pipe();
        pipe.mget(&[self.key(board, "version"), self.key(board, "fill")]);
        let call = self.link.query::<((Option<String>, Option<String>),)>("rank_state", self.call_timeout(), &pipe);
        Ok(match call.await?.0 {
            (Some(state), _) => IndexState::At(state_of(&state)?),
            (None, Some(_)) => IndexState::Filling,
            (None, None) => IndexState::Empty,
        })
    }

    async fn apply(&self, change: &BoardChange) -> Result<Projected, StoreError> {
        check_version(change.to).map_err(refused)?;
        let mut call = self.on(&self.scripts.apply, &change.board);
        call.arg(change.epoch.as_str()).arg(change.from.0).arg(change.to.0);
        add_rows(&mut call, &change.rows).map_err(refused)?;
        let (standing, state, ranks) =
            self.link.invoke::<(u8, String, Vec<i64>)>("apply_ranks", self.call_timeout(), &call).await?;
        if standing == 0 {
            return Ok(Projected::Behind(match state.as_str() {
                "" => IndexState::Empty,
                "filling" => IndexState::Filling,
                state => IndexState::At(state_of(state)?),
            }));
        }
        if ranks.len() != change.rows.len() || ranks.contains(&-1) {
            self.distrust(&change.board).await?;
            return Ok(Projected::Behind(IndexState::Empty));
        }
        Ok(Projected::Standing(ranks.into_iter().map(|rank| u64::try_from(rank).ok().filter(|r| *r > 0)).collect()))
    }

    async fn begin_fill(
        &self,
        board: &BoardId,
        epoch: &Epoch,
        head: Version,
        filler: Uuid,
    ) -> Result<FillStart, StoreError> {
        check_version(head).map_err(refused)?;
        let mut call = self.on(&self.scripts.begin_fill, board);
        call.arg(epoch.as_str()).arg(head.0).arg(filler.to_string()).arg(FILL_SILENCE.as_millis() as u64);
        let from = self.link.invoke::<i64>("begin_fill", self.call_timeout(), &call).await?;
        Ok(u64::try_from(from).map_or(FillStart::Busy, |from| FillStart::From(Version(from))))
    }

    async fn fill(&self, board: &BoardId, filler: Uuid, rows: &[ScoreRow]) -> Result<FillStep, StoreError> {
        let mut call = self.on(&self.scripts.fill, board);
        call.arg(filler.to_string()).arg(FILL_SILENCE.as_millis() as u64).arg("");
        add_rows(&mut call, rows).map_err(refused)?;
        Ok(step(self.link.invoke("fill", self.link.settings().fill_timeout, &call).await?))
    }

    async fn finish_fill(&self, board: &BoardId, filler: Uuid, state: &StatePoint) -> Result<FillStep, StoreError> {
        check_version(state.version).map_err(refused)?;
        let mut call = self.on(&self.scripts.finish_fill, board);
        call.arg(filler.to_string()).arg(state.to_string());
        Ok(step(self.link.invoke("finish_fill", self.call_timeout(), &call).await?))
    }

    async fn top(&self, board: &BoardId, limit: usize) -> Result<Option<(StatePoint, Vec<Placement>)>, StoreError> {
        let mut call = self.on(&self.scripts.top, board);
        call.arg(limit);
        let answer: Option<(String, Vec<String>)> = self.link.invoke("top_ranks", self.call_timeout(), &call).await?;
        let Some((state, lines)) = answer else { return Ok(None) };
        let state = state_of(&state)?;
        let Some(placements) = read_placements(&lines, 1) else {
            self.distrust(board).await?;
            return Ok(None);
        };
        Ok(Some((state, placements)))
    }

    async fn neighborhood(
        &self,
        board: &BoardId,
        user: UserId,
        around: usize,
    ) -> Result<Option<(StatePoint, Option<Neighborhood<Placement>>)>, StoreError> {
        let mut call = self.on(&self.scripts.neighborhood, board);
        call.arg(user.to_string()).arg(around);
        let answer: Option<(String, i64, u64, Vec<String>)> =
            self.link.invoke("neighborhood", self.call_timeout(), &call).await?;
        let Some((state, rank, first, lines)) = answer else { return Ok(None) };
        let state = state_of(&state)?;
        if rank == 0 {
            return Ok(Some((state, None)));
        }
        let lines = read_placements(&lines, first);
        let own = lines.as_ref().and_then(|lines| lines.iter().position(|line| line.user == user));
        let (Some(lines), Some(own)) = (lines, own) else {
            self.distrust(board).await?;
            return Ok(None);
        };
        Ok(Some((state.clone(), Some(Neighborhood { state, lines, own }))))
    }

    async fn scores_at(&self, board: &BoardId, ranks: &[u64]) -> Result<Option<ScoresAt>, StoreError> {
        let mut call = self.on(&self.scripts.scores_at, board);
        for rank in ranks {
            call.arg(*rank);
        }
        let answer: Option<(String, u64, Vec<String>)> =
            self.link.invoke("scores_at", self.call_timeout(), &call).await?;
        let Some((state, players, lines)) = answer else { return Ok(None) };
        let state = state_of(&state)?;
        let placements = read_placements(&lines, 1);
        let within = ranks.iter().filter(|rank| (1..=players).contains(*rank)).count();
        let Some(placements) = placements.filter(|placements| placements.len() == within) else {
            self.distrust(board).await?;
            return Ok(None);
        };
        let mut found = placements.into_iter().map(|placement| placement.score);
        let score = |rank: &u64| (1..=players).contains(rank).then(|| found.next()).flatten();
        Ok(Some(ScoresAt { state, players, scores: ranks.iter().map(score).collect() }))
    }

    async fn count(&self, board: &BoardId) -> Result<Option<(StatePoint, u64)>, StoreError> {
        let call = self.on(&self.scripts.count, board);
        let answer: Option<(String, u64)> = self.link.invoke("count_ranks", self.call_timeout(), &call).await?;
        answer.map(|(state, players)| Ok((state_of(&state)?, players))).transpose()
    }
}
