//! Rows on their way into the scripts of the rank index, and lines on their way back.

use common::board::SCORE_LIMIT;
use common::clock::Timestamp;
use common::ids::UserId;
use common::standing::{Placement, ScoreRow};
use common::state::{StatePoint, Version};
use deadpool_redis::redis::ScriptInvocation;

/// The largest version that a Lua number holds exactly.
const MAX_VERSION: u64 = (1 << 53) - 1;

/// Lua numbers and scores of sorted sets are doubles: beyond 2^53 - 1 they would be silently rounded.
#[derive(Debug, thiserror::Error)]
#[error("{what} {value} is beyond what a double holds exactly")]
pub(super) struct Unholdable {
    what: &'static str,
    value: i128,
}

/// Whether a version can be held exactly.
pub(super) fn check_version(version: Version) -> Result<(), Unholdable> {
    if version.0 <= MAX_VERSION {
        return Ok(());
    }
    Err(Unholdable { what: "version", value: version.0.into() })
}

/// Adds rows in fours: user, version, score (empty for a tombstone), updated_at.
pub(super) fn add_rows(call: &mut ScriptInvocation<'_>, rows: &[ScoreRow]) -> Result<(), Unholdable> {
    for row in rows {
        check_version(row.version)?;
        call.arg(row.user.to_string()).arg(row.version.0);
        match row.score {
            Some(score) if score.unsigned_abs() > SCORE_LIMIT.unsigned_abs() => {
                return Err(Unholdable { what: "score", value: score.into() });
            }
            Some(score) => call.arg(score),
            None => call.arg(""),
        };
        call.arg(row.updated_at.as_millis());
    }
    Ok(())
}

/// Reads `epoch.version`.
pub(super) fn read_state(text: &str) -> Option<StatePoint> {
    StatePoint::parse(text)
}

/// Reads users and lines, the first of them ranked `first_rank`. `None`: not what `rows.lua` writes.
pub(super) fn read_placements(lines: &[String], first_rank: u64) -> Option<Vec<Placement>> {
    let (pairs, rest) = lines.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    (first_rank..).zip(pairs).map(|(rank, [user, line])| read_placement(user, line, rank)).collect()
}

fn read_placement(user: &str, line: &str, rank: u64) -> Option<Placement> {
    let mut parts = line.splitn(3, ':');
    Some(Placement {
        user: UserId::parse(user)?,
        version: Version(parts.next()?.parse().ok()?),
        score: parts.next()?.parse().ok()?,
        updated_at: Timestamp::from_millis(parts.next()?.parse().ok()?),
        rank,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_with_a_score_are_placements() {
        let user = "0190a5c8-7d1e-7c3a-9c1d-0123456789ab".to_owned();
        let read = |line: &str| read_placements(&[user.clone(), line.to_owned()], 7);
        let [placement] = read("12:-5:1700").unwrap()[..] else { panic!("one line") };
        assert_eq!((placement.version, placement.score, placement.rank), (Version(12), -5, 7));
        assert_eq!(placement.updated_at, Timestamp::from_millis(1700));
        for bad in ["", "12", "12:5", "12::1700", "x:5:1700", "12:5:", "12:5:1:2"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(read_placements(std::slice::from_ref(&user), 1), None);
    }
}
