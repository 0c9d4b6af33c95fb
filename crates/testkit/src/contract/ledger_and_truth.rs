//! What every [`Ledger`] with its [`Truth`] must do. Each case works with boards and users of its own, so a database
//! may be shared.

mod any_sequence;
mod auditing;
mod batches;
mod deciding;
mod holding;
mod reading;
mod refusing;

pub use any_sequence::*;
pub use auditing::*;
pub use batches::*;
pub use deciding::*;
pub use holding::*;
pub use reading::*;
pub use refusing::*;

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use common::board::ActionRule;
use common::clock::Timestamp;
use common::ids::{BoardId, UserId};
use common::ports::{Accounts, AppliedBatch, Audit, BoardDigest, Ledger, Reviews, StoreError, Truth};
use common::receipt::{Outcome, Receipt, ReceiptStatus};
use common::score_update::ScoreUpdate;
use common::standing::TopList;
use common::state::{Epoch, Version};

use crate::fixtures::{self, board_id};

/// Makes boards, which no port does yet: a backend's test writes them to its database.
#[async_trait]
pub trait BoardMaker: Send + Sync {
    /// Makes an empty board at version 0, with an epoch of the maker's choice and exactly these rules.
    async fn make(&self, board: &BoardId, rules: &[ActionRule]);
}

/// The store under test.
pub struct Fixture {
    /// Its write side.
    pub ledger: Arc<dyn Ledger>,
    /// Its read side.
    pub truth: Arc<dyn Truth>,
    /// Its ledger as an audit.
    pub audit: Arc<dyn Audit>,
    /// Its quarantine.
    pub reviews: Arc<dyn Reviews>,
    /// Where its users are made.
    pub accounts: Arc<dyn Accounts>,
    /// Where its boards are made.
    pub boards: Arc<dyn BoardMaker>,
    /// What it stands on, dropped with it.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// A test of each case of the suite.
#[macro_export]
macro_rules! ledger_and_truth_contract {
    ($fixture:path) => {
        $crate::contract_tests!(
            ledger_and_truth as ledger_and_truth_contract,
            $fixture,
            [
                an_update_is_applied_and_seen,
                scores_add_up,
                an_empty_batch_does_nothing,
                a_used_action_is_a_duplicate_with_its_receipt,
                an_action_is_used_per_user_and_board,
                a_repeat_with_the_same_key_gets_the_first_answer,
                a_key_stands_for_its_content,
                a_key_belongs_to_its_user,
                the_key_is_looked_at_before_the_action,
                redelivered_work_finds_its_row,
                a_racing_action_is_applied_once,
                a_racing_key_is_applied_once,
                what_does_not_exist_is_rejected,
                the_daily_cap_holds_to_the_point,
                the_daily_cap_starts_anew_with_the_day,
                a_refusal_uses_nothing_up,
                a_redelivered_refusal_stays_one,
                an_update_that_is_put_aside_has_its_refusal_on_record,
                scores_stop_at_their_limits,
                one_batch_moves_several_boards,
                several_updates_of_one_user_make_one_row,
                repeats_inside_a_batch_are_decided_in_order,
                refusals_leave_no_gap_in_the_versions,
                a_large_batch_is_one_range,
                concurrent_batches_make_one_chain,
                top_is_in_the_strict_order,
                top_is_cut_at_the_limit,
                neighborhoods_end_at_the_edges,
                rows_above_are_paged_in_version_order,
                rows_by_user_are_paged,
                boards_and_heads_tell_what_there_is,
                an_unknown_board_is_none,
                receipts_belong_to_their_user_and_board,
                digests_add_up,
                any_sequence_equals_the_model,
                every_decision_is_a_row_with_its_origin,
                a_story_is_told_in_time_order,
                gains_are_summed_by_slot,
                what_passes_the_bound_is_held,
                a_held_action_and_its_key_are_used,
                an_accepted_action_is_applied_with_a_new_version,
                a_rejected_action_stays_rejected,
                a_review_decides_once,
                an_acceptance_keeps_to_the_rules,
            ]
        );
    };
}

/// How often a lost race is tried again.
const MAX_CONFLICTS: usize = 100;

impl Fixture {
    /// A board with the rules of [`fixtures::rules`].
    async fn board(&self) -> BoardId {
        let board = board_id();
        self.boards.make(&board, &fixtures::rules()).await;
        board
    }

    async fn players<const N: usize>(&self) -> [UserId; N] {
        let players = fixtures::players(&*self.accounts, N).await;
        std::array::from_fn(|n| players[n].user)
    }

    /// Applies a batch at noon; a lost race is tried again, as the worker does.
    async fn apply(&self, updates: &[ScoreUpdate]) -> AppliedBatch {
        apply_at(&*self.ledger, updates, fixtures::noon()).await
    }

    async fn one(&self, update: &ScoreUpdate) -> Outcome {
        let mut batch = self.apply(std::slice::from_ref(update)).await;
        assert_eq!(batch.outcomes.len(), 1, "one outcome for each update");
        batch.outcomes.remove(0)
    }

    async fn top(&self, board: &BoardId) -> TopList {
        self.truth.top(board, 1000).await.expect("top").expect("the board exists")
    }

    async fn version(&self, board: &BoardId) -> Version {
        self.top(board).await.state.version
    }

    async fn epoch(&self, board: &BoardId) -> Epoch {
        self.top(board).await.state.epoch
    }

    async fn digest(&self, board: &BoardId) -> BoardDigest {
        self.truth.digest(board).await.expect("digest").expect("the board exists")
    }
}

async fn apply_at(ledger: &dyn Ledger, updates: &[ScoreUpdate], now: Timestamp) -> AppliedBatch {
    for _ in 0..MAX_CONFLICTS {
        match ledger.apply_batch(updates, now).await {
            Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
            batch => {
                let batch = batch.expect("apply_batch");
                assert_eq!(batch.outcomes.len(), updates.len(), "one outcome for each update");
                return batch;
            }
        }
    }
    panic!("lost {MAX_CONFLICTS} races")
}

/// The receipt of an update that was committed at noon.
fn receipt_of(update: &ScoreUpdate, new_score: i64, version: u64) -> Receipt {
    Receipt {
        status: ReceiptStatus::Applied,
        action_id: update.action_id.clone(),
        board: update.board.clone(),
        action_type: update.action_type.clone(),
        points: update.points,
        new_score: Some(new_score),
        version: Some(Version(version)),
        decided_at: Some(fixtures::noon()),
    }
}

fn applied(update: &ScoreUpdate, new_score: i64, version: u64) -> Outcome {
    Outcome::Applied { receipt: receipt_of(update, new_score, version), replayed: false }
}

fn code_of(outcome: &Outcome) -> common::error_code::ErrorCode {
    match outcome {
        Outcome::Rejected { receipt: Receipt { status: ReceiptStatus::Rejected(code), .. }, .. } => *code,
        other => panic!("not a rejection: {other:?}"),
    }
}
