//! What a reader sees of a board.

use std::sync::Arc;

use common::ids::BoardId;
use common::score_update::TraceContext;
use common::standing::TopList;
use common::state::StatePoint;
use common::top_window::TopWindow;

/// The visible top of a board at a state. Immutable: a newer one replaces it.
#[derive(Clone, PartialEq, Debug)]
pub struct View {
    /// The board.
    pub board: BoardId,
    /// Its best lines.
    pub window: TopWindow,
    /// This node cannot be sure that the view is within a second of the truth.
    pub stale: bool,
    /// The traces of the updates behind the newest change, where an event brought it.
    pub traces: Vec<TraceContext>,
}

impl View {
    /// Which state it shows.
    #[must_use]
    pub const fn state(&self) -> &StatePoint {
        self.window.state()
    }

    /// The best `limit` lines, at most 100.
    #[must_use]
    pub fn top(&self, limit: usize) -> TopList {
        self.window.top(limit)
    }
}

/// What is known of a board.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// Its view.
    Known(Arc<View>),
    /// It may exist; the truth has not been heard of it yet.
    Loading,
    /// There is no such board.
    Unknown,
}
