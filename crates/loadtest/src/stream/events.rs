//! Events, parsed strictly: whatever the contract does not allow is told.

use std::rc::Rc;

use serde_json::Value;
use uuid::Uuid;

use super::screen::{Op, Row, Screen};

/// An event of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The whole list, as a snapshot or with an update.
    State {
        /// The list.
        screen: Rc<Screen>,
        /// Whether it came as `scoreboard:snapshot`.
        snapshot: bool,
    },
    /// What changed since `from`.
    Delta {
        /// Where it applies.
        from: u64,
        /// Where it leads.
        version: u64,
        /// How.
        ops: Vec<Op>,
        /// CRC-32 of the rows that it leads to.
        check: Option<u32>,
    },
    /// Nothing changed that is shown.
    Heartbeat {
        /// The board's epoch.
        epoch: Rc<str>,
        /// Where the board stands.
        version: u64,
    },
    /// The server cannot be sure to be up to date.
    Stale,
    /// An event that is none of the above: not ours to judge.
    Other,
}

/// Parses a text message.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn parse(text: &[u8]) -> Result<Event, String> {
    let frame: Value = serde_json::from_slice(text).map_err(|error| format!("not JSON: {error}"))?;
    let data = &frame["data"];
    match frame["event"].as_str().ok_or("no event")? {
        "scoreboard:snapshot" => state(data, true),
        "score:update" => state(data, false),
        "delta" => delta(data),
        "heartbeat" => {
            Ok(Event::Heartbeat { epoch: text_of(data, "epoch")?.into(), version: number(data, "version")? })
        }
        "scoreboard:stale" => Ok(Event::Stale),
        "server:bye" => number(data, "reconnectInMs").map(|_| Event::Other),
        _ => Ok(Event::Other),
    }
}

fn text_of<'a>(data: &'a Value, field: &str) -> Result<&'a str, String> {
    data[field].as_str().ok_or_else(|| format!("no {field}"))
}

fn number(data: &Value, field: &str) -> Result<u64, String> {
    data[field].as_u64().ok_or_else(|| format!("no {field}"))
}

fn state(data: &Value, snapshot: bool) -> Result<Event, String> {
    let lines = data["leaderboard"].as_array().ok_or("no leaderboard")?;
    let rows = rows(lines)?;
    let screen = Screen { epoch: text_of(data, "epoch")?.into(), version: number(data, "version")?, rows };
    Ok(Event::State { screen: Rc::new(screen), snapshot })
}

/// The lines of a leaderboard: ranked 1 to n, scores that never rise.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn rows(lines: &[Value]) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::with_capacity(lines.len());
    for (line, rank) in lines.iter().zip(1..) {
        let row = Row { user: user(&line["userId"])?, score: line["score"].as_i64().ok_or("no score")? };
        if line["rank"].as_u64() != Some(rank) {
            return Err(format!("line {rank} has the rank {}", line["rank"]));
        }
        if rows.last().is_some_and(|above| above.score < row.score) {
            return Err(format!("line {rank} has more points than the line above it"));
        }
        rows.push(row);
    }
    Ok(rows)
}

fn user(value: &Value) -> Result<Uuid, String> {
    value.as_str().and_then(|text| Uuid::parse_str(text).ok()).ok_or_else(|| format!("{value} is no user id"))
}

fn delta(data: &Value) -> Result<Event, String> {
    let (from, version) = (number(data, "from")?, number(data, "version")?);
    if version <= from {
        return Err(format!("a delta from {from} to {version}"));
    }
    let ops = data["ops"].as_array().ok_or("no ops")?.iter().map(op).collect::<Result<_, _>>()?;
    let check = match &data["check"] {
        Value::Null => None,
        Value::String(hex) if hex.len() == 8 => {
            Some(u32::from_str_radix(hex, 16).map_err(|_| format!("{hex} is no checksum"))?)
        }
        other => return Err(format!("{other} is no checksum")),
    };
    Ok(Event::Delta { from, version, ops, check })
}

fn op(value: &Value) -> Result<Op, String> {
    let strange = || format!("{value} is no step of a delta");
    let parts = value.as_array().ok_or_else(strange)?;
    let at = |index: usize| {
        let position = parts.get(index).and_then(Value::as_u64).and_then(|position| usize::try_from(position).ok());
        position.ok_or_else(strange)
    };
    let score = |index: usize| parts.get(index).and_then(Value::as_i64).ok_or_else(strange);
    let kind = parts.first().and_then(Value::as_str).ok_or_else(strange)?;
    match (kind, parts.len()) {
        ("-", 2) => Ok(Op::Remove(at(1)?)),
        ("+", 6) => Ok(Op::Insert(at(1)?, Row { user: user(&parts[2])?, score: score(4)? })),
        ("=", 4) => Ok(Op::Set(at(1)?, score(2)?)),
        ("m", 5) => Ok(Op::Move(at(1)?, at(2)?, score(3)?)),
        _ => Err(strange()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = "00000000-0000-0000-0000-000000000001";

    fn line(rank: u64, score: i64) -> String {
        format!(r#"{{"userId":"{ADA}","username":"ada","score":{score},"rank":{rank},"lastUpdated":"t"}}"#)
    }

    fn snapshot(lines: &[String]) -> Result<Event, String> {
        let lines = lines.join(",");
        parse(
            format!(
                r#"{{"event":"scoreboard:snapshot","data":{{"board":"b","epoch":"e","version":7,"leaderboard":[{lines}]}}}}"#
            )
            .as_bytes(),
        )
    }

    #[test]
    fn a_snapshot_is_its_rows() {
        let rows = vec![Row { user: Uuid::from_u128(1), score: 5 }];
        let screen = Rc::new(Screen { epoch: "e".into(), version: 7, rows });
        assert_eq!(snapshot(&[line(1, 5)]), Ok(Event::State { screen, snapshot: true }));
    }

    #[test]
    fn wrong_ranks_and_a_wrong_order_are_told() {
        assert!(snapshot(&[line(2, 5)]).unwrap_err().contains("rank"));
        assert!(snapshot(&[line(1, 5), line(2, 6)]).unwrap_err().contains("more points"));
    }

    #[test]
    fn a_delta_is_its_steps() {
        let text = format!(
            r#"{{"event":"delta","data":{{"from":41,"version":43,"check":"0000002a","ops":
            [["-",9],["+",0,"{ADA}","ada",12,"t"],["=",1,3,"t"],["m",2,0,4,"t"]]}}}}"#
        );
        let row = Row { user: Uuid::from_u128(1), score: 12 };
        let ops = vec![Op::Remove(9), Op::Insert(0, row), Op::Set(1, 3), Op::Move(2, 0, 4)];
        assert_eq!(parse(text.as_bytes()), Ok(Event::Delta { from: 41, version: 43, ops, check: Some(42) }));
    }

    #[test]
    fn strange_deltas_are_told() {
        for data in [
            r#"{"from":3,"version":3,"ops":[]}"#,
            r#"{"from":3,"version":4,"ops":[["x",1]]}"#,
            r#"{"from":3,"version":4,"ops":[["-",-1]]}"#,
            r#"{"from":3,"version":4,"ops":[["=",1]]}"#,
            r#"{"from":3,"version":4,"ops":[],"check":"2a"}"#,
        ] {
            assert!(parse(format!(r#"{{"event":"delta","data":{data}}}"#).as_bytes()).is_err(), "{data}");
        }
    }
}
