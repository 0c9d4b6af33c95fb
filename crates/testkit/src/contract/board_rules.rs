//! What every [`BoardRules`] must do. Each case makes boards of its own, so a database may be shared.

use std::any::Any;
use std::sync::Arc;

use common::board::{ActionRule, Board, Proof, SCORE_LIMIT};
use common::error_code::ErrorCode;
use common::ids::{ActionType, BoardId};
use common::ports::{Accounts, BoardRules, Ledger, Truth};
use common::receipt::ReceiptStatus;
use common::score_update::ScoreUpdate;
use common::state::Version;

use crate::fixtures::{board_id, epoch, noon, players, rules, update};

/// The store under test.
pub struct Fixture {
    /// What changes the rules.
    pub rules: Arc<dyn BoardRules>,
    /// What nodes read them by.
    pub truth: Arc<dyn Truth>,
    /// What decides under them.
    pub ledger: Arc<dyn Ledger>,
    /// Where its users are made.
    pub accounts: Arc<dyn Accounts>,
    /// What it stands on, dropped with it.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// A test of each case of the suite.
#[macro_export]
macro_rules! board_rules_contract {
    ($fixture:path) => {
        $crate::contract_tests!(
            board_rules as board_rules_contract,
            $fixture,
            [
                a_created_board_stands_at_zero_with_its_rules,
                a_board_may_begin_without_rules,
                a_board_that_is_there_stays_as_it_is,
                a_type_is_added_and_replaced,
                a_type_of_an_unknown_board_is_not_set,
                a_removed_type_is_gone_once,
                other_boards_keep_their_rules,
                the_next_batch_is_decided_by_the_new_rules,
                a_board_demands_a_token_for_its_stream_only_when_told_to,
            ]
        );
    };
}

impl Fixture {
    async fn make(&self) -> BoardId {
        let board = board_id();
        assert!(self.rules.create_board(&board, &epoch("e1"), &rules()).await.unwrap(), "the board is new");
        board
    }

    async fn read(&self, board: &BoardId) -> Option<Board> {
        let mut boards = self.truth.boards().await.unwrap();
        boards.iter().position(|b| b.id() == board).map(|at| boards.swap_remove(at))
    }

    async fn rules_of(&self, board: &BoardId) -> Vec<ActionRule> {
        self.read(board).await.expect("the board is there").rules
    }

    async fn decide(&self, update: ScoreUpdate) -> ReceiptStatus {
        let batch = self.ledger.apply_batch(&[update], noon()).await.unwrap();
        batch.outcomes[0].receipt().expect("a decision").status
    }
}

fn rule(action_type: &str, points: i64) -> ActionRule {
    ActionRule {
        action_type: ActionType::parse(action_type).unwrap(),
        proof: Proof::Token,
        min_points: points,
        max_points: points,
        default_points: points,
        daily_cap: 7,
    }
}

fn by_name(mut rules: Vec<ActionRule>) -> Vec<ActionRule> {
    rules.sort_by(|a, b| a.action_type.cmp(&b.action_type));
    rules
}

/// Exactly the rules that were given, in the given epoch; also with the widest bounds.
pub async fn a_created_board_stands_at_zero_with_its_rules(fixture: &Fixture) {
    let board = fixture.make().await;
    let read = fixture.read(&board).await.unwrap();
    assert_eq!((read.head.state.epoch, read.head.state.version), (epoch("e1"), Version(0)));
    assert_eq!(read.rules, by_name(rules()));
}

/// Types can be added later.
pub async fn a_board_may_begin_without_rules(fixture: &Fixture) {
    let board = board_id();
    assert!(fixture.rules.create_board(&board, &epoch("e1"), &[]).await.unwrap());
    assert_eq!(fixture.rules_of(&board).await, []);
}

/// Neither its epoch nor its rules change.
pub async fn a_board_that_is_there_stays_as_it_is(fixture: &Fixture) {
    let board = fixture.make().await;
    let before = fixture.read(&board).await;
    assert!(!fixture.rules.create_board(&board, &epoch("e2"), &[rule("other", 1)]).await.unwrap());
    assert_eq!(fixture.read(&board).await, before);
}

/// All fields of it, and nothing else of the board.
pub async fn a_type_is_added_and_replaced(fixture: &Fixture) {
    let board = fixture.make().await;
    let wide = ActionRule {
        proof: Proof::Issuer,
        min_points: -SCORE_LIMIT,
        max_points: SCORE_LIMIT,
        default_points: 3,
        daily_cap: 0,
        ..rule("new", 5)
    };
    for expected in [rule("new", 5), wide, rule("new", 6)] {
        assert!(fixture.rules.set_action_type(&board, &expected).await.unwrap());
        let mut all = rules();
        all.push(expected);
        assert_eq!(fixture.rules_of(&board).await, by_name(all));
    }
}

/// And no board comes of it.
pub async fn a_type_of_an_unknown_board_is_not_set(fixture: &Fixture) {
    let board = board_id();
    assert!(!fixture.rules.set_action_type(&board, &rule("new", 5)).await.unwrap());
    assert_eq!(fixture.read(&board).await, None);
}

/// A second time there is none.
pub async fn a_removed_type_is_gone_once(fixture: &Fixture) {
    let board = fixture.make().await;
    let task = ActionType::task();
    assert!(fixture.rules.remove_action_type(&board, &task).await.unwrap());
    assert!(fixture.rules_of(&board).await.iter().all(|rule| rule.action_type != task));
    assert!(!fixture.rules.remove_action_type(&board, &task).await.unwrap());
    assert!(!fixture.rules.remove_action_type(&board_id(), &task).await.unwrap());
}

/// A change concerns one board.
pub async fn other_boards_keep_their_rules(fixture: &Fixture) {
    let (board, other) = (fixture.make().await, fixture.make().await);
    fixture.rules.set_action_type(&board, &rule("new", 5)).await.unwrap();
    fixture.rules.remove_action_type(&board, &ActionType::task()).await.unwrap();
    assert_eq!(fixture.rules_of(&other).await, by_name(rules()));
}

/// Without a restart, and what was applied before stays.
pub async fn the_next_batch_is_decided_by_the_new_rules(fixture: &Fixture) {
    let board = fixture.make().await;
    let user = players(&*fixture.accounts, 1).await[0].user;
    let action = |name: &str| update(user, name).board(&board).action_type("new").points(5).build();
    assert_eq!(fixture.decide(action("a")).await, ReceiptStatus::Rejected(ErrorCode::UnknownActionType));
    fixture.rules.set_action_type(&board, &rule("new", 5)).await.unwrap();
    assert_eq!(fixture.decide(action("b")).await, ReceiptStatus::Applied);
    assert_eq!(fixture.decide(action("c")).await, ReceiptStatus::Rejected(ErrorCode::DailyCapReached));
    fixture.rules.set_action_type(&board, &ActionRule { daily_cap: 10, ..rule("new", 5) }).await.unwrap();
    assert_eq!(fixture.decide(action("c")).await, ReceiptStatus::Applied);
    fixture.rules.remove_action_type(&board, &ActionType::parse("new").unwrap()).await.unwrap();
    assert_eq!(fixture.decide(action("d")).await, ReceiptStatus::Rejected(ErrorCode::UnknownActionType));
    let top = fixture.truth.top(&board, 10).await.unwrap().unwrap();
    assert_eq!(top.entries.iter().map(|entry| entry.score).collect::<Vec<_>>(), [10]);
}

/// Its rules stay, other boards too, and no board comes of it.
pub async fn a_board_demands_a_token_for_its_stream_only_when_told_to(fixture: &Fixture) {
    let (board, other) = (fixture.make().await, fixture.make().await);
    let before = fixture.read(&board).await.unwrap();
    assert!(!before.stream_token);
    for demanded in [true, true, false] {
        assert!(fixture.rules.set_stream_token(&board, demanded).await.unwrap());
        assert_eq!(fixture.read(&board).await, Some(Board { stream_token: demanded, ..before.clone() }));
        assert!(!fixture.read(&other).await.unwrap().stream_token);
    }
    let unknown = board_id();
    assert!(!fixture.rules.set_stream_token(&unknown, true).await.unwrap());
    assert_eq!(fixture.read(&unknown).await, None);
}
