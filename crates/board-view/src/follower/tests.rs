use std::collections::HashMap;

use common::ids::{BoardId, UserId};
use common::standing::{Entry, ScoreRow};
use common::state::{Epoch, Version};
use common::top_window::WINDOW_ROWS;
use proptest::prelude::*;
use testkit::fixtures::{epoch, row, seeded_user, tombstone};

use super::*;

/// The truth, with every state that it ever had.
struct Board {
    epoch: Epoch,
    rows: HashMap<UserId, ScoreRow>,
    tops: Vec<TopList>,
}

impl Board {
    fn new() -> Self {
        let mut board = Self { epoch: epoch("e1"), rows: HashMap::new(), tops: Vec::new() };
        board.tops.push(board.sorted());
        board
    }

    fn head(&self) -> StatePoint {
        self.newest().state.clone()
    }

    fn newest(&self) -> &TopList {
        self.tops.last().unwrap()
    }

    fn sorted(&self) -> TopList {
        let mut rows: Vec<_> = self.rows.values().filter_map(|row| Some((row.key()?, row))).collect();
        rows.sort_by_key(|(key, _)| *key);
        let entries = rows.into_iter().take(WINDOW_ROWS).zip(1..).map(|((key, row), rank)| Entry {
            user: row.user,
            username: Arc::clone(&row.username),
            score: key.score,
            rank,
            updated_at: row.updated_at,
            version: row.version,
        });
        let version = Version(self.tops.len() as u64);
        TopList { state: StatePoint { epoch: self.epoch.clone(), version }, entries: entries.collect() }
    }

    fn commit(&mut self, player: usize, score: Option<i64>) -> Arc<BoardChange> {
        let (user, version) = (seeded_user(player), self.tops.len() as u64);
        let row = score.map_or_else(|| tombstone(user, version), |score| row(user, score, version));
        self.rows.insert(user, row.clone());
        self.tops.push(self.sorted());
        Arc::new(BoardChange {
            board: BoardId::global(),
            epoch: self.epoch.clone(),
            from: Version(version - 1),
            to: Version(version),
            rows: vec![row],
        })
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A change is committed; its event goes on its way.
    Commit(usize, Option<i64>),
    /// An event on its way arrives, not always the oldest; `true`: it will arrive once more.
    Arrive(usize, bool),
    /// An event is lost.
    Lose(usize),
    /// The truth says where it stands.
    Heads,
    /// A read that is due begins, and sees the truth as it is now.
    StartRead,
    /// A read that began comes back.
    EndRead,
    FailRead,
    /// Time passes.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => (0..8usize, prop_oneof![5 => (0..9i64).prop_map(Some), 1 => Just(None)])
            .prop_map(|(player, score)| Step::Commit(player, score)),
        10 => (0..4usize, prop::bool::weighted(0.2)).prop_map(|(which, again)| Step::Arrive(which, again)),
        2 => (0..4usize).prop_map(Step::Lose),
        2 => Just(Step::Heads),
        4 => Just(Step::StartRead),
        3 => Just(Step::EndRead),
        1 => Just(Step::FailRead),
        4 => (1..80u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..120)
}

fn check(follower: &Follower, board: &Board, last: &mut u64) -> Result<(), TestCaseError> {
    let Some(window) = follower.window() else { return Ok(()) };
    let version = window.state().version.0;
    prop_assert!(version >= *last, "went back from {} to {version}", last);
    *last = version;
    let index = usize::try_from(version).unwrap();
    prop_assert_eq!(window.top(10).entries, board.tops[index].entries.iter().take(10).cloned().collect::<Vec<_>>());
    Ok(())
}

fn play(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (mut board, mut now) = (Board::new(), Instant::now());
    let mut follower = Follower::new(now);
    let mut under_way: Vec<Arc<BoardChange>> = Vec::new();
    let mut reading: Option<TopList> = None;
    let mut last = 0;
    for step in steps {
        match step {
            Step::Commit(player, score) => under_way.push(board.commit(player, score)),
            Step::Arrive(which, again) if !under_way.is_empty() => {
                let which = which.min(under_way.len() - 1);
                let change = if again { Arc::clone(&under_way[which]) } else { under_way.remove(which) };
                let before = follower.window().map(|window| window.state().clone());
                let moved = follower.changed(change, now);
                prop_assert_eq!(moved, before != follower.window().map(|window| window.state().clone()));
            }
            Step::Lose(which) if !under_way.is_empty() => drop(under_way.remove(which.min(under_way.len() - 1))),
            Step::Heads => drop(follower.head_seen(board.head(), now, now)),
            Step::StartRead if reading.is_none() => {
                reading = follower.start_read(now).map(|_| board.newest().clone());
            }
            Step::EndRead => {
                if let Some(top) = reading.take() {
                    prop_assert_ne!(follower.read(top, now), Some(Checked::Mismatch));
                }
            }
            Step::FailRead if reading.take().is_some() => follower.read_failed(now),
            Step::Wait(millis) => now += Duration::from_millis(millis),
            _ => {}
        }
        check(&follower, &board, &mut last)?;
    }
    // A second later, with nothing but polls and reads, it shows the truth.
    let settled = now + Duration::from_secs(1);
    if let Some(top) = reading.take() {
        let _ = follower.read(top, now);
    }
    follower.head_seen(board.head(), now, now);
    while now <= settled + LAST_RETRY {
        now += Duration::from_millis(50);
        if follower.start_read(now).is_some() {
            let _ = follower.read(board.newest().clone(), now);
        }
        check(&follower, &board, &mut last)?;
    }
    prop_assert_eq!(follower.window().unwrap().state(), &board.head());
    prop_assert!(follower.is_fresh(Duration::from_secs(3), now));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_happens_to_events_and_reads_the_view_never_lies_and_ends_at_the_truth(steps in steps()) {
        play(steps)?;
    }
}

fn filled(board: &Board, now: Instant) -> Follower {
    let mut follower = Follower::new(now);
    assert_eq!(follower.start_read(now), Some(Reason::Start));
    assert_eq!(follower.read(board.newest().clone(), now), Some(Checked::Sound));
    follower
}

#[test]
fn events_that_overtake_each_other_cost_no_read() {
    let (mut board, now) = (Board::new(), Instant::now());
    let mut follower = filled(&board, now);
    let changes: Vec<_> = (0..4).map(|player| board.commit(player, Some(1))).collect();
    for which in [2, 1, 3] {
        assert!(!follower.changed(Arc::clone(&changes[which]), now));
    }
    assert!(follower.changed(Arc::clone(&changes[0]), now), "the missing one lets all of them in");
    assert_eq!(follower.window().unwrap().state(), &board.head());
    assert_eq!(follower.start_read(now + Duration::from_secs(1)), None);
}

#[test]
fn a_missing_change_is_read_after_a_short_grace() {
    let (mut board, now) = (Board::new(), Instant::now());
    let mut follower = filled(&board, now);
    board.commit(0, Some(1));
    follower.changed(board.commit(1, Some(2)), now);
    assert_eq!(follower.start_read(now), None);
    let later = now + OVERTAKING_GRACE;
    assert_eq!(follower.start_read(later), Some(Reason::Gap));
    assert_eq!(follower.start_read(later), None, "one read at a time");
    assert!(follower.read(board.newest().clone(), later).is_some());
    assert_eq!(follower.window().unwrap().state(), &board.head());
}

#[test]
fn another_epoch_replaces_the_view_though_its_versions_are_lower() {
    let (mut board, now) = (Board::new(), Instant::now());
    (0..9).for_each(|player| drop(board.commit(player, Some(1))));
    let mut follower = filled(&board, now);
    let mut restored = Board::new();
    restored.epoch = epoch("e2");
    restored.tops.clear();
    restored.tops.push(restored.sorted());
    restored.commit(3, Some(7));
    follower.head_seen(restored.head(), now, now);
    assert_eq!(follower.start_read(now), Some(Reason::Epoch));
    assert_eq!(follower.read(restored.newest().clone(), now), Some(Checked::Sound));
    assert_eq!(follower.window().unwrap().state(), &restored.head());
    // A late read of the old history cannot come: reads of a board follow each other. A late event can.
    follower.changed(board.commit(0, Some(5)), now);
    assert_eq!(follower.window().unwrap().state(), &restored.head());
}

#[test]
fn a_truth_that_went_back_is_followed_only_when_it_insists() {
    let (mut board, mut now) = (Board::new(), Instant::now());
    (0..5).for_each(|player| drop(board.commit(player, Some(1))));
    let mut follower = filled(&board, now);
    board.tops.truncate(3);
    for _ in 0..2 {
        assert_eq!(follower.start_read(now), None);
        now += Duration::from_millis(500);
        follower.head_seen(board.head(), now, now);
    }
    assert_eq!(follower.start_read(now), Some(Reason::Ahead));
    assert_eq!(follower.read(board.newest().clone(), now), Some(Checked::Sound));
    assert_eq!(follower.window().unwrap().state(), &board.head());
}

#[test]
fn a_view_that_differs_at_the_same_version_is_replaced_and_reported() {
    let (mut board, now) = (Board::new(), Instant::now());
    board.commit(0, Some(5));
    let mut follower = filled(&board, now);
    board.tops[1].entries[0].score = 6;
    follower.check_due(now, Reason::SelfCheck);
    assert_eq!(follower.start_read(now), Some(Reason::SelfCheck));
    assert_eq!(follower.read(board.newest().clone(), now), Some(Checked::Mismatch));
    assert_eq!(follower.window().unwrap().top(1).entries[0].score, 6);
}

#[test]
fn it_is_fresh_only_as_long_as_the_truth_was_asked_and_reached() {
    let (mut board, now) = (Board::new(), Instant::now());
    let mut follower = filled(&board, now);
    let second = Duration::from_secs(1);
    assert!(!follower.is_fresh(second, now), "nobody asked where the truth stands");
    follower.head_seen(board.head(), now, now);
    assert!(follower.is_fresh(second, now + second));
    assert!(!follower.is_fresh(second, now + second * 2));
    let change = board.commit(0, Some(1));
    let later = now + second * 2;
    follower.head_seen(board.head(), later, later);
    assert!(!follower.is_fresh(second, later), "the truth is ahead");
    follower.changed(change, later);
    assert!(follower.is_fresh(second, later));
}

#[test]
fn failed_reads_wait_longer_each_time_whatever_asks() {
    let (board, mut now) = (Board::new(), Instant::now());
    let mut follower = Follower::new(now);
    let mut waits = Vec::new();
    for _ in 0..7 {
        let began = now;
        while follower.start_read(now).is_none() {
            now += Duration::from_millis(5);
            follower.head_seen(board.head(), now, now);
        }
        waits.push(now - began);
        follower.read_failed(now);
    }
    assert!(waits.windows(2).all(|pair| pair[1] >= pair[0]), "{waits:?}");
    assert!(waits[6] >= LAST_RETRY && waits[6] < LAST_RETRY * 2);
}

#[test]
fn for_who_asked_the_truth_is_read_though_events_brought_what_was_missing() {
    let (mut board, now) = (Board::new(), Instant::now());
    let mut follower = Follower::new(now);
    assert_eq!(follower.start_read(now), Some(Reason::Start));
    follower.read(board.newest().clone(), now);
    let change = board.commit(0, Some(5));
    follower.head_seen(board.head(), now, now);
    let later = now + EVENT_GRACE;
    follower.check_due(later, Reason::Asked);
    assert!(follower.changed(change, later));
    assert_eq!(follower.start_read(later), Some(Reason::Asked));
}
