//! What every node hears: boards that moved, sessions that ended.

use std::collections::HashSet;
use std::sync::Arc;

use common::account::Revocation;
use common::ids::{BoardId, SessionId, UserId};
use common::ports::Event;
use common::score_update::TraceContext;
use common::standing::{BoardChange, ScoreRow};
use common::state::Epoch;
use prost::Message as _;

use crate::damaged::{self, DamagedMessage};
use crate::queue_message::{MAX_UPDATES_PER_MESSAGE, read_trace};
use crate::v1;

/// The most rows that one event may carry: a worker's batch can hold several messages.
const MAX_ROWS_PER_EVENT: usize = 10 * MAX_UPDATES_PER_MESSAGE;

/// Longer than any name that can be registered, so that the rule for names can change without a release order.
const MAX_USERNAME_BYTES: usize = 256;

/// Writes a [`v1::Event`].
#[must_use]
pub fn encode_event(event: &Event) -> Vec<u8> {
    v1::Event::from(event).encode_to_vec()
}

/// Reads a [`v1::Event`].
///
/// # Errors
/// [`DamagedMessage`] when it does not decode or breaks what its type promises.
pub fn decode_event(body: &[u8]) -> Result<Event, DamagedMessage> {
    v1::Event::decode(body)?.try_into()
}

impl From<&Event> for v1::Event {
    fn from(event: &Event) -> Self {
        use v1::event::Kind;
        let kind = match event {
            Event::BoardChanged { change, ranks, traces } => {
                Kind::BoardChanged(board_changed_message(change, ranks, traces))
            }
            Event::SessionRevoked(revocation) => Kind::SessionRevoked((*revocation).into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Event> for Event {
    type Error = DamagedMessage;

    fn try_from(event: v1::Event) -> Result<Self, DamagedMessage> {
        use v1::event::Kind;
        match event.kind.ok_or(DamagedMessage::missing("kind"))? {
            Kind::BoardChanged(changed) => read_board_changed(&changed),
            Kind::SessionRevoked(revoked) => Ok(Self::SessionRevoked((&revoked).try_into()?)),
        }
    }
}

impl From<Revocation> for v1::SessionRevoked {
    fn from(revocation: Revocation) -> Self {
        Self { session_id: revocation.session.0.as_bytes().to_vec(), revoked_at_ms: revocation.revoked_at.as_millis() }
    }
}

impl TryFrom<&v1::SessionRevoked> for Revocation {
    type Error = DamagedMessage;

    fn try_from(revoked: &v1::SessionRevoked) -> Result<Self, DamagedMessage> {
        Ok(Self {
            session: SessionId(damaged::uuid("session_id", &revoked.session_id)?),
            revoked_at: damaged::timestamp("revoked_at_ms", revoked.revoked_at_ms)?,
        })
    }
}

fn board_changed_message(change: &BoardChange, ranks: &[Option<u64>], traces: &[TraceContext]) -> v1::BoardChanged {
    let ranked = !ranks.is_empty();
    let rows = change.rows.iter().enumerate().map(|(index, row)| v1::ScoreRow {
        user_id: row.user.0.as_bytes().to_vec(),
        username: row.username.as_ref().to_owned(),
        score: row.score,
        version: row.version.0,
        updated_at_ms: row.updated_at.as_millis(),
        rank: ranks.get(index).copied().flatten(),
    });
    v1::BoardChanged {
        board: change.board.as_str().to_owned(),
        epoch: change.epoch.as_str().to_owned(),
        from_version: change.from.0,
        to_version: change.to.0,
        rows: rows.collect(),
        traces: traces.iter().map(Into::into).collect(),
        ranked,
    }
}

fn read_board_changed(changed: &v1::BoardChanged) -> Result<Event, DamagedMessage> {
    for (field, count) in [("rows", changed.rows.len()), ("traces", changed.traces.len())] {
        if count > MAX_ROWS_PER_EVENT {
            return Err(DamagedMessage::new(field, format!("must be at most {MAX_ROWS_PER_EVENT}, not {count}")));
        }
    }
    let change = BoardChange {
        board: BoardId::parse(&changed.board)?,
        epoch: Epoch::parse(&changed.epoch)
            .ok_or(DamagedMessage::new("epoch", "must be 1 to 64 visible ASCII characters without a dot"))?,
        from: damaged::version("from_version", changed.from_version)?,
        to: damaged::version("to_version", changed.to_version)?,
        rows: changed.rows.iter().map(read_row).collect::<Result<_, _>>()?,
    };
    check_range(&change)?;
    let ranks = if changed.ranked {
        changed.rows.iter().map(|row| damaged::rank(row.rank)).collect::<Result<_, _>>()?
    } else {
        Vec::new()
    };
    let traces = changed.traces.iter().map(|trace| read_trace(Some(trace))).collect();
    Ok(Event::BoardChanged { change: Arc::new(change), ranks, traces })
}

fn read_row(row: &v1::ScoreRow) -> Result<ScoreRow, DamagedMessage> {
    if row.username.len() > MAX_USERNAME_BYTES {
        return Err(DamagedMessage::new("username", format!("must be at most {MAX_USERNAME_BYTES} bytes")));
    }
    Ok(ScoreRow {
        user: UserId(damaged::uuid("user_id", &row.user_id)?),
        username: Arc::from(row.username.as_str()),
        score: row.score.map(|score| damaged::score("score", score)).transpose()?,
        version: damaged::version("version", row.version)?,
        updated_at: damaged::timestamp("updated_at_ms", row.updated_at_ms)?,
    })
}

/// What [`BoardChange`] promises of its rows; projections rely on it.
fn check_range(change: &BoardChange) -> Result<(), DamagedMessage> {
    if change.from > change.to {
        return Err(DamagedMessage::new("from_version", "must not be above to_version"));
    }
    let mut last = change.from;
    let mut users = HashSet::with_capacity(change.rows.len());
    for row in &change.rows {
        if row.version <= last || row.version > change.to {
            return Err(DamagedMessage::new("rows", "must be in version order, each within the range"));
        }
        if !users.insert(row.user) {
            return Err(DamagedMessage::new("rows", "must hold each user once"));
        }
        last = row.version;
    }
    Ok(())
}
