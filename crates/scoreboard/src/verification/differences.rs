//! What a comparison finds: where, what should be there, and what is.

use std::fmt;

use serde::Serialize;

/// The most differences that are told of one board.
const MAX_TOLD: usize = 20;

/// Something that is not what the truth says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// `ledger`, `scores`, `database`, `ranks`, `details`, or a node with what it was asked for.
    pub(crate) part: String,
    /// Which of its rows or figures.
    pub(crate) row: String,
    /// What the truth says.
    pub(crate) expected: String,
    /// What the part says.
    pub(crate) seen: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, row, expected, seen } = self;
        write!(f, "{part}, {row}: expected {expected}, seen {seen}")
    }
}

/// The differences of a board, as far as they are told.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    told: Vec<Difference>,
    more: u64,
}

impl Differences {
    pub(crate) fn add(
        &mut self,
        part: &str,
        row: impl fmt::Display,
        expected: impl fmt::Display,
        seen: impl fmt::Display,
    ) {
        if self.is_full() {
            self.more += 1;
            return;
        }
        self.told.push(Difference {
            part: part.to_owned(),
            row: row.to_string(),
            expected: expected.to_string(),
            seen: seen.to_string(),
        });
    }

    /// Adds where both are not the same.
    pub(crate) fn compare<T: PartialEq + fmt::Display>(&mut self, part: &str, row: &str, expected: T, seen: T) {
        if expected != seen {
            self.add(part, row, expected, seen);
        }
    }

    /// Whether there is no use in looking on.
    pub(crate) fn is_full(&self) -> bool {
        self.told.len() >= MAX_TOLD
    }

    /// Those that are told, and how many more were met.
    pub(crate) fn into_told(self) -> (Vec<Difference>, u64) {
        (self.told, self.more)
    }
}
