//! What players hear of themselves: `score:me` on their own change. Costs nothing for players without a socket here.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use board_view::BoardViews;
use common::ids::{BoardId, UserId};
use common::ports::{Event, EventBus, RankIndex, Signal};
use common::standing::BoardChange;
use common::state::{Epoch, StatePoint};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

/// Questions to the rank index that are under way at the same time.
const QUESTIONS_AT_ONCE: usize = 8;

/// How long the index may take to answer.
const ANSWER_BOUND: Duration = Duration::from_millis(500);

/// How often it is looked whether the views know of changes that no event told.
const LOOK: Duration = Duration::from_millis(500);

/// A player's newest change on a board, as far as this node heard.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct OwnChange {
    /// The history that the version is of; `None` before anything was heard.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) version: u64,
    pub(crate) score: i64,
    pub(crate) rank: Option<u64>,
    pub(crate) previous_rank: Option<u64>,
}

/// A player's changes on a board, for all of its sockets on this node.
pub(crate) struct OwnFeed {
    board: BoardId,
    user: UserId,
    /// Where the board stood when the first socket came, or when its history began for this node: what was before is
    /// no news.
    joined: Mutex<Option<StatePoint>>,
    newest: watch::Sender<OwnChange>,
    /// A question about the player waits: another would ask the same.
    asked: AtomicBool,
    listening: Arc<AtomicUsize>,
}

impl OwnFeed {
    pub(crate) fn subscribe(&self) -> watch::Receiver<OwnChange> {
        self.newest.subscribe()
    }

    /// The player stands here, in the history of `since`. Where that is another one than before, what came up to
    /// `since` is no news; versions of different histories do not compare.
    fn stands(&self, since: &StatePoint, version: u64, score: i64, rank: u64) {
        let joined = {
            let mut joined = self.joined.lock();
            match &*joined {
                Some(joined) if joined.epoch == since.epoch => joined.version.0,
                _ => joined.insert(since.clone()).version.0,
            }
        };
        self.newest.send_if_modified(|newest| {
            let same = newest.epoch.as_ref() == Some(&since.epoch);
            if same && version <= newest.version {
                return false;
            }
            let previous_rank = newest.rank.filter(|_| same);
            *newest = OwnChange { epoch: Some(since.epoch.clone()), version, score, rank: Some(rank), previous_rank };
            version > joined
        });
    }
}

impl Drop for OwnFeed {
    fn drop(&mut self) {
        self.listening.fetch_sub(1, Ordering::Relaxed);
    }
}

type Feeds = HashMap<BoardId, Listened>;

#[derive(Default)]
struct Listened {
    players: HashMap<UserId, Weak<OwnFeed>>,
    /// Up to where events of the board were heard.
    heard: Option<StatePoint>,
}

/// Not at every call: it looks at all of them.
fn forget_those_who_left(feeds: &mut Feeds, listening: usize) {
    let known: usize = feeds.values().map(|listened| listened.players.len()).sum();
    if known > 2 * listening + 16 {
        feeds.retain(|_, listened| {
            listened.players.retain(|_, feed| feed.strong_count() > 0);
            !listened.players.is_empty()
        });
    }
}

/// The feeds of a node.
pub(crate) struct OwnChanges {
    views: Arc<BoardViews>,
    events: Arc<dyn EventBus>,
    ranks: Arc<dyn RankIndex>,
    listening: Arc<AtomicUsize>,
    feeds: Mutex<Feeds>,
    /// Players of whom the rank index is asked.
    questions: Mutex<VecDeque<Arc<OwnFeed>>>,
    has_questions: Notify,
}

impl OwnChanges {
    pub(crate) fn new(views: Arc<BoardViews>, events: Arc<dyn EventBus>, ranks: Arc<dyn RankIndex>) -> Self {
        Self {
            views,
            events,
            ranks,
            listening: Arc::default(),
            feeds: Mutex::default(),
            questions: Mutex::default(),
            has_questions: Notify::new(),
        }
    }

    /// A player's feed on a board; it learns where the player stands now, so that the next change has a rank before it.
    pub(crate) fn join(&self, board: &BoardId, user: UserId) -> Arc<OwnFeed> {
        let feed = {
            let mut feeds = self.feeds.lock();
            forget_those_who_left(&mut feeds, self.listening.load(Ordering::Relaxed));
            let shown = self.views.view(board).map(|view| view.state().clone());
            let listened = feeds.entry(board.clone()).or_default();
            if listened.heard.is_none() {
                listened.heard.clone_from(&shown);
            }
            if let Some(feed) = listened.players.get(&user).and_then(Weak::upgrade) {
                return feed;
            }
            self.listening.fetch_add(1, Ordering::Relaxed);
            let feed = Arc::new(OwnFeed {
                board: board.clone(),
                user,
                joined: Mutex::new(shown),
                newest: watch::Sender::default(),
                asked: AtomicBool::new(false),
                listening: Arc::clone(&self.listening),
            });
            listened.players.insert(user, Arc::downgrade(&feed));
            feed
        };
        self.ask(Arc::clone(&feed));
        feed
    }

    fn ask(&self, feed: Arc<OwnFeed>) {
        if feed.asked.swap(true, Ordering::AcqRel) {
            return;
        }
        self.questions.lock().push_back(feed);
        self.has_questions.notify_one();
    }

    /// Follows events. Never ends.
    pub(crate) async fn run(&self) {
        let mut signals = self.events.subscribe();
        let mut open = true;
        let mut look = tokio::time::interval(LOOK);
        let mut answers: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        loop {
            tokio::select! {
                signal = signals.next(), if open => match signal {
                    Some(Signal::Event(Event::BoardChanged { change, ranks, .. })) => self.changed(&change, &ranks),
                    Some(Signal::Event(Event::SessionRevoked(_))) => {}
                    Some(Signal::Gap) => self.ask_all(None),
                    // The process is on its way out; the looks carry on alone.
                    None => open = false,
                },
                Some(()) = answers.next() => {}
                () = self.has_questions.notified() => {}
                _ = look.tick() => self.look(),
            }
            while answers.len() < QUESTIONS_AT_ONCE
                && let Some(question) = self.questions.lock().pop_front()
            {
                answers.push(Box::pin(self.answer(question)));
            }
        }
    }

    fn changed(&self, change: &BoardChange, ranks: &[Option<u64>]) {
        if self.listening.load(Ordering::Relaxed) == 0 {
            return;
        }
        let before = StatePoint { epoch: change.epoch.clone(), version: change.from };
        let mut missed = false;
        let mut unranked = Vec::new();
        if let Some(listened) = self.feeds.lock().get_mut(&change.board) {
            if let Some(heard) = &listened.heard {
                missed = heard.epoch == change.epoch && heard.version < change.from;
            }
            if listened.heard.as_ref().is_none_or(|heard| heard.epoch != change.epoch || heard.version < change.to) {
                listened.heard = Some(change.state());
            }
            for (index, row) in change.rows.iter().enumerate() {
                let Some(feed) = listened.players.get(&row.user).and_then(Weak::upgrade) else { continue };
                let Some(score) = row.score else { continue };
                match ranks.get(index).copied().flatten() {
                    Some(rank) => feed.stands(&before, row.version.0, score, rank),
                    None => unranked.push(feed),
                }
            }
        }
        unranked.into_iter().for_each(|feed| self.ask(feed));
        if missed {
            self.ask_all(Some(&change.board));
        }
    }

    /// A change may have been missed: asks where everybody who listens stands.
    fn ask_all(&self, board: Option<&BoardId>) {
        let mut missed: Vec<Arc<OwnFeed>> = Vec::new();
        for (of, listened) in self.feeds.lock().iter() {
            if board.is_none_or(|board| board == of) {
                missed.extend(listened.players.values().filter_map(Weak::upgrade));
            }
        }
        missed.into_iter().for_each(|feed| self.ask(feed));
    }

    /// Whether views know of changes that no event told.
    fn look(&self) {
        if self.listening.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut behind = Vec::new();
        for (board, listened) in self.feeds.lock().iter_mut() {
            let Some(view) = self.views.view(board) else { continue };
            let shown = view.state();
            let heard = listened.heard.get_or_insert_with(|| shown.clone());
            if heard.epoch != shown.epoch || heard.version < shown.version {
                *heard = shown.clone();
                behind.push(board.clone());
            }
        }
        behind.iter().for_each(|board| self.ask_all(Some(board)));
    }

    async fn answer(&self, feed: Arc<OwnFeed>) {
        // Whatever happens from here on needs another answer.
        feed.asked.store(false, Ordering::Release);
        // Unclaimed meanwhile: nobody wants to know.
        if Arc::strong_count(&feed) == 1 {
            return;
        }
        let asked = self.ranks.neighborhood(&feed.board, feed.user, 0);
        let placed = match tokio::time::timeout(ANSWER_BOUND, asked).await {
            Ok(Ok(Some((state, Some(around))))) => {
                around.lines.get(around.own).map(|own| (state, own.version, own.score, own.rank))
            }
            Ok(Ok(_)) | Err(_) => None,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a player's position is not known to the rank index now");
                None
            }
        };
        // The window knows the best of the board also where the index cannot say.
        let shown = || {
            let view = self.views.view(&feed.board)?;
            let entry = view.window.entry_of(feed.user)?;
            Some((view.state().clone(), entry.version, entry.score, entry.rank))
        };
        if let Some((state, version, score, rank)) = placed.or_else(shown) {
            feed.stands(&state, version.0, score, rank);
        }
    }
}

#[cfg(test)]
mod tests {
    use common::state::Version;
    use testkit::fixtures::{board_id, epoch};

    use super::*;

    fn point(name: &str, version: u64) -> StatePoint {
        StatePoint { epoch: epoch(name), version: Version(version) }
    }

    #[test]
    fn a_change_in_another_history_is_news_though_its_version_is_lower() {
        let feed = OwnFeed {
            board: board_id(),
            user: UserId(uuid::Uuid::nil()),
            joined: Mutex::new(Some(point("e1", 90))),
            newest: watch::Sender::default(),
            asked: AtomicBool::new(false),
            listening: Arc::new(AtomicUsize::new(1)),
        };
        let mut news = feed.subscribe();
        let mut told = || {
            let changed = news.has_changed().unwrap();
            news.mark_unchanged();
            changed
        };
        feed.stands(&point("e1", 80), 80, 5, 9);
        assert!(!told(), "it was so before anybody came");
        feed.stands(&point("e1", 94), 95, 6, 8);
        assert!(told());
        feed.stands(&point("e2", 7), 7, 3, 4);
        assert!(!told(), "where the other history begins");
        feed.stands(&point("e2", 8), 9, 4, 3);
        assert!(told());
        let newest = feed.newest.borrow().clone();
        assert_eq!((newest.version, newest.rank, newest.previous_rank), (9, Some(3), Some(4)));
        feed.stands(&point("e3", 1), 2, 1, 1);
        assert!(told(), "its first event says so");
        assert_eq!(feed.newest.borrow().previous_rank, None, "of this history nothing is known");
    }
}
