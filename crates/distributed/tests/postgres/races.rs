//! Appliers at once: exactly once, without a gap.

use std::collections::{BTreeMap, HashMap};

use common::ids::{BoardId, UserId};
use common::ports::{Accounts, AppliedBatch, Ledger, StoreError, Truth};
use common::receipt::Outcome;
use common::score_update::ScoreUpdate;
use common::state::Version;
use distributed::postgres::PgStore;
use futures_util::future::join_all;
use rand::RngExt;
use testkit::fixtures::{noon, players, rules, update};
use testkit::waiting::{SOON, eventually};
use tokio_postgres::error::SqlState;

use crate::database::{Database, store};
use crate::failures::sessions;

const BOARDS: usize = 3;
const TASKS: usize = 8;
const BATCHES: usize = 25;
const BATCH: usize = 20;
/// Few names, so that most are used again: by the same batch, by another task, on another board.
const ACTIONS: usize = 60;
const USERS: usize = 12;

async fn hammer_boards(database: &Database) -> Vec<BoardId> {
    let boards: Vec<BoardId> = (0..BOARDS).map(|n| BoardId::parse(&format!("hammer-{n}")).unwrap()).collect();
    for board in &boards {
        database.add_board(board, &rules()).await;
    }
    boards
}

fn random_batch(boards: &[BoardId], users: &[UserId]) -> Vec<ScoreUpdate> {
    let mut rng = rand::rng();
    (0..BATCH)
        .map(|_| {
            let (user, action) = (users[rng.random_range(0..users.len())], rng.random_range(0..ACTIONS));
            let board = &boards[rng.random_range(0..boards.len())];
            let made = update(user, &format!("action-{action}")).board(board).points(1 + action as i64);
            // A key stands for one action on one board; some are reused for another board, which must not apply twice.
            match action % 4 {
                0 => made.key(&format!("key-{action}")).build(),
                1 => made.key(&format!("key-{action}-{board}")).build(),
                _ => made.build(),
            }
        })
        .collect()
}

/// As the worker does: what is transient is asked again.
async fn apply_at_last(store: &PgStore, batch: &[ScoreUpdate]) -> AppliedBatch {
    for _ in 0..50 {
        match store.apply_batch(batch, noon()).await {
            Ok(applied) => return applied,
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
        }
    }
    panic!("50 conflicts in a row");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appliers_that_race_make_no_gap_and_no_duplicate() {
    let database = Database::migrated().await;
    let store = database.store();
    let boards = hammer_boards(&database).await;
    let users: Vec<UserId> = players(&store, USERS).await.into_iter().map(|player| player.user).collect();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (store, boards, users) = (store.clone(), boards.clone(), users.clone());
            tokio::spawn(async move {
                let mut done = Vec::new();
                for _ in 0..BATCHES {
                    let batch = random_batch(&boards, &users);
                    let applied = apply_at_last(&store, &batch).await;
                    // Redelivered at once: nothing new may come of it.
                    let again = apply_at_last(&store, &batch).await;
                    assert!(again.changes.is_empty(), "a redelivery moved a board: {:?}", again.changes);
                    done.push((batch, applied));
                }
                done
            })
        })
        .collect();
    let mut done = Vec::new();
    for task in tasks {
        done.extend(task.await.unwrap());
    }
    check_ranges(&store, &done).await;
    check_sums(&store, &boards, &users, &done).await;
    check_ledger(&database, &boards).await;
}

/// The ranges that were announced tile every board's history.
async fn check_ranges(store: &PgStore, done: &[(Vec<ScoreUpdate>, AppliedBatch)]) {
    let mut ranges: HashMap<BoardId, BTreeMap<Version, Version>> = HashMap::new();
    for change in done.iter().flat_map(|(_, applied)| &applied.changes) {
        let twice = ranges.entry(change.board.clone()).or_default().insert(change.from, change.to);
        assert!(twice.is_none(), "two ranges of {} start at {:?}", change.board, change.from);
    }
    for head in store.heads().await.unwrap() {
        let mut at = Version::ZERO;
        for (from, to) in ranges.remove(&head.board).unwrap_or_default() {
            assert_eq!(from, at, "gap or overlap on {}", head.board);
            at = to;
        }
        assert_eq!(at, head.state.version, "{}", head.board);
    }
}

/// What the answers say was applied is what the scores and the ledger say.
async fn check_sums(store: &PgStore, boards: &[BoardId], users: &[UserId], done: &[(Vec<ScoreUpdate>, AppliedBatch)]) {
    let mut applied: HashMap<(BoardId, UserId), (i64, Version, i64)> = HashMap::new();
    let mut actions: HashMap<BoardId, u64> = HashMap::new();
    for (batch, answer) in done {
        for (update, outcome) in batch.iter().zip(&answer.outcomes) {
            let Outcome::Applied { receipt, replayed: false } = outcome else { continue };
            let (board, version) = (receipt.board.clone(), receipt.version.unwrap());
            *actions.entry(board.clone()).or_default() += 1;
            let sum = applied.entry((board, update.user)).or_default();
            sum.0 += receipt.points;
            if version > sum.1 {
                (sum.1, sum.2) = (version, receipt.new_score.unwrap());
            }
        }
    }
    for board in boards {
        let mut total = 0;
        for user in users {
            let own = store.neighborhood(board, *user, 0).await.unwrap();
            let expected = applied.get(&(board.clone(), *user)).copied();
            let found = own.map(|n| (n.lines[0].score, n.lines[0].version, n.lines[0].score));
            assert_eq!(found, expected, "{user} on {board}");
            total += i128::from(expected.map_or(0, |sum| sum.0));
        }
        let digest = store.digest(board).await.unwrap().unwrap();
        assert_eq!((digest.score_sum, digest.ledger_points), (total, total), "{board}");
        assert_eq!(digest.ledger_actions, actions.get(board).copied().unwrap_or(0), "{board}");
    }
}

/// The versions in the ledger are 1..=head, each once, and no action or key was used twice.
async fn check_ledger(database: &Database, boards: &[BoardId]) {
    let client = database.operator().await;
    for board in boards {
        let row = client
            .query_one(
                "SELECT count(*), count(DISTINCT version), coalesce(min(version), 1), coalesce(max(version), 0),
                    count(DISTINCT (user_id, action_id)), (SELECT version FROM boards WHERE board = $1)
                 FROM actions WHERE board = $1 AND version IS NOT NULL",
                &[&board.as_str()],
            )
            .await
            .unwrap();
        let [rows, distinct, least, most, actions, head]: [i64; 6] = std::array::from_fn(|column| row.get(column));
        assert!(rows > 0, "nothing was applied on {board}");
        assert_eq!((rows, distinct, least, most, actions), (head, head, 1, head, head), "{board}");
    }
    let keys = "SELECT count(idempotency_key) - count(DISTINCT (user_id, idempotency_key)) FROM actions
                WHERE version IS NOT NULL AND idempotency_key IS NOT NULL";
    assert_eq!(client.query_one(keys, &[]).await.unwrap().get::<_, i64>(0), 0, "a key was used twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_racing_on_two_boards_applies_once() {
    let (database, store) = store().await;
    let boards = hammer_boards(&database).await;
    let user = players(&store, 1).await[0].user;
    for round in 0..30 {
        let key = format!("key-{round}");
        let one = [update(user, &format!("a-{round}")).board(&boards[0]).key(&key).build()];
        let two = [update(user, &format!("a-{round}")).board(&boards[1]).key(&key).build()];
        let (one, two) = tokio::join!(store.apply_batch(&one, noon()), store.apply_batch(&two, noon()));
        let mut outcomes = [one.unwrap().outcomes.remove(0), two.unwrap().outcomes.remove(0)];
        outcomes.sort_by_key(|outcome| matches!(outcome, Outcome::KeyReused));
        assert!(
            matches!(outcomes, [Outcome::Applied { replayed: false, .. }, Outcome::KeyReused]),
            "round {round}: {outcomes:?}"
        );
    }
}

/// Whoever writes and however it was decided: the table itself takes a submission, an action and a key once.
#[tokio::test]
async fn the_ledger_refuses_a_second_row_of_a_submission_an_action_and_a_key() {
    let (database, store) = store().await;
    let user = players(&store, 1).await[0].user;
    store.apply_batch(&[update(user, "once").key("key").build()], noon()).await.unwrap();
    let client = database.operator().await;
    let (submission, action, key) =
        ("submission = gen_random_uuid()", "action_id = 'other'", "idempotency_key = 'other'");
    for (same, changed) in [("submission", [action, key]), ("action", [submission, key]), ("key", [submission, action])]
    {
        let copy = format!(
            "CREATE TEMP TABLE copy AS SELECT * FROM actions LIMIT 1; UPDATE copy SET version = 99, {}",
            changed.join(", ")
        );
        client.batch_execute(&copy).await.unwrap();
        let second = client.batch_execute("INSERT INTO actions SELECT * FROM copy").await;
        let code = second.as_ref().err().and_then(|error| error.code());
        assert_eq!(code, Some(&SqlState::UNIQUE_VIOLATION), "a second row of the same {same}: {second:?}");
        client.batch_execute("DROP TABLE copy").await.unwrap();
    }
    let other = format!(
        "CREATE TEMP TABLE copy AS SELECT * FROM actions LIMIT 1; UPDATE copy SET version = 99, {submission}, {action}, {key};
         INSERT INTO actions SELECT * FROM copy"
    );
    client.batch_execute(&other).await.expect("another one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_taken_crosswise_from_two_boards_end_without_a_deadlock() {
    let (database, store) = store().await;
    let boards = hammer_boards(&database).await;
    let user = players(&store, 1).await[0].user;
    let batch = |board: &BoardId, names: [usize; 2]| {
        names.map(|n| update(user, &format!("a-{n}")).board(board).key(&format!("key-{n}")).build())
    };
    for round in 0..20 {
        let (one, two) = (batch(&boards[0], [round * 2, round * 2 + 1]), batch(&boards[1], [round * 2 + 1, round * 2]));
        let (one, two) = tokio::join!(store.apply_batch(&one, noon()), store.apply_batch(&two, noon()));
        let outcomes = [one.unwrap().outcomes, two.unwrap().outcomes].concat();
        let applied = outcomes.iter().filter(|o| matches!(o, Outcome::Applied { replayed: false, .. })).count();
        assert_eq!(applied, 2, "round {round}: {outcomes:?}");
    }
    let client = database.operator().await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(client.query_one(deadlocks, &[]).await.unwrap().get::<_, i64>(0), 0);
}

/// The statements of a transaction are under way together, so a lost race fails all that follow it. What is looked at is
/// the race itself, whichever answer is heard first: taken for an outage, it would make a worker wait for a server that
/// is there. (On a busy machine one in some thousand races told of its consequence; racers in one task see it most.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_lost_to_a_commit_is_decided_again() {
    const RACERS: usize = 7;
    let (database, store) = store().await;
    let user = players(&store, 1).await[0].user;
    store.apply_batch(&[update(user, "first").key("first").build()], noon()).await.unwrap();
    let boards: Vec<BoardId> = (0..RACERS).map(|n| BoardId::parse(&format!("race-{n}")).unwrap()).collect();
    for board in &boards {
        database.add_board(board, &rules()).await;
    }
    let (winner, onlooker) = (database.operator().await, database.operator().await);
    winner.batch_execute("CREATE TEMP TABLE copy AS SELECT * FROM actions LIMIT 1").await.unwrap();
    for round in 0..30 {
        let taken = format!(
            "BEGIN; UPDATE copy SET submission = gen_random_uuid(), version = {round} + 100, action_id = 'won-{round}',
                idempotency_key = 'key-{round}'; INSERT INTO actions SELECT * FROM copy"
        );
        winner.batch_execute(&taken).await.unwrap();
        let race = async |board| {
            let update = update(user, &format!("a-{round}")).board(board).key(&format!("key-{round}")).build();
            store.apply_batch(&[update], noon()).await
        };
        let racing = join_all(boards.iter().map(race));
        let won = async {
            eventually(SOON, "the racers to wait for the winner", async || {
                sessions(&onlooker, "wait_event_type = 'Lock'").await.len() == RACERS
            })
            .await;
            winner.batch_execute("COMMIT").await.unwrap();
        };
        for raced in tokio::join!(racing, won).0 {
            let outcomes = raced.unwrap_or_else(|error| panic!("round {round}: {error:?}")).outcomes;
            assert!(matches!(outcomes[..], [Outcome::KeyReused]), "round {round}: {outcomes:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_registrations_of_one_name_make_one_account() {
    let (_database, store) = store().await;
    let (mut one, mut two) = (testkit::fixtures::new_account(), testkit::fixtures::new_account());
    one.username = common::ids::Username::parse("Same.Name").unwrap();
    two.username = common::ids::Username::parse("same.NAME").unwrap();
    let (one, two) = tokio::join!(store.create(one), store.create(two));
    use common::ports::AccountCreated::{Created, UsernameTaken};
    let both = [one.unwrap(), two.unwrap()];
    assert!(both.contains(&Created) && both.contains(&UsernameTaken), "{both:?}");
}
