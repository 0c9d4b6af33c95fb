//! The events of the live stream, as WebSocket frames and Server-Sent Events carry them. Fixed by contract (DESIGN.md,
//! section 4).

use common::standing::TopList;
use serde::Serialize;
use utoipa::openapi::schema::{ArrayBuilder, ArrayItems, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use crate::json::{EntryJson, entries};

/// A frame of the live stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", content = "data")]
pub enum Frame<'a> {
    /// The whole visible state.
    #[serde(rename = "scoreboard:snapshot")]
    Snapshot(SnapshotJson<'a>),
    /// The visible top changed.
    #[serde(rename = "score:update")]
    Update(UpdateJson<'a>),
    /// Nothing happened for a while.
    #[serde(rename = "heartbeat")]
    Heartbeat(HeartbeatJson<'a>),
    /// The visible top changed: what to do to the list before.
    #[serde(rename = "delta")]
    Delta(DeltaJson),
    /// A token holder's own change.
    #[serde(rename = "score:me")]
    Me(OwnChangeJson<'a>),
    /// Scores at some ranks of the whole board.
    #[serde(rename = "scoreboard:curve")]
    Curve(CurveJson<'a>),
    /// This node cannot be sure to be within a second of the truth.
    #[serde(rename = "scoreboard:stale")]
    Stale(StaleJson<'a>),
    /// The node is about to close the socket.
    #[serde(rename = "server:bye")]
    Bye(ByeJson<'a>),
}

impl Frame<'_> {
    /// The event's name, as a frame and the `event` field of Server-Sent Events say it.
    #[must_use]
    pub const fn event(&self) -> &'static str {
        match self {
            Self::Snapshot(_) => "scoreboard:snapshot",
            Self::Update(_) => "score:update",
            Self::Heartbeat(_) => "heartbeat",
            Self::Delta(_) => "delta",
            Self::Me(_) => "score:me",
            Self::Curve(_) => "scoreboard:curve",
            Self::Stale(_) => "scoreboard:stale",
            Self::Bye(_) => "server:bye",
        }
    }

    /// The event's data alone, as Server-Sent Events carry it. One line: JSON escapes line breaks.
    ///
    /// # Errors
    /// None in practice: maps of strings and numbers serialise.
    pub fn data(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::Snapshot(data) => serde_json::to_vec(data),
            Self::Update(data) => serde_json::to_vec(data),
            Self::Heartbeat(data) => serde_json::to_vec(data),
            Self::Delta(data) => serde_json::to_vec(data),
            Self::Me(data) => serde_json::to_vec(data),
            Self::Curve(data) => serde_json::to_vec(data),
            Self::Stale(data) => serde_json::to_vec(data),
            Self::Bye(data) => serde_json::to_vec(data),
        }
    }
}

/// The visible top changed, for a client that stands at `from`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Delta)]
pub struct DeltaJson {
    /// Where the client must stand.
    pub from: u64,
    /// Where it stands afterwards.
    pub version: u64,
    /// Applied in order to the visible lines.
    pub ops: Vec<OpJson>,
    /// Eight lower-case hex digits: CRC-32 (IEEE) of the lines `userId:score`, joined by `\n`, of the visible rows
    /// afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
}

/// One step on the list of visible lines; positions count from 0. A rank is a position plus one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum OpJson {
    /// `["-", at]`: the line leaves.
    Remove(Minus, usize),
    /// `["+", at, userId, username, score, lastUpdated]`: a line comes in.
    Insert(Plus, usize, String, String, i64, String),
    /// `["=", at, score, lastUpdated]`: a line changes where it is.
    Change(Equals, usize, i64, String),
    /// `["m", from, to, score, lastUpdated]`: a line changes and moves; `to` counts after it was taken out.
    Move(Moved, usize, usize, i64, String),
}

impl PartialSchema for OpJson {
    fn schema() -> RefOr<Schema> {
        let name = |text: &str| ObjectBuilder::new().schema_type(Type::String).enum_values(Some([text]));
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let at = || ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
        let score = || {
            ObjectBuilder::new().schema_type(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        };
        let time = || text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        let op = |title: &str, items: Vec<ObjectBuilder>| {
            ArrayBuilder::new()
                .title(Some(title))
                .min_items(Some(items.len()))
                .prefix_items(items.into_iter().map(|item| Schema::Object(item.build())))
                .items(ArrayItems::False)
        };
        OneOfBuilder::new()
            .description(Some("One step on the list of visible lines. Positions count from 0, on the list as the steps before left it."))
            .item(op("remove", vec![name("-"), at()]))
            .item(op("insert", vec![name("+"), at(), text(), text(), score(), time()]))
            .item(op("change in place", vec![name("="), at(), score(), time()]))
            .item(op("change and move", vec![name("m"), at(), at(), score(), time()]))
            .into()
    }
}

impl ToSchema for OpJson {
    fn name() -> std::borrow::Cow<'static, str> {
        "DeltaOp".into()
    }
}

macro_rules! op_name {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
        pub struct $name;

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($text)
            }
        }
    )*};
}

op_name! {
    /// Names [`OpJson::Remove`].
    Minus = "-";
    /// Names [`OpJson::Insert`].
    Plus = "+";
    /// Names [`OpJson::Change`].
    Equals = "=";
    /// Names [`OpJson::Move`].
    Moved = "m";
}

/// A token holder's own change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OwnChange)]
pub struct OwnChangeJson<'a> {
    /// The board.
    pub board: &'a str,
    /// Where in its history.
    pub version: u64,
    /// The score now.
    pub new_score: i64,
    /// The position now; null when no projection could say in time.
    pub rank: Option<u64>,
    /// The position before; null when it was none or is not known.
    pub previous_rank: Option<u64>,
}

/// Scores at some ranks of the whole board, so that a viewer can tell about where a score stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Curve)]
pub struct CurveJson<'a> {
    /// The board.
    pub board: &'a str,
    /// Its history.
    pub epoch: &'a str,
    /// Where in it.
    pub version: u64,
    /// Players with a score.
    pub players: u64,
    /// `[rank, score]`, the best first.
    pub points: Vec<(u64, i64)>,
}

/// This node cannot be sure to be within a second of the truth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Stale)]
pub struct StaleJson<'a> {
    /// Why.
    pub reason: &'a str,
}

/// The node is about to close the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Bye)]
pub struct ByeJson<'a> {
    /// Why.
    pub reason: &'a str,
    /// When to come back, milliseconds.
    pub reconnect_in_ms: u64,
}

/// The whole visible state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Snapshot)]
pub struct SnapshotJson<'a> {
    /// The board.
    pub board: &'a str,
    /// Its history.
    pub epoch: &'a str,
    /// Where in it.
    pub version: u64,
    /// Best first.
    pub leaderboard: Vec<EntryJson>,
}

/// The visible top changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Update)]
pub struct UpdateJson<'a> {
    /// The board.
    pub board: &'a str,
    /// Its history.
    pub epoch: &'a str,
    /// Where in it.
    pub version: u64,
    /// Whose change is the newest.
    pub user_id: String,
    /// That user's score.
    pub new_score: i64,
    /// The whole visible state, best first.
    pub leaderboard: Vec<EntryJson>,
    /// Those who changed and are in the visible state before or after.
    pub updates: Vec<MoveJson>,
}

/// One player's move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Move)]
pub struct MoveJson {
    /// Who.
    pub user_id: String,
    /// The name to show.
    pub username: String,
    /// The score now.
    pub new_score: i64,
    /// The position now; null when it left the visible top.
    pub rank: Option<u64>,
    /// The position before; null for a newcomer.
    pub previous_rank: Option<u64>,
}

/// Nothing happened for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Heartbeat)]
pub struct HeartbeatJson<'a> {
    /// The board.
    pub board: &'a str,
    /// Its history.
    pub epoch: &'a str,
    /// Where in it.
    pub version: u64,
}

impl<'a> SnapshotJson<'a> {
    /// The snapshot of a list.
    #[must_use]
    pub fn new(board: &'a str, top: &'a TopList) -> Self {
        Self {
            board,
            epoch: top.state.epoch.as_str(),
            version: top.state.version.0,
            leaderboard: entries(&top.entries),
        }
    }
}
