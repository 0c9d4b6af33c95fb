//! A node on port 0 with everything behind it.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use board_view::{BoardViews, Lookup, ViewSettings};
use common::clock::{Clock, Timestamp};
use common::ids::BoardId;
use common::ports::{Event, EventBus, Ledger, Projected, RankIndex as _};
use common::standing::{BoardChange, TopList};
use common::state::{StatePoint, Version};
use embedded::Embedded;
use parking_lot::Mutex;
use realtime_fanout::{FanoutApp, FanoutPorts, FanoutSettings, FanoutState};
use runtime::token_gate::TokenGate;
use testkit::clock::ManualClock;
use testkit::fixtures::{Player, WIDE, board_id, epoch, players, rules, update};
use testkit::waiting::{SOON, eventually, within};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::door::Door;
use crate::faulty_bus::FaultyBus;
use crate::truth_with_faults::TruthWithFaults;

pub(crate) struct Node {
    pub(crate) board: BoardId,
    pub(crate) players: Vec<Player>,
    pub(crate) port: u16,
    pub(crate) state: Arc<FanoutState>,
    pub(crate) views: Arc<BoardViews>,
    pub(crate) truth: Arc<TruthWithFaults>,
    pub(crate) door: Arc<Door>,
    pub(crate) faulty: Arc<AtomicBool>,
    pub(crate) embedded: Embedded,
    clock: ManualClock,
    actions: AtomicU64,
    stop: CancellationToken,
    served: JoinHandle<()>,
    _data: tempfile::TempDir,
    backups: Mutex<Vec<(Embedded, tempfile::TempDir)>>,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::start_with(FanoutSettings { tick: Duration::from_millis(5), ..FanoutSettings::default() }).await
    }

    pub(crate) async fn start_with(settings: FanoutSettings) -> Self {
        Self::start_checking(settings, ViewSettings::default().self_check).await
    }

    /// The same, comparing its views with the truth so often.
    pub(crate) async fn start_checking(settings: FanoutSettings, self_check: Duration) -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = ManualClock::default();
        let shared_clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let embedded = Embedded::open(data.path(), Arc::clone(&shared_clock)).unwrap();
        let board = board_id();
        embedded.store.create_board(&board, &epoch("e1"), &rules()).await.unwrap();
        let players = players(&*embedded.store, 120).await;
        let filler = uuid::Uuid::new_v4();
        let start = StatePoint { epoch: epoch("e1"), version: Version::ZERO };
        embedded.ranks.begin_fill(&board, &start.epoch, start.version, filler).await.unwrap();
        embedded.ranks.finish_fill(&board, filler, &start).await.unwrap();
        let inner: Arc<dyn common::ports::Truth> = Arc::clone(&embedded.store) as _;
        let truth = Arc::new(TruthWithFaults { inner, away: AtomicBool::new(false), restored: OnceLock::new() });
        let faulty = Arc::new(AtomicBool::new(false));
        let bus: Arc<dyn EventBus> =
            Arc::new(FaultyBus { inner: Arc::clone(&embedded.bus) as _, faulty: Arc::clone(&faulty) });
        let views = BoardViews::new(
            Arc::clone(&truth) as _,
            Arc::clone(&bus),
            Arc::clone(&shared_clock),
            ViewSettings { poll: Duration::from_millis(200), self_check, ..ViewSettings::default() },
        );
        let views = Arc::new(views);
        let stop = CancellationToken::new();
        let door = Door::new();
        let tokens = Arc::new(TokenGate::new(Arc::clone(&door) as _, Arc::clone(&shared_clock)));
        let events = bus;
        let ports = FanoutPorts {
            views: Arc::clone(&views),
            events: Arc::clone(&events),
            ranks: Arc::clone(&embedded.ranks) as _,
            tokens: Arc::clone(&tokens),
            clock: shared_clock,
        };
        let state = FanoutState::new(ports, settings);
        let app = FanoutApp::build(Arc::clone(&state), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = app.port().unwrap();
        let (following, token, serving) = (Arc::clone(&views), stop.clone(), stop.clone());
        let own = Arc::clone(&state);
        let served = tokio::spawn(async move {
            let ended = CancellationToken::new();
            let follow = tokio::spawn({
                let ended = ended.clone();
                async move {
                    tokio::join!(
                        following.run(ended.clone()),
                        own.run(ended.clone()),
                        tokens.run(events.as_ref(), ended)
                    )
                }
            });
            app.run(serving).await.unwrap();
            ended.cancel();
            follow.await.unwrap();
            drop(token);
        });
        let node = Self {
            board,
            players,
            port,
            state,
            views,
            truth,
            door,
            faulty,
            embedded,
            clock,
            actions: AtomicU64::new(0),
            stop,
            served,
            _data: data,
            backups: Mutex::default(),
        };
        eventually(SOON, "the view of the board", || async {
            matches!(node.views.lookup(&node.board), Lookup::Known(_)) && node.views.board(&node.board).is_some()
        })
        .await;
        node
    }

    /// A player scores; the event is told.
    pub(crate) async fn score(&self, player: usize, points: i64) -> StatePoint {
        let (change, ranks) = self.commit(player, points).await;
        self.tell(change, ranks).await
    }

    /// A player scores, and the event does not say where that leads.
    pub(crate) async fn score_unranked(&self, player: usize, points: i64) -> StatePoint {
        let (change, _) = self.commit(player, points).await;
        self.tell(change, Vec::new()).await
    }

    /// A player scores, and no event says so.
    pub(crate) async fn score_untold(&self, player: usize, points: i64) -> StatePoint {
        self.commit(player, points).await.0.state()
    }

    /// Decides, commits and projects.
    pub(crate) async fn commit(&self, player: usize, points: i64) -> (BoardChange, Vec<Option<u64>>) {
        let action = format!("a{}", self.actions.fetch_add(1, Ordering::SeqCst));
        let update = update(self.players[player].user, &action).board(&self.board).action_type(WIDE).points(points);
        self.clock.advance_millis(1);
        let applied = self.embedded.store.apply_batch(&[update.build()], self.clock.now()).await.unwrap();
        let change = applied.changes.into_iter().next().unwrap();
        let ranks = match self.embedded.ranks.apply(&change).await.unwrap() {
            Projected::Standing(ranks) => ranks,
            Projected::Behind(_) => panic!("nobody else projects"),
        };
        (change, ranks)
    }

    async fn tell(&self, change: BoardChange, ranks: Vec<Option<u64>>) -> StatePoint {
        let state = change.state();
        let event = Event::BoardChanged { change: Arc::new(change), ranks, traces: Vec::new() };
        self.embedded.bus.publish(event).await.unwrap();
        state
    }

    /// The truth is another one from now on: of a backup, in a history of its own.
    pub(crate) async fn restore(&self, name: &str) -> StatePoint {
        let data = tempfile::tempdir().unwrap();
        let backup = Embedded::open(data.path(), Arc::new(self.clock.clone())).unwrap();
        backup.store.create_board(&self.board, &epoch(name), &rules()).await.unwrap();
        let player = players(&*backup.store, 1).await.remove(0);
        let update = update(player.user, "backup").board(&self.board).action_type(WIDE).points(7);
        let applied = backup.store.apply_batch(&[update.build()], self.clock.now()).await.unwrap();
        assert!(self.truth.restored.set(Arc::clone(&backup.store) as _).is_ok(), "restored once");
        self.backups.lock().push((backup, data));
        applied.changes[0].state()
    }

    /// The truth is another one from now on, which has no such board.
    pub(crate) fn lose_board(&self) {
        let data = tempfile::tempdir().unwrap();
        let other = Embedded::open(data.path(), Arc::new(self.clock.clone())).unwrap();
        assert!(self.truth.restored.set(Arc::clone(&other.store) as _).is_ok(), "replaced once");
        self.backups.lock().push((other, data));
    }

    pub(crate) fn bus(&self) -> &dyn EventBus {
        &*self.embedded.bus
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The clock goes on.
    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance_millis(i64::try_from(time.as_millis()).unwrap());
    }

    pub(crate) async fn top(&self, limit: usize) -> TopList {
        self.truth.inner.top(&self.board, limit).await.unwrap().unwrap()
    }

    pub(crate) fn url(&self, query: &str) -> String {
        format!("ws://127.0.0.1:{}/ws/scoreboard?board={}{query}", self.port, self.board)
    }

    pub(crate) fn events_url(&self, query: &str) -> String {
        format!("http://127.0.0.1:{}/api/v1/scoreboard/stream?board={}{query}", self.port, self.board)
    }

    pub(crate) fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// The whole service has ended.
    pub(crate) async fn ended(self) {
        self.stop.cancel();
        within(SOON, "the service to end", self.served).await.unwrap();
        self.embedded.close().await;
    }
}
