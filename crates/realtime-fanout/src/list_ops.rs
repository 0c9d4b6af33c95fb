//! From one visible list to another, as steps on positions: what `scoreboard.v1.delta` sends.

use std::collections::HashMap;
use std::fmt::Write as _;

use common::ids::UserId;
use common::standing::{Entry, TopList};
use wire::frames::{Equals, Minus, Moved, OpJson, Plus};

/// Every so many versions a delta carries a checksum of the list that it leads to.
const CHECK_EVERY: u64 = 50;

/// A line of the list while it is worked on.
#[derive(Clone, Copy)]
struct Place {
    user: UserId,
    /// It is to change, and still stands where it stood before.
    pending: bool,
}

/// The steps that make `after` of `before`, one for each line that left, came or changed. Lines that did not change
/// keep their order among each other (the order of a board is strict), so they are never named.
pub(crate) fn list_ops(before: &TopList, after: &TopList) -> Vec<OpJson> {
    let now: HashMap<UserId, &Entry> = after.entries.iter().map(|entry| (entry.user, entry)).collect();
    let mut ops = Vec::new();
    let mut list: Vec<Place> = Vec::with_capacity(before.entries.len());
    for entry in &before.entries {
        let changed = now.get(&entry.user).map(|now| now.version != entry.version || now.score != entry.score);
        match changed {
            Some(pending) => list.push(Place { user: entry.user, pending }),
            // The position after all earlier removals.
            None => ops.push(OpJson::Remove(Minus, list.len())),
        }
    }
    // Up to here the list is as it shall be, but for lines that are pending.
    let mut done = 0;
    for entry in &after.entries {
        let place = Place { user: entry.user, pending: false };
        match list.iter().position(|place| place.user == entry.user) {
            None => {
                let name = entry.username.to_string();
                let op =
                    OpJson::Insert(Plus, done, entry.user.to_string(), name, entry.score, entry.updated_at.to_string());
                list.insert(done, place);
                ops.push(op);
                done += 1;
            }
            Some(at) if !list[at].pending => done = at + 1,
            // In its place as soon as those between have left.
            Some(at) if at >= done && list[done..at].iter().all(|between| between.pending) => {
                list[at] = place;
                ops.push(OpJson::Change(Equals, at, entry.score, entry.updated_at.to_string()));
                done = at + 1;
            }
            Some(at) => {
                list.remove(at);
                let to = if at < done { done - 1 } else { done };
                list.insert(to, place);
                ops.push(OpJson::Move(Moved, at, to, entry.score, entry.updated_at.to_string()));
                done = to + 1;
            }
        }
    }
    ops
}

/// Whether a delta over these versions carries a checksum: it reaches or crosses a multiple of 50.
pub(crate) const fn is_checked(from: u64, version: u64) -> bool {
    version / CHECK_EVERY > from / CHECK_EVERY
}

/// CRC-32 (IEEE) of the lines `userId:score`, joined by line breaks, in eight hex digits.
pub(crate) fn checksum(list: &TopList) -> String {
    let mut text = String::with_capacity(list.entries.len() * 48);
    for entry in &list.entries {
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{}:{}", entry.user, entry.score);
    }
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use common::clock::Timestamp;
    use common::state::{Epoch, StatePoint, Version};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    /// A board's players with their scores and the versions of those, best first, as many as are visible.
    fn list(players: &[(u128, i64, u64)], limit: usize) -> TopList {
        let mut players = players.to_vec();
        players.sort_by_key(|(_, score, version)| (-score, *version));
        let entries = players.iter().take(limit).zip(1..).map(|((user, score, version), rank)| Entry {
            user: UserId(Uuid::from_u128(*user)),
            username: format!("p{user}").into(),
            score: *score,
            rank,
            updated_at: Timestamp::from_millis(i64::try_from(*version).unwrap()),
            version: Version(*version),
        });
        let version = Version(players.iter().map(|player| player.2).max().unwrap_or(0));
        TopList { state: StatePoint { epoch: Epoch::parse("e").unwrap(), version }, entries: entries.collect() }
    }

    type Line = (String, String, i64, String);

    fn lines(list: &TopList) -> Vec<Line> {
        let line = |e: &Entry| (e.user.to_string(), e.username.to_string(), e.score, e.updated_at.to_string());
        list.entries.iter().map(line).collect()
    }

    /// What a client does.
    fn apply(lines: &mut Vec<Line>, op: &OpJson) {
        match op.clone() {
            OpJson::Remove(_, at) => drop(lines.remove(at)),
            OpJson::Insert(_, at, user, name, score, updated) => lines.insert(at, (user, name, score, updated)),
            OpJson::Change(_, at, score, updated) => (lines[at].2, lines[at].3) = (score, updated),
            OpJson::Move(_, from, to, score, updated) => {
                let (user, name, ..) = lines.remove(from);
                lines.insert(to, (user, name, score, updated));
            }
        }
    }

    fn played(players: &mut Vec<(u128, i64, u64)>, moves: &[(u128, Option<i64>)]) {
        let newest = players.iter().map(|player| player.2).max().unwrap_or(0);
        for ((user, score), version) in moves.iter().zip(newest + 1..) {
            players.retain(|player| player.0 != *user);
            players.extend(score.map(|score| (*user, score, version)));
        }
    }

    proptest! {
        #[test]
        fn the_steps_lead_from_any_list_to_any_later_one(
            start in prop::collection::vec((0..30u128, prop::option::weighted(0.9, 0..20i64)), 0..60),
            then in prop::collection::vec((0..30u128, prop::option::weighted(0.8, 0..20i64)), 0..20),
            limit in 1..12usize,
        ) {
            let mut players = Vec::new();
            played(&mut players, &start);
            let before = list(&players, limit);
            played(&mut players, &then);
            let after = list(&players, limit);
            let mut shown = lines(&before);
            let ops = list_ops(&before, &after);
            ops.iter().for_each(|op| apply(&mut shown, op));
            prop_assert_eq!(&shown, &lines(&after));
            let unchanged = after.entries.iter().filter(|entry| before.entries.iter().any(|b| b.user == entry.user && b.version == entry.version)).count();
            let left = before.entries.iter().filter(|b| after.entries.iter().all(|entry| entry.user != b.user)).count();
            prop_assert_eq!(ops.len(), after.entries.len() - unchanged + left, "one step for each line that is not as before");
        }
    }

    #[test]
    fn the_steps_are_written_as_documented() {
        let mut players = vec![(1, 50, 1), (2, 40, 2), (3, 30, 3), (4, 20, 4)];
        let before = list(&players, 3);
        played(&mut players, &[(3, Some(60)), (2, None), (3, Some(61)), (1, Some(51))]);
        let ops = list_ops(&before, &list(&players, 3));
        let time = |ms| Timestamp::from_millis(ms).to_string();
        let user = Uuid::from_u128(4).to_string();
        assert_eq!(
            serde_json::to_value(ops).unwrap(),
            serde_json::json!([
                ["-", 1],
                ["=", 1, 61, time(7)],
                ["m", 0, 1, 51, time(8)],
                ["+", 2, user, "p4", 20, time(4)]
            ])
        );
    }

    #[test]
    fn checks_come_with_every_fiftieth_version() {
        let checked =
            [(0, 49), (0, 50), (49, 50), (50, 51), (50, 99), (99, 101), (42, 199)].map(|(f, v)| is_checked(f, v));
        assert_eq!(checked, [false, true, true, false, false, true, true]);
    }

    #[test]
    fn the_checksum_is_crc32_of_the_lines() {
        let players = list(&[(1, 50, 1), (2, -40, 2)], 3);
        let text = "00000000-0000-0000-0000-000000000001:50\n00000000-0000-0000-0000-000000000002:-40";
        assert_eq!(checksum(&players), format!("{:08x}", crc32fast::hash(text.as_bytes())));
        // The check value of CRC-32/ISO-HDLC, also called IEEE.
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
        assert_eq!(checksum(&list(&[], 3)), "00000000");
    }
}
