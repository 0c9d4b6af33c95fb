//! Makers of the values that tests are about.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::account::NewAccount;
use common::board::{ActionRule, Proof, SCORE_LIMIT, built_in_rules};
use common::clock::Timestamp;
use common::ids::{ActionId, ActionType, BoardId, IdempotencyKey, SessionId, SubmissionId, UserId, Username};
use common::ports::{AccountCreated, Accounts};
use common::score_update::{AddressHash, ContentHash, ScoreUpdate, TraceContext};
use common::standing::{BoardChange, ScoreRow};
use common::state::{Epoch, Version};
use uuid::Uuid;

/// The present of most tests: 2026-11-20T12:00:00.000Z, far from midnight.
#[must_use]
pub fn noon() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-20T12:00:00.000Z").unwrap()
}

/// A board that nobody else uses.
#[must_use]
pub fn board_id() -> BoardId {
    BoardId::parse(&format!("t-{}", Uuid::new_v4().simple())).unwrap()
}

/// A user that nobody else uses.
#[must_use]
pub fn user_id() -> UserId {
    UserId(Uuid::new_v4())
}

/// The `n`-th user, the same in every run.
#[must_use]
pub fn seeded_user(n: usize) -> UserId {
    // Spread over the id space, so that order by id says nothing about `n`.
    UserId(Uuid::from_u128((n as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)))
}

/// A submission that nobody else uses.
#[must_use]
pub fn submission_id() -> SubmissionId {
    SubmissionId(Uuid::new_v4())
}

/// A session that nobody else uses.
#[must_use]
pub fn session_id() -> SessionId {
    SessionId(Uuid::new_v4())
}

/// An action's name.
#[must_use]
pub fn action_id(text: &str) -> ActionId {
    ActionId::parse(text).unwrap()
}

/// An epoch's name.
#[must_use]
pub fn epoch(text: &str) -> Epoch {
    Epoch::parse(text).unwrap()
}

/// A user that exists, with the name as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Player {
    /// The id.
    pub user: UserId,
    /// The name.
    pub username: Arc<str>,
}

/// The hash that accounts of tests are made with; it is of no password.
pub const PASSWORD_HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo";

/// A new account that nobody else has.
#[must_use]
pub fn new_account() -> NewAccount {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Unique in this process by the number, among processes on one database by the random part.
    let random = &Uuid::new_v4().simple().to_string()[..12];
    let name = format!("Player.{random}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    NewAccount {
        user: user_id(),
        username: Username::parse(&name).unwrap(),
        password_hash: PASSWORD_HASH.to_owned(),
        created_at: noon(),
    }
}

/// Creates so many accounts.
///
/// # Panics
/// When the store does not create one.
pub async fn players(accounts: &dyn Accounts, count: usize) -> Vec<Player> {
    let mut players = Vec::with_capacity(count);
    for _ in 0..count {
        let account = new_account();
        let player = Player { user: account.user, username: Arc::from(account.username.as_str()) };
        let created = accounts.create(account).await.expect("the account is created");
        assert_eq!(created, AccountCreated::Created);
        players.push(player);
    }
    players
}

/// The name of the action type of [`rules`] without bounds that matter.
pub const WIDE: &str = "wide";

/// The built-in rules and the type [`WIDE`] that takes any points, any day.
#[must_use]
pub fn rules() -> Vec<ActionRule> {
    let mut rules = built_in_rules();
    rules.push(ActionRule {
        action_type: ActionType::parse(WIDE).unwrap(),
        proof: Proof::Issuer,
        min_points: -SCORE_LIMIT,
        max_points: SCORE_LIMIT,
        default_points: 1,
        daily_cap: i64::MAX,
    });
    rules
}

/// An update under construction.
#[derive(Clone, Debug)]
pub struct UpdateMaker {
    update: ScoreUpdate,
}

/// An update by `user`: one point for `action`, of type `default`, on `global`, without a key, accepted at [`noon`].
#[must_use]
pub fn update(user: UserId, action: &str) -> UpdateMaker {
    let (board, action_id, action_type) = (BoardId::global(), action_id(action), ActionType::default_type());
    let content_hash = ContentHash::of(&board, &action_id, &action_type, Some(1));
    UpdateMaker {
        update: ScoreUpdate {
            submission: submission_id(),
            board,
            user,
            action_id,
            action_type,
            points: 1,
            proof: Proof::Session,
            idempotency_key: None,
            content_hash,
            accepted_at: noon(),
            request_id: format!("request-{}", Uuid::new_v4().simple()),
            address_hash: Some(AddressHash([7; 16])),
            trace: TraceContext {
                traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
                tracestate: "vendor=1".to_owned(),
            },
        },
    }
}

impl UpdateMaker {
    /// What it brings.
    #[must_use]
    pub fn points(mut self, points: i64) -> Self {
        self.update.points = points;
        self
    }

    /// On which board.
    #[must_use]
    pub fn board(mut self, board: &BoardId) -> Self {
        self.update.board = board.clone();
        self
    }

    /// Its idempotency key.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.update.idempotency_key = Some(IdempotencyKey::parse(key).unwrap());
        self
    }

    /// Its action type.
    #[must_use]
    pub fn action_type(mut self, action_type: &str) -> Self {
        self.update.action_type = ActionType::parse(action_type).unwrap();
        self
    }

    /// Which acceptance it is; a random one if not said.
    #[must_use]
    pub fn submission(mut self, submission: SubmissionId) -> Self {
        self.update.submission = submission;
        self
    }

    /// The update.
    #[must_use]
    pub fn build(mut self) -> ScoreUpdate {
        let u = &mut self.update;
        u.content_hash = ContentHash::of(&u.board, &u.action_id, &u.action_type, Some(u.points));
        self.update
    }
}

/// The same request accepted once more: all as it was, but for the submission.
#[must_use]
pub fn sent_again(update: &ScoreUpdate) -> ScoreUpdate {
    ScoreUpdate { submission: submission_id(), ..update.clone() }
}

/// A row of a board; its time follows from its version.
#[must_use]
pub fn row(user: UserId, score: i64, version: u64) -> ScoreRow {
    ScoreRow { score: Some(score), ..tombstone(user, version) }
}

/// What a removal leaves.
#[must_use]
pub fn tombstone(user: UserId, version: u64) -> ScoreRow {
    ScoreRow {
        user,
        username: Arc::from(format!("user-{}", &user.0.simple().to_string()[..8])),
        score: None,
        version: Version(version),
        updated_at: noon().plus_millis(i64::try_from(version).unwrap()),
    }
}

/// A change of a board's history [`epoch`] `e1` from one version to another.
#[must_use]
pub fn change(board: &BoardId, from: u64, to: u64, rows: Vec<ScoreRow>) -> BoardChange {
    BoardChange { board: board.clone(), epoch: epoch("e1"), from: Version(from), to: Version(to), rows }
}
