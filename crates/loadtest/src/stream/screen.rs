//! What a socket shows, and how a delta changes it.

use std::rc::Rc;

use uuid::Uuid;

/// A line: who, and with how many points. Its position is its rank.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub(crate) user: Uuid,
    pub(crate) score: i64,
}

/// What is shown at one version. Shared by all sockets that show it, so that thousands of them cost one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Screen {
    pub(crate) epoch: Rc<str>,
    pub(crate) version: u64,
    pub(crate) rows: Vec<Row>,
}

/// One step of a delta; positions are counted from 0, in the list as the steps before it left it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// Takes the line at a position away.
    Remove(usize),
    /// Puts a line at a position.
    Insert(usize, Row),
    /// The line at a position has another score.
    Set(usize, i64),
    /// Takes the line at the first position out and puts it, with another score, at the second.
    Move(usize, usize, i64),
}

/// A delta does not fit where it was applied.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Misfit {
    #[error("position {at} in a list of {length}")]
    Position { at: usize, length: usize },
    #[error("the rows have the checksum {found:08x}, the delta says {expected:08x}")]
    Checksum { expected: u32, found: u32 },
}

/// Applies the steps in their order.
///
/// # Errors
/// [`Misfit::Position`]
pub(crate) fn apply(rows: &mut Vec<Row>, ops: &[Op]) -> Result<(), Misfit> {
    for op in ops {
        let length = rows.len();
        let within = |at: usize, bound: usize| if at < bound { Ok(at) } else { Err(Misfit::Position { at, length }) };
        match *op {
            Op::Remove(at) => {
                rows.remove(within(at, length)?);
            }
            Op::Insert(at, row) => rows.insert(within(at, length + 1)?, row),
            Op::Set(at, score) => rows[within(at, length)?].score = score,
            Op::Move(from, to, score) => {
                let row = rows.remove(within(from, length)?);
                rows.insert(within(to, length)?, Row { score, ..row });
            }
        }
    }
    Ok(())
}

/// CRC-32 of `userId:score` lines joined by `\n`.
pub(crate) fn checksum(rows: &[Row]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for (at, row) in rows.iter().enumerate() {
        let between = if at == 0 { "" } else { "\n" };
        hasher.update(format!("{between}{}:{}", row.user, row.score).as_bytes());
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(user: u128, score: i64) -> Row {
        Row { user: Uuid::from_u128(user), score }
    }

    #[test]
    fn steps_apply_in_order_by_position() {
        let mut rows = vec![row(1, 30), row(2, 20), row(3, 10)];
        let ops = [Op::Remove(2), Op::Insert(0, row(4, 40)), Op::Set(1, 31), Op::Move(2, 0, 50)];
        apply(&mut rows, &ops).unwrap();
        assert_eq!(rows, [row(2, 50), row(4, 40), row(1, 31)]);
    }

    #[test]
    fn a_line_can_move_to_either_end() {
        let mut rows = vec![row(1, 30), row(2, 20), row(3, 10)];
        apply(&mut rows, &[Op::Move(0, 2, 5)]).unwrap();
        assert_eq!(rows, [row(2, 20), row(3, 10), row(1, 5)]);
    }

    #[test]
    fn positions_outside_of_the_list_do_not_fit() {
        for op in [Op::Remove(1), Op::Set(1, 1), Op::Insert(2, row(2, 2)), Op::Move(0, 1, 1), Op::Move(1, 0, 1)] {
            let misfit = apply(&mut vec![row(1, 1)], std::slice::from_ref(&op));
            assert!(matches!(misfit, Err(Misfit::Position { length: 1, .. })), "{op:?}");
        }
    }

    #[test]
    fn the_checksum_is_crc_32_of_the_lines() {
        // Python: zlib.crc32(b"00000000-0000-0000-0000-000000000001:30\n00000000-0000-0000-0000-000000000002:-2")
        assert_eq!(checksum(&[row(1, 30), row(2, -2)]), 0xdf60_9da5);
        assert_eq!(checksum(&[]), 0);
    }
}
