//! `(epoch, version)`: the name of a state of a board, for ever.

use std::fmt;
use std::sync::Arc;

use crate::ids::BoardId;

/// A board's version: gap-free, in commit order; 0 is the board without any change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

impl Version {
    /// The board before its first change.
    pub const ZERO: Self = Self(0);

    /// The following version.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// Changes when a board's history may not be continuous (a restored backup, say). Opaque, without a dot.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Epoch(Arc<str>);

impl Epoch {
    /// Takes a text as an epoch; `None` when it is empty, longer than 64, has a dot or anything but visible ASCII.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let valid = !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|b| b.is_ascii_graphic() && b != b'.' && b != b'"');
        valid.then(|| Self(Arc::from(text)))
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A state of a board. Written `epoch.version` in `ETag`, `since` and SSE ids.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StatePoint {
    /// Which history.
    pub epoch: Epoch,
    /// Where in it.
    pub version: Version,
}

impl StatePoint {
    /// Reads `epoch.version`; `None` when malformed, which counts as not given.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, version) = text.split_once('.')?;
        if version.is_empty() || !version.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Self { epoch: Epoch::parse(epoch)?, version: Version(version.parse().ok()?) })
    }
}

impl fmt::Display for StatePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.version)
    }
}

impl fmt::Debug for StatePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a board stands in the truth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BoardHead {
    /// The board.
    pub board: BoardId,
    /// Its newest committed state.
    pub state: StatePoint,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_point_reads_what_it_writes() {
        let point = StatePoint { epoch: Epoch::parse("e1").unwrap(), version: Version(42) };
        assert_eq!(StatePoint::parse(&point.to_string()), Some(point));
        for bad in ["", "e1", "e1.", ".4", "e1.x", "e1.-1", "a.b.4", "e1.99999999999999999999"] {
            assert_eq!(StatePoint::parse(bad), None, "{bad}");
        }
    }
}
