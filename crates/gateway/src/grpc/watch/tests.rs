//! What a reader is told, state by state.

use common::clock::Timestamp;
use common::ids::UserId;
use common::standing::Entry;
use common::state::{Epoch, Version};
use common::top_window::TopWindow;
use uuid::Uuid;

use super::*;

/// The first player's score at a state; the second always has one point.
fn view(epoch: &str, version: u64, score: i64, stale: bool) -> View {
    let entry = |n: u128, score, rank, version| Entry {
        user: UserId(Uuid::from_u128(n)),
        username: Arc::from("ada"),
        score,
        rank,
        updated_at: Timestamp::from_millis(0),
        version: Version(version),
    };
    let state = StatePoint { epoch: Epoch::parse(epoch).unwrap(), version: Version(version) };
    let entries = vec![entry(1, score, 1, version), entry(2, 1, 2, 1)];
    let window = TopWindow::from_top(TopList { state, entries });
    View { board: BoardId::global(), window, stale, traces: Vec::new() }
}

fn watcher() -> Watcher {
    let (_, view) = watch::channel(Arc::new(view("e1", 1, 9, false)));
    let (sender, _) = mpsc::channel(1);
    let seat = Seat { open: Arc::default(), caller: Arc::from("referee") };
    let (stop, stalled) = (CancellationToken::new(), CancellationToken::new());
    Watcher { board: BoardId::global(), limit: 10, shown: None, stale: false, view, sender, stop, stalled, seat }
}

/// The kind of the event that a view leads to, with the version that the reader shows then.
fn told(watcher: &mut Watcher, view: &View) -> Option<(&'static str, u64)> {
    let event = watcher.event(view)?;
    let kind = match &event {
        Event::Snapshot(_) => "snapshot",
        Event::Update(_) => "update",
        Event::Heartbeat(_) => "heartbeat",
        Event::Stale(_) => "stale",
        Event::Bye(_) => "bye",
    };
    Some((kind, watcher.message(event).version))
}

#[test]
fn changes_are_told_and_what_changes_nothing_is_not() {
    let mut watcher = watcher();
    assert_eq!(told(&mut watcher, &view("e1", 1, 9, false)), Some(("snapshot", 1)));
    assert_eq!(told(&mut watcher, &view("e1", 1, 9, false)), None);
    assert_eq!(told(&mut watcher, &view("e1", 4, 12, false)), Some(("update", 4)));
    assert_eq!(told(&mut watcher, &view("e2", 2, 12, false)), Some(("snapshot", 2)), "another history");
}

#[test]
fn a_stale_view_is_told_once_and_a_snapshot_ends_it() {
    let mut watcher = watcher();
    assert_eq!(told(&mut watcher, &view("e1", 1, 9, true)), Some(("snapshot", 1)), "first, whatever it is");
    assert_eq!(told(&mut watcher, &view("e1", 1, 9, true)), Some(("stale", 1)));
    assert_eq!(told(&mut watcher, &view("e1", 2, 10, true)), None);
    assert_eq!(told(&mut watcher, &view("e1", 2, 10, false)), Some(("snapshot", 2)));
}

#[test]
fn a_version_never_goes_back_on_one_stream() {
    let mut watcher = watcher();
    assert_eq!(told(&mut watcher, &view("e1", 5, 9, false)), Some(("snapshot", 5)));
    assert_eq!(told(&mut watcher, &view("e1", 3, 7, false)), Some(("bye", 5)));
}
