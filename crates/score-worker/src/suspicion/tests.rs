//! Boards in virtual time: the real windows and the real decision, without a database.

use std::sync::Arc;

use common::decision::{BoardFacts, Facts, decide};
use common::receipt::Outcome;
use common::state::Version;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use testkit::fixtures::{WIDE, epoch, noon, rules, seeded_user, update};

use super::*;

/// A board with a worker's windows, second by second.
struct Simulated {
    suspicion: Suspicion,
    board: BoardId,
    version: Version,
    actions: u64,
}

impl Simulated {
    fn new() -> Self {
        Self {
            suspicion: Suspicion::new(SuspicionSettings::default()),
            board: BoardId::global(),
            version: Version::ZERO,
            actions: 0,
        }
    }

    /// An action of a player that is new.
    fn action(&mut self, player: usize, points: i64) -> ScoreUpdate {
        self.actions += 1;
        update(seeded_user(player), &format!("a{}", self.actions)).action_type(WIDE).points(points).build()
    }

    /// Decides and takes note, as the committer does with a ledger.
    fn commit(&mut self, updates: &[ScoreUpdate], now: Timestamp) -> Vec<Outcome> {
        let watch = self.suspicion.watch(updates, now);
        let rules = rules().into_iter().map(|rule| (rule.action_type.clone(), rule)).collect();
        let facts = Facts {
            boards: [(self.board.clone(), BoardFacts { epoch: epoch("e1"), version: self.version, rules })].into(),
            usernames: updates.iter().map(|update| (update.user, Arc::from("somebody"))).collect(),
            ..Facts::default()
        };
        let plan = decide(updates, facts, &watch, now);
        self.version = plan.changes.last().map_or(self.version, |change| change.to);
        let applied = AppliedBatch { outcomes: plan.outcomes, changes: plan.changes };
        self.suspicion.committed(updates, &applied);
        applied.outcomes
    }

    fn gained(&self, player: usize) -> i64 {
        let windows = self.suspicion.windows.lock();
        windows.boards.get(&self.board).and_then(|w| w.totals.get(&seeded_user(player))).copied().unwrap_or(0)
    }
}

fn is_held(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Quarantined { .. })
}

/// A normal deviate (Box and Muller).
fn normal(rng: &mut StdRng) -> f64 {
    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn log_normal(rng: &mut StdRng, median: f64, sigma: f64) -> f64 {
    median * (sigma * normal(rng)).exp()
}

/// Players who differ by skill and by pace: ten actions a minute is what the user limit lets through.
struct Crowd {
    rng: StdRng,
    skill: Vec<f64>,
    pause_s: Vec<f64>,
    next_s: Vec<f64>,
}

impl Crowd {
    fn new(seed: u64, players: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let skill = (0..players).map(|_| log_normal(&mut rng, 30.0, 0.5)).collect();
        let pause_s: Vec<f64> = (0..players).map(|_| log_normal(&mut rng, 15.0, 0.4).max(6.0)).collect();
        let next_s = pause_s.iter().map(|pause| rng.random::<f64>() * pause).collect();
        Self { rng, skill, pause_s, next_s }
    }

    /// Who acts until the end of a second, with what.
    #[allow(clippy::cast_possible_truncation)]
    fn act(&mut self, second: f64) -> Vec<(usize, i64)> {
        let mut acts = Vec::new();
        for player in 0..self.skill.len() {
            while self.next_s[player] < second {
                let points = log_normal(&mut self.rng, self.skill[player], 0.5).round().max(1.0);
                acts.push((player, points as i64));
                self.next_s[player] += (log_normal(&mut self.rng, self.pause_s[player], 0.3)).max(6.0);
            }
        }
        acts
    }
}

const PLAYERS: usize = 1_000;
const WARM_UP_S: i64 = 72;
const LENGTH_S: i64 = 192;

/// What a run came to.
#[derive(Default, Debug)]
struct Run {
    ordinary: u64,
    ordinary_held: u64,
    /// Seconds from the bot's first action to its first held one.
    caught_after_s: Option<i64>,
    bot_applied: i64,
    bot_points: i64,
}

fn run(seed: u64) -> Run {
    let (mut crowd, mut board, mut run) = (Crowd::new(seed, PLAYERS), Simulated::new(), Run::default());
    for second in 1..=LENGTH_S {
        let now = noon().plus_millis(second * 1000);
        let mut acts = crowd.act(second as f64);
        if second == WARM_UP_S {
            let mut gains: Vec<i64> = (0..PLAYERS).map(|player| board.gained(player)).collect();
            gains.sort_unstable();
            // Ten times the 99th percentile of a minute, in ten actions a minute.
            run.bot_points = gains[PLAYERS * 99 / 100];
        }
        if second > WARM_UP_S && second % 6 == 0 {
            acts.push((PLAYERS, run.bot_points));
        }
        let updates: Vec<_> = acts.iter().map(|(player, points)| board.action(*player, *points)).collect();
        let outcomes = board.commit(&updates, now);
        for ((player, points), outcome) in acts.into_iter().zip(&outcomes) {
            if player < PLAYERS {
                run.ordinary += 1;
                run.ordinary_held += u64::from(is_held(outcome));
            } else if is_held(outcome) {
                run.caught_after_s.get_or_insert(second - WARM_UP_S);
            } else {
                run.bot_applied += points;
            }
        }
    }
    run
}

/// 20 seeded runs with 1,000 players each: one bot at ten times the 99th percentile is held within a minute in every
/// run, and of the ordinary actions fewer than 1 in 10,000 are.
#[test]
fn a_bot_is_held_within_a_minute_and_ordinary_players_are_not() {
    let runs: Vec<Run> = std::thread::scope(|scope| {
        let halves = [0..10_u64, 10..20].map(|seeds| scope.spawn(|| seeds.map(run).collect::<Vec<_>>()));
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    for run in &runs {
        assert!(run.caught_after_s.is_some_and(|after| after <= 60), "{run:?}");
        let asked = run.bot_points * (LENGTH_S - WARM_UP_S) / 6;
        assert!(run.bot_applied < asked, "what is let through stays below the bound: {run:?}");
    }
    let (all, held) = runs.iter().fold((0, 0), |(all, held), run| (all + run.ordinary, held + run.ordinary_held));
    let slowest = runs.iter().filter_map(|run| run.caught_after_s).max();
    println!("{held} of {all} ordinary actions were held; the slowest bot was caught after {slowest:?} s");
    assert!(held * 10_000 < all, "{held} of {all} ordinary actions were held");
}

/// However far one of them is ahead.
#[test]
fn boards_under_fifty_players_hold_nothing() {
    for players in [1, 2, 10, 49] {
        let (mut crowd, mut board) = (Crowd::new(7, players), Simulated::new());
        for second in 1..=180 {
            let mut acts = crowd.act(f64::from(second));
            if second % 6 == 0 {
                acts.push((0, 9_000_000));
            }
            let updates: Vec<_> = acts.iter().map(|(player, points)| board.action(*player, *points)).collect();
            let outcomes = board.commit(&updates, noon().plus_millis(i64::from(second) * 1000));
            assert!(!outcomes.iter().any(is_held), "{players} players");
        }
    }
}

/// Where all gain the same there is no spread to measure by: a few times as much is no suspicion, hundreds of times is.
#[test]
fn equal_gains_have_a_smallest_spread() {
    let settings = SuspicionSettings::default();
    let limit = bound_of(std::iter::repeat_n(10, 60), &settings).unwrap();
    assert_eq!(limit, 148, "10 · e^(4.5 · 0.6)");
    assert_eq!(bound_of(std::iter::repeat_n(10, 49), &settings), None);
    assert_eq!(bound_of(std::iter::empty(), &SuspicionSettings { min_players: 0, ..settings }), None);
    let widest = bound_of([1, i64::MAX].into_iter().cycle().take(60), &SuspicionSettings::default());
    assert_eq!(widest, Some(i64::MAX), "a bound that cannot be passed");
}

/// A window forgets, and what the ledger tells replaces what was counted before without counting anything twice.
#[test]
fn a_window_slides_and_is_refilled_from_the_ledger() {
    let (mut board, at) = (Simulated::new(), |s: i64| noon().plus_millis(s * 1000));
    for (second, player, points) in [(0, 0, 5), (30, 0, 7), (30, 1, 11), (58, 0, 100)] {
        let update = board.action(player, points);
        board.commit(&[update], at(second));
    }
    assert_eq!((board.gained(0), board.gained(1)), (112, 11));
    let gain =
        |slot, player, points| Gain { board: board.board.clone(), user: seeded_user(player), slot: at(slot), points };
    // Another worker's gains are in the ledger too; the last own one came after it was read.
    board.suspicion.read(vec![gain(0, 0, 5), gain(30, 0, 7), gain(30, 1, 11), gain(35, 1, 1000)], at(50));
    assert_eq!((board.gained(0), board.gained(1)), (112, 1011));
    let late = board.action(2, 1);
    board.commit(std::slice::from_ref(&late), at(66));
    assert_eq!(board.gained(0), 107, "the first slot is out of the window");
}
