//! Views on the embedded backend, with events that are lost.

#![allow(clippy::unwrap_used)] // helpers of tests are not tests to the lint

use std::sync::Arc;
use std::time::Duration;

use board_view::{BoardViews, Lookup, ViewSettings};
use common::clock::Clock as _;
use common::ids::BoardId;
use common::ports::{Event, EventBus as _, Ledger as _, Truth as _};
use common::state::{StatePoint, Version};
use embedded::Embedded;
use testkit::clock::ManualClock;
use testkit::fixtures::{Player, WIDE, board_id, epoch, players, rules, update};
use testkit::waiting::{SOON, eventually, within};
use tokio_util::sync::CancellationToken;

struct Node {
    embedded: Embedded,
    views: Arc<BoardViews>,
    board: BoardId,
    players: Vec<Player>,
    stop: CancellationToken,
    _data: tempfile::TempDir,
}

impl Node {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = ManualClock::default();
        let embedded = Embedded::open(data.path(), Arc::new(clock.clone())).unwrap();
        let board = board_id();
        embedded.store.create_board(&board, &epoch("e1"), &rules()).await.unwrap();
        let players = players(&*embedded.store, 5).await;
        let (truth, bus) = (Arc::clone(&embedded.store) as _, Arc::clone(&embedded.bus) as _);
        let views = Arc::new(BoardViews::new(truth, bus, Arc::new(clock), ViewSettings::default()));
        let stop = CancellationToken::new();
        let (running, token) = (Arc::clone(&views), stop.clone());
        tokio::spawn(async move { running.run(token).await });
        Self { embedded, views, board, players, stop, _data: data }
    }

    async fn score(&self, action: &str, told: bool) -> StatePoint {
        let update = update(self.players[0].user, action).board(&self.board).action_type(WIDE).points(5).build();
        let applied = self.embedded.store.apply_batch(&[update], ManualClock::default().now()).await.unwrap();
        let change = applied.changes.into_iter().next().unwrap();
        let state = change.state();
        if told {
            let event = Event::BoardChanged { change: Arc::new(change), ranks: Vec::new(), traces: Vec::new() };
            self.embedded.bus.publish(event).await.unwrap();
        }
        state
    }

    async fn shows(&self, state: &StatePoint, deadline: Duration) {
        eventually(deadline, "the view to show the state", || async {
            match self.views.view(&self.board) {
                Some(view) if view.state() == state => Ok(()),
                other => Err(format!("{:?}", other.map(|view| view.state().clone()))),
            }
        })
        .await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boards_are_known_with_their_rules_and_their_newest_state() {
    let node = Node::start().await;
    eventually(SOON, "the rules", || async { node.views.board(&node.board).is_some() }).await;
    let state = node.score("a", true).await;
    node.shows(&state, SOON).await;
    let boards = node.views.boards();
    let mut ids: Vec<_> = boards.iter().map(|board| board.id().clone()).collect();
    assert!(ids.is_sorted());
    ids.retain(|id| *id == node.board || *id == BoardId::global());
    assert_eq!(ids.len(), 2);
    let board = boards.iter().find(|board| *board.id() == node.board).unwrap();
    assert_eq!((&board.head.state, board.rules.len()), (&state, rules().len()));
    assert!(matches!(node.views.lookup(&board_id()), Lookup::Unknown));
    assert!(node.views.is_fresh(Duration::from_secs(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_truth_was_heard_a_board_is_neither_known_nor_unknown() {
    let node = Node::start().await;
    let (truth, bus) = (Arc::clone(&node.embedded.store) as _, Arc::clone(&node.embedded.bus) as _);
    let asleep = BoardViews::new(truth, bus, Arc::new(ManualClock::default()), ViewSettings::default());
    assert!(matches!(asleep.lookup(&node.board), Lookup::Loading));
    assert!(!asleep.is_fresh(Duration::from_secs(3600)));
    assert!(!asleep.are_rules_known());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_visible_by_its_event_at_once_and_without_it_within_a_second() {
    let node = Node::start().await;
    node.shows(&StatePoint { epoch: epoch("e1"), version: Version::ZERO }, SOON).await;
    let mut told = node.views.subscribe(&node.board).unwrap();
    for n in 0..5 {
        let state = node.score(&format!("told-{n}"), true).await;
        let seen = within(Duration::from_millis(400), "the event's view", told.wait_for(|view| *view.state() == state));
        assert!(!seen.await.unwrap().stale);
    }
    for n in 0..3 {
        let state = node.score(&format!("untold-{n}"), false).await;
        node.shows(&state, Duration::from_secs(1)).await;
    }
    let truth = node.embedded.store.top(&node.board, 10).await.unwrap().unwrap();
    assert_eq!(node.views.view(&node.board).unwrap().top(10), truth);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_seen_a_newer_state_makes_the_view_reach_it() {
    let node = Node::start().await;
    node.shows(&StatePoint { epoch: epoch("e1"), version: Version::ZERO }, SOON).await;
    let state = node.score("untold", false).await;
    let view = within(Duration::from_millis(400), "the state", node.views.reach(&node.board, &state, SOON)).await;
    assert_eq!(view.unwrap().state(), &state);
    let never = StatePoint { version: Version(99), ..state.clone() };
    let asked = node.views.reach(&node.board, &never, Duration::from_secs(3_600));
    let view = within(SOON, "the truth's answer", asked).await.unwrap();
    assert_eq!(view.state(), &state, "what nobody committed is not waited for longer than the truth takes to say so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_board_appears_by_itself() {
    let node = Node::start().await;
    let made = board_id();
    node.embedded.store.create_board(&made, &epoch("e9"), &rules()).await.unwrap();
    eventually(Duration::from_secs(2), "the new board", || async { node.views.view(&made).is_some() }).await;
    eventually(Duration::from_secs(2), "its rules", || async { node.views.board(&made).is_some() }).await;
}
