//! Opening, closing and dying: who may serve, and that nothing which was answered is ever lost.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier};

use common::board::built_in_rules;
use common::ids::BoardId;
use common::ports::{Accounts, Dependency, Ledger, StoreError, Truth};
use embedded::{Embedded, OpenError, SqliteStore};
use futures_util::future::join_all;
use testkit::clock::ManualClock;
use testkit::fixtures;

/// Tells the test binary that it is the child of `a_killed_process_has_kept_all_that_it_answered`.
const CHILD_DIR: &str = "SCOREBOARD_TEST_EMBEDDED_CHILD_DIR";

fn open(dir: &Path) -> Result<Embedded, OpenError> {
    Embedded::open(dir, Arc::new(ManualClock::default()))
}

#[tokio::test]
async fn a_new_database_has_the_global_board_with_its_rules() {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path()).unwrap();
    let boards = backend.store.boards().await.unwrap();
    assert_eq!(boards.len(), 1);
    assert_eq!(*boards[0].id(), BoardId::global());
    assert_eq!(boards[0].rules, built_in_rules());
    assert_eq!(boards[0].head.state.version.0, 0);
    let elsewhere = tempfile::tempdir().unwrap();
    let other = open(elsewhere.path()).unwrap().store.boards().await.unwrap();
    assert_ne!(boards[0].head.state.epoch, other[0].head.state.epoch, "two databases, two histories");
}

#[tokio::test]
async fn the_epoch_and_the_scores_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path()).unwrap();
    let player = fixtures::players(&*backend.store, 1).await.remove(0);
    let update = fixtures::update(player.user, "a").build();
    backend.store.apply_batch(&[update], fixtures::noon()).await.unwrap();
    let before = backend.store.top(&BoardId::global(), 10).await.unwrap();
    backend.close().await;
    let again = open(dir.path()).unwrap();
    assert_eq!(again.store.top(&BoardId::global(), 10).await.unwrap(), before);
}

#[test]
fn one_process_serves_from_a_directory_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    let second = open(dir.path()).err().expect("the directory is in use");
    assert!(matches!(&second, OpenError::InUse { path } if path == dir.path()), "{second}");
    // A command beside it may look.
    drop(SqliteStore::open(dir.path()).unwrap());
    drop(first);
    drop(open(dir.path()).expect("free again"));
}

#[tokio::test]
async fn closing_gives_the_directory_up_while_handles_are_left() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    assert_eq!(first.store.check().await, Ok(()));
    first.close().await;
    let second = open(dir.path()).expect("given up");
    let refused = first.store.create(fixtures::new_account()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })));
    assert!(matches!(first.store.heads().await, Err(StoreError::Unavailable { .. })));
    assert_eq!(first.store.check().await, Err("sqlite is not available: the store is closed".to_owned()));
    assert_eq!(second.store.check().await, Ok(()));
}

#[test]
fn migrations_that_begin_at_once_wait_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let start = Barrier::new(8);
    let migrate = || {
        start.wait();
        SqliteStore::migrate(dir.path()).expect("a migration")
    };
    let applied: Vec<usize> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8).map(|_| scope.spawn(migrate)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(applied.iter().filter(|n| **n > 0).count(), 1, "one of them did it: {applied:?}");
    assert_eq!(SqliteStore::migrate(dir.path()).unwrap(), 0);
}

#[test]
fn of_processes_that_open_at_once_one_serves() {
    let dir = tempfile::tempdir().unwrap();
    let start = Barrier::new(8);
    let race = || {
        start.wait();
        open(dir.path())
    };
    let opened: Vec<_> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8).map(|_| scope.spawn(race)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    let refused = opened.iter().filter(|o| matches!(o, Err(OpenError::InUse { .. }))).count();
    assert_eq!((opened.iter().filter(|o| o.is_ok()).count(), refused), (1, 7));
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("scoreboard.db"), "this is not a database, whatever it may be ".repeat(200))
        .unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Database { .. })));
}

#[cfg(unix)]
#[test]
fn what_is_made_belongs_to_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    let backend = open(&dir).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3, "database, log and lock: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    drop(backend);
}

#[tokio::test]
async fn what_was_answered_before_a_drop_is_there_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path()).unwrap();
    let players = fixtures::players(&*backend.store, 50).await;
    drop(backend);
    let again = open(dir.path()).unwrap();
    for player in players {
        assert_eq!(again.store.username(player.user).await.unwrap().as_deref(), Some(&*player.username));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_come_together_share_commits() {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path()).unwrap();
    let before = backend.store.commits();
    let jobs = (0..400).map(|_| backend.store.create(fixtures::new_account()));
    assert!(join_all(jobs).await.iter().all(Result::is_ok));
    let commits = backend.store.commits() - before;
    assert!(commits < 100, "{commits} commits for 400 jobs");
}

#[tokio::test]
async fn a_killed_process_has_kept_all_that_it_answered() {
    let dir = tempfile::tempdir().unwrap();
    // This very binary, asked for the one test that writes until it is killed.
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child_that_writes_until_it_is_killed", "--ignored", "--nocapture"])
        .env(CHILD_DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut answered = Vec::new();
    for line in lines.map_while(Result::ok) {
        answered.extend(line.strip_prefix("answered ").map(str::to_owned));
        if answered.len() == 60 {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success(), "it was killed");
    assert!(answered.len() >= 60, "what it told before it died counts too");
    let backend = open(dir.path()).unwrap();
    for line in &answered {
        let (user, action) = line.split_once(' ').unwrap();
        let user = common::ids::UserId::parse(user).unwrap();
        let receipt = backend.store.receipt(user, &BoardId::global(), &fixtures::action_id(action)).await.unwrap();
        assert!(receipt.is_some_and(|r| r.new_score.is_some()), "{line} was answered and is lost");
    }
    let digest = backend.store.digest(&BoardId::global()).await.unwrap().unwrap();
    let head = backend.store.heads().await.unwrap().remove(0);
    assert_eq!(digest.ledger_actions, head.state.version.0);
    assert_eq!(digest.ledger_points, digest.score_sum, "ledger and scores agree");
}

#[tokio::test]
#[ignore = "run by a_killed_process_has_kept_all_that_it_answered"]
async fn the_child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let backend = open(Path::new(&dir)).unwrap();
    let players = fixtures::players(&*backend.store, 4).await;
    for round in 0..100_000 {
        let updates = players.iter().map(|player| fixtures::update(player.user, &format!("a{round}")).build());
        let jobs = updates.map(|update| {
            let store = Arc::clone(&backend.store);
            async move {
                let batch = store.apply_batch(std::slice::from_ref(&update), fixtures::noon()).await.unwrap();
                assert_eq!(batch.changes.len(), 1);
                println!("answered {} {}", update.user, update.action_id);
            }
        });
        join_all(jobs).await;
    }
}
