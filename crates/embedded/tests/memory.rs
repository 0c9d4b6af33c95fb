//! What the backends in memory promise beyond the contract: bounds, redelivery, takeovers.

use std::sync::Arc;
use std::time::Duration;

use common::ids::BoardId;
use common::ports::{
    Accounts as _, DeadLetters as _, EventBus, FillStart, FillStep, IndexState, PendingMarks, RankIndex, Signal,
    SubmitError, Submitted, Truth as _, UpdateQueue, UpdateSource,
};
use common::receipt::{Answer, Outcome};
use common::state::Version;
use embedded::{Embedded, MemoryPendingMarks, MemoryQueue, MemoryRanks, QueueLimits, SqliteDeadLetters};
use tempfile::TempDir;
use testkit::clock::ManualClock;
use testkit::fixtures::{self, board_id, epoch, row, seeded_user, update};
use testkit::waiting::{SOON, within};
use uuid::Uuid;

const NO_LINGER: Duration = Duration::ZERO;

fn backend() -> (Embedded, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    (Embedded::open(dir.path(), Arc::new(ManualClock::default())).expect("a new backend"), dir)
}

fn queue_of(backend: &Embedded, limits: QueueLimits) -> Arc<MemoryQueue> {
    Arc::new(MemoryQueue::new(Arc::clone(&backend.store), Arc::new(ManualClock::default()), limits))
}

fn answer() -> Answer {
    Answer { outcome: Outcome::KeyReused, rank: None }
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_takes_again_when_work_is_settled() {
    let (backend, _dir) = backend();
    let queue = queue_of(&backend, QueueLimits { capacity: 2, ..QueueLimits::default() });
    for n in 0..2 {
        let accepted = queue.submit(update(seeded_user(n), "a").build(), Duration::ZERO).await;
        assert!(matches!(accepted, Err(SubmitError::Undecided(_))));
    }
    let refused = within(SOON, "a refusal", queue.submit(update(seeded_user(2), "a").build(), SOON * 100)).await;
    assert!(matches!(refused, Err(SubmitError::Unavailable(_))));
    // Received is not settled.
    let deliveries = queue.receive(1, NO_LINGER).await.unwrap();
    assert_eq!(queue.outstanding(), 2);
    queue.acknowledge(&[deliveries[0].tag]).await.unwrap();
    assert_eq!(queue.outstanding(), 1);
    let accepted = queue.submit(update(seeded_user(3), "a").build(), Duration::ZERO).await;
    assert!(matches!(accepted, Err(SubmitError::Undecided(_))));
}

#[tokio::test]
async fn a_closed_queue_refuses_and_can_be_drained() {
    let (backend, _dir) = backend();
    let accepted = tokio::spawn({
        let queue = Arc::clone(&backend.queue);
        async move { queue.submit(update(seeded_user(0), "a").build(), SOON).await }
    });
    let deliveries = within(SOON, "the update", backend.queue.receive(1, NO_LINGER)).await.unwrap();
    backend.queue.close();
    let refused = backend.queue.submit(update(seeded_user(1), "a").build(), SOON).await;
    assert!(matches!(refused, Err(SubmitError::Unavailable(_))));
    backend.queue.answer(&deliveries[0], vec![answer()]).await.unwrap();
    backend.queue.acknowledge(&[deliveries[0].tag]).await.unwrap();
    assert!(matches!(accepted.await.unwrap(), Ok(Submitted::Decided(_))));
    assert_eq!(backend.queue.outstanding(), 0);
}

#[tokio::test]
async fn what_a_submitter_left_behind_is_still_received() {
    let (backend, _dir) = backend();
    let update = update(seeded_user(0), "a").build();
    let mut leaving = Box::pin(backend.queue.submit(update.clone(), SOON));
    assert!(futures_util::poll!(&mut leaving).is_pending());
    drop(leaving);
    let deliveries = within(SOON, "the update", backend.queue.receive(1, NO_LINGER)).await.unwrap();
    assert_eq!(deliveries[0].updates, [update]);
}

#[tokio::test]
async fn unsettled_work_comes_again_by_itself_and_its_answer_still_arrives() {
    let (backend, _dir) = backend();
    let queue =
        queue_of(&backend, QueueLimits { redeliver_after: Duration::from_millis(30), ..QueueLimits::default() });
    let submission = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.submit(update(seeded_user(0), "a").build(), SOON).await }
    });
    let lost = within(SOON, "the update", queue.receive(10, NO_LINGER)).await.unwrap();
    // The worker that held it has died; another one waits without a hint from anybody.
    let again = within(SOON, "the update once more", queue.receive(10, NO_LINGER)).await.unwrap();
    assert_eq!(lost[0].updates, again[0].updates);
    queue.answer(&again[0], vec![answer()]).await.unwrap();
    queue.acknowledge(&[again[0].tag]).await.unwrap();
    assert!(matches!(submission.await.unwrap(), Ok(Submitted::Decided(a)) if a == answer()));
    assert_eq!(queue.outstanding(), 0);
}

#[tokio::test]
async fn a_supervisor_can_put_unsettled_work_back_in_its_order() {
    let (backend, _dir) = backend();
    let queue = &backend.queue;
    for n in 0..4 {
        let accepted = queue.submit(update(seeded_user(n), "a").build(), Duration::ZERO).await;
        assert!(matches!(accepted, Err(SubmitError::Undecided(_))));
    }
    let first = queue.receive(3, NO_LINGER).await.unwrap();
    queue.acknowledge(&[first[1].tag]).await.unwrap();
    queue.requeue_unacknowledged();
    let again = queue.receive(10, NO_LINGER).await.unwrap();
    let users: Vec<_> = again.iter().map(|d| d.updates[0].user).collect();
    assert_eq!(users, [0, 2, 3].map(seeded_user));
    // The dead worker's acknowledgement, late: the work was done, so it is settled.
    queue.requeue_unacknowledged();
    queue.acknowledge(&[first[0].tag]).await.unwrap();
    let left = queue.receive(10, NO_LINGER).await.unwrap();
    assert_eq!(left.iter().map(|d| d.updates[0].user).collect::<Vec<_>>(), [2, 3].map(seeded_user));
}

#[tokio::test]
async fn two_workers_share_the_work() {
    let (backend, _dir) = backend();
    let submissions: Vec<_> = (0..50)
        .map(|n| {
            let queue = Arc::clone(&backend.queue);
            tokio::spawn(async move { queue.submit(update(seeded_user(n), "a").build(), SOON).await })
        })
        .collect();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let queue = Arc::clone(&backend.queue);
            tokio::spawn(async move {
                loop {
                    for delivery in queue.receive(3, Duration::from_micros(100)).await.unwrap() {
                        queue.answer(&delivery, vec![answer()]).await.unwrap();
                        queue.acknowledge(&[delivery.tag]).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for submission in submissions {
        let decided = within(SOON, "a decision", submission).await.unwrap();
        assert!(matches!(decided, Ok(Submitted::Decided(_))));
    }
    workers.into_iter().for_each(|worker| worker.abort());
}

#[tokio::test]
async fn what_is_put_aside_outlives_the_process_whole() {
    let (backend, dir) = backend();
    let bad = [update(seeded_user(0), "a").key("k").points(-3).build(), update(seeded_user(1), "b").build()];
    for update in &bad {
        backend.queue.dead_letter(update, "it never succeeds").await.unwrap();
    }
    backend.close().await;
    let again = Embedded::open(dir.path(), Arc::new(ManualClock::default())).unwrap();
    let letters = again.store.dead_letters(0, 10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| &letter.update).collect::<Vec<_>>(), bad.iter().collect::<Vec<_>>());
    assert!(letters.iter().all(|l| l.reason == "it never succeeds" && l.put_aside_at == fixtures::noon()));
    let rest = again.store.dead_letters(letters[0].id, 10).await.unwrap();
    assert_eq!(rest.len(), 1);
}

#[tokio::test]
async fn letters_are_listed_found_retried_as_new_submissions_and_dropped() {
    let (backend, _dir) = backend();
    let clock = Arc::new(ManualClock::default());
    let letters = SqliteDeadLetters::new(Arc::clone(&backend.store), clock);
    let mut users = Vec::new();
    for n in 0..3 {
        let account = fixtures::new_account();
        users.push(account.user);
        backend.store.create(account).await.unwrap();
        let update = update(users[n], "a").points(7).build();
        backend.queue.dead_letter(&update, &format!("reason {n}")).await.unwrap();
    }
    let listed = letters.list(10).await.unwrap();
    assert_eq!(listed.iter().map(|l| l.reason.as_str()).collect::<Vec<_>>(), ["reason 0", "reason 1", "reason 2"]);
    assert_eq!(letters.list(2).await.unwrap()[..], listed[..2]);
    assert_eq!(letters.find(&listed[1].id).await.unwrap().as_ref(), Some(&listed[1]));
    assert_eq!(letters.find("nobody").await.unwrap(), None);

    let ids = |of: &[usize]| of.iter().map(|n| listed[*n].id.clone()).collect::<Vec<_>>();
    let unknown = vec!["4711".to_owned(), "nobody".to_owned()];
    assert_eq!(letters.retry(&[ids(&[1]), unknown.clone()].concat()).await.unwrap(), ids(&[1]));
    let scores = backend.store.rows_above(&BoardId::global(), Version::ZERO, 10).await.unwrap();
    let rows: Vec<_> = scores.unwrap().rows.iter().map(|row| (row.user, row.score)).collect();
    assert_eq!(rows, [(users[1], Some(7))], "decided at once");
    assert_eq!(letters.discard(&[ids(&[0]), unknown].concat()).await.unwrap(), ids(&[0]));
    assert!(letters.discard(&ids(&[0, 1])).await.unwrap().is_empty(), "they are gone");
    assert_eq!(letters.list(10).await.unwrap()[..], listed[2..]);
}

#[tokio::test]
async fn a_silent_fill_is_taken_over_and_begins_anew() {
    let clock = ManualClock::default();
    let ranks = MemoryRanks::new(Arc::new(clock.clone()));
    let (board, e1) = (board_id(), epoch("e1"));
    let (dead, heir) = (Uuid::new_v4(), Uuid::new_v4());
    ranks.begin_fill(&board, &e1, Version(9), dead).await.unwrap();
    clock.advance_millis(9_000);
    assert_eq!(ranks.fill(&board, dead, &[row(seeded_user(0), 99, 9)]).await.unwrap(), FillStep::Done);
    clock.advance_millis(9_999);
    assert_eq!(ranks.begin_fill(&board, &e1, Version(2), heir).await.unwrap(), FillStart::Busy, "heard 9.999 s ago");
    clock.advance_millis(1);
    let begun = ranks.begin_fill(&board, &e1, Version(2), heir).await.unwrap();
    assert_eq!(begun, FillStart::From(Version::ZERO), "half a fill is no state to go on from");
    assert_eq!(ranks.fill(&board, dead, &[row(seeded_user(0), 99, 9)]).await.unwrap(), FillStep::Lost);
    ranks.fill(&board, heir, &[row(seeded_user(1), 5, 2)]).await.unwrap();
    let state = common::state::StatePoint { epoch: e1.clone(), version: Version(2) };
    assert_eq!(ranks.finish_fill(&board, dead, &state).await.unwrap(), FillStep::Lost);
    assert_eq!(ranks.finish_fill(&board, heir, &state).await.unwrap(), FillStep::Done);
    assert_eq!(ranks.state(&board).await.unwrap(), IndexState::At(state.clone()));
    assert_eq!(ranks.count(&board).await.unwrap(), Some((state, 1)), "nothing of the first fill is left");
}

#[test]
fn an_end_that_was_given_up_half_way_leaves_no_empty_board() {
    // One thread for what blocks, so that the test can keep it busy: the sorting cannot end before it is given up.
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let clock = ManualClock::default();
        let ranks = MemoryRanks::new(Arc::new(clock.clone()));
        let (board, e1, filler) = (board_id(), epoch("e1"), Uuid::new_v4());
        let rows: Vec<_> = (1..=1000).map(|n| row(seeded_user(n), n as i64, n as u64)).collect();
        let state = common::state::StatePoint { epoch: e1.clone(), version: Version(1000) };
        ranks.begin_fill(&board, &e1, Version(1000), filler).await.unwrap();
        ranks.fill(&board, filler, &rows).await.unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || held.recv());
        let mut given_up = ranks.finish_fill(&board, filler, &state);
        assert!(futures_util::poll!(&mut given_up).is_pending(), "the sorting runs elsewhere");
        drop(given_up);
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        assert_eq!(ranks.finish_fill(&board, filler, &state).await.unwrap(), FillStep::Lost);
        assert_eq!(ranks.state(&board).await.unwrap(), IndexState::Filling);
        assert_eq!(ranks.begin_fill(&board, &e1, Version(1000), filler).await.unwrap(), FillStart::From(Version::ZERO));
        ranks.fill(&board, filler, &rows).await.unwrap();
        assert_eq!(ranks.finish_fill(&board, filler, &state).await.unwrap(), FillStep::Done);
        assert_eq!(ranks.count(&board).await.unwrap(), Some((state, 1000)));
    });
}

#[tokio::test]
async fn marks_are_bounded_and_end_after_an_hour() {
    let clock = ManualClock::default();
    let marks = MemoryPendingMarks::new(Arc::new(clock.clone()));
    let (user, global) = (seeded_user(0), BoardId::global());
    let found = async |action: &str| marks.find(user, &global, &fixtures::action_id(action)).await.is_some();
    for n in 0..10_000 {
        marks.mark(&update(user, &format!("a{n}")).build()).await;
    }
    assert!(found("a0").await && found("a9999").await);
    marks.mark(&update(user, "one-more").build()).await;
    assert!(!found("a0").await && found("a1").await && found("one-more").await);
    // A mark that is set again is as young as its last setting.
    marks.mark(&update(user, "a1").build()).await;
    marks.mark(&update(user, "two-more").build()).await;
    assert!(found("a1").await);
    clock.advance_millis(3_600_000);
    assert!(found("one-more").await);
    clock.advance_millis(1);
    assert!(!found("one-more").await);
}

#[tokio::test]
async fn a_stream_ends_when_the_bus_is_gone() {
    let bus = embedded::MemoryBus::new();
    let mut stream = bus.subscribe();
    drop(bus);
    assert_eq!(stream.next().await, Some(Signal::Gap));
    assert_eq!(within(SOON, "the end", stream.next()).await, None);
}
