//! Workers with everything around them, and the model that the outcome is compared with.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::ids::{BoardId, UserId};
use common::ports::{IndexState, RankIndex as _, Truth as _};
use common::receipt::{Answer, Outcome};
use common::score_update::ScoreUpdate;
use embedded::Embedded;
use parking_lot::Mutex;
use score_worker::{ScoreWorker, WorkerPorts, WorkerSettings};
use testkit::clock::ManualClock;
use testkit::fixtures::{Player, WIDE, board_id, epoch, players, rules, update};
use testkit::waiting::{SOON, eventually, within};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::faults::{FaultyBus, FaultyLedger, FaultyRanks, Gate, Sickness};
use crate::source::TestSource;

pub(crate) struct Harness {
    pub(crate) board: BoardId,
    pub(crate) players: Vec<Player>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) ledger: Arc<FaultyLedger>,
    pub(crate) ranks: Arc<FaultyRanks>,
    pub(crate) source: Arc<TestSource>,
    pub(crate) bus: Arc<FaultyBus>,
    pub(crate) embedded: Embedded,
    pub(crate) settings: WorkerSettings,
    clock: ManualClock,
    actions: AtomicU64,
    _data: tempfile::TempDir,
}

pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// As by `kill -9`: nothing is finished.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// The soft stop.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        within(SOON, "the worker to end", self.task).await.unwrap();
    }
}

impl Harness {
    pub(crate) async fn new(count: usize) -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = ManualClock::default();
        let embedded = Embedded::open(data.path(), Arc::new(clock.clone())).unwrap();
        let board = board_id();
        embedded.store.create_board(&board, &epoch("e1"), &rules()).await.unwrap();
        let gate = Arc::new(Gate::default());
        let ledger = FaultyLedger {
            inner: Arc::clone(&embedded.store),
            gate: Arc::clone(&gate),
            sickness: Sickness::default(),
            lies: AtomicBool::new(false),
            conflicts: AtomicU64::new(0),
            contested: Mutex::default(),
            refused: Mutex::default(),
            committed: Mutex::default(),
        };
        let bus = FaultyBus { gate: Arc::clone(&gate), sickness: Sickness::default(), published: Mutex::default() };
        Self {
            players: players(&*embedded.store, count).await,
            board,
            ledger: Arc::new(ledger),
            ranks: Arc::new(FaultyRanks::new(clock.clone(), Arc::clone(&gate))),
            source: Arc::new(TestSource::new(Arc::clone(&gate))),
            bus: Arc::new(bus),
            gate,
            embedded,
            settings: WorkerSettings::default(),
            clock,
            actions: AtomicU64::new(0),
            _data: data,
        }
    }

    /// What is not marked is not repaired: after the start nobody compares boards with their indexes.
    pub(crate) fn without_looks(&mut self) {
        let never = Duration::from_secs(3_600);
        (self.settings.look_interval, self.settings.sweep_interval) = (never, never);
    }

    pub(crate) fn start(&self) -> Running {
        let ports = WorkerPorts {
            ledger: Arc::clone(&self.ledger) as _,
            truth: Arc::clone(&self.embedded.store) as _,
            ranks: Arc::clone(&self.ranks) as _,
            source: Arc::clone(&self.source) as _,
            events: Arc::clone(&self.bus) as _,
        };
        let worker = ScoreWorker::new(ports, self.settings.clone(), Arc::new(self.clock.clone()));
        let stop = CancellationToken::new();
        let token = stop.clone();
        Running { stop, task: tokio::spawn(async move { worker.run(token).await }) }
    }

    /// An update that brings a player points.
    pub(crate) fn update(&self, player: usize, points: i64) -> ScoreUpdate {
        let action = format!("a{}", self.actions.fetch_add(1, Ordering::SeqCst));
        update(self.players[player].user, &action).board(&self.board).action_type(WIDE).points(points).build()
    }

    /// So many messages of one update each; returns the updates.
    pub(crate) fn send(&self, count: usize) -> Vec<ScoreUpdate> {
        let updates: Vec<_> =
            (0..count).map(|n| self.update(n % self.players.len(), 1 + (n as i64 * 7) % 13)).collect();
        updates.iter().for_each(|update| self.source.send(vec![update.clone()]));
        updates
    }

    pub(crate) async fn all_acknowledged(&self) {
        eventually(SOON, "every message to be acknowledged", || async {
            let left = self.source.left();
            if left == 0 { Ok(()) } else { Err(format!("{left} are left")) }
        })
        .await;
    }

    /// Waits until the index shows the head, and compares it with the truth.
    pub(crate) async fn index_is_right(&self) {
        eventually(SOON, "the index at the truth's head", || async {
            let head = self.embedded.store.top(&self.board, 1).await.unwrap().unwrap().state;
            match self.ranks.now().state(&self.board).await.unwrap() {
                IndexState::At(at) if at == head => Ok(()),
                other => Err(format!("{other:?} and not {head}")),
            }
        })
        .await;
        let truth = self.embedded.store.top(&self.board, 10_000).await.unwrap().unwrap();
        let (state, index) = self.ranks.now().top(&self.board, 10_000).await.unwrap().unwrap();
        assert_eq!(state, truth.state);
        let shown = |user: UserId, score: i64, rank: u64| (user, score, rank);
        let truth: Vec<_> = truth.entries.iter().map(|e| shown(e.user, e.score, e.rank)).collect();
        let index: Vec<_> = index.iter().map(|p| shown(p.user, p.score, p.rank)).collect();
        assert_eq!(index, truth);
    }

    /// Every update was applied once: by the ledger, by the scores, and by what was answered.
    pub(crate) async fn applied_once(&self, updates: &[ScoreUpdate]) {
        let digest = self.embedded.store.digest(&self.board).await.unwrap().unwrap();
        let points: i128 = updates.iter().map(|update| i128::from(update.points)).sum();
        assert_eq!((digest.ledger_actions, digest.ledger_points), (updates.len() as u64, points));
        assert_eq!(digest.score_sum, points);
        let mut by_version = HashMap::new();
        for update in updates {
            let answers = self.answers(update);
            let Outcome::Applied { receipt, replayed: false } = &answers[0].outcome else { panic!("{answers:?}") };
            assert_eq!((receipt.points, &receipt.action_id), (update.points, &update.action_id));
            for again in &answers {
                assert_eq!(again.outcome, answers[0].outcome, "a repeated answer is the same answer");
            }
            assert!(by_version.insert(receipt.version.unwrap(), ()).is_none(), "each has a version of its own");
        }
    }

    pub(crate) fn answers(&self, update: &ScoreUpdate) -> Vec<Answer> {
        self.source.answers.lock().get(&update.submission).cloned().unwrap_or_default()
    }

    /// Every change was announced, or everybody told to look.
    pub(crate) async fn announced(&self, to: usize) {
        eventually(SOON, "every change to be announced", || async { self.bus.tells(&self.board, 0, to as u64) }).await;
    }

    /// The index has caught up after a start.
    pub(crate) async fn ready(&self) {
        eventually(Duration::from_secs(5), "the index to be filled", || async {
            matches!(self.ranks.now().state(&self.board).await.unwrap(), IndexState::At(_))
        })
        .await;
    }
}
