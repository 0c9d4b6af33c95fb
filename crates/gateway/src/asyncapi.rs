//! The AsyncAPI document of the live stream. Names and schemas of the events come from the types that the stream itself
//! writes, the examples from those types written out, so that neither can say something else.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use wire::frames::{
    ByeJson, CurveJson, DeltaJson, Equals, Frame, HeartbeatJson, MoveJson, Moved, OpJson, OwnChangeJson, SnapshotJson,
    StaleJson, UpdateJson,
};
use wire::json::EntryJson;

use crate::app::Gateway;

#[derive(OpenApi)]
#[openapi(components(schemas(
    SnapshotJson,
    UpdateJson,
    MoveJson,
    EntryJson,
    DeltaJson,
    OpJson,
    OwnChangeJson,
    CurveJson,
    HeartbeatJson,
    StaleJson,
    ByeJson
)))]
struct StreamSchemas;

const SCHEMAS: &str = "#/components/schemas/";
const TIME: &str = "2026-11-20T10:00:00.000Z";

/// `GET /asyncapi.json`
#[utoipa::path(get, path = "/asyncapi.json", tag = "description", params(), responses(
    (status = 200, description = "The AsyncAPI 3.0 document of the live stream", body = Object),
))]
pub(crate) async fn json(gateway: web::Data<Gateway>, request: HttpRequest) -> HttpResponse {
    let connection = request.connection_info();
    let here = format!("{}://{}", connection.scheme(), connection.host());
    let origin = gateway.settings.stream_public_url.as_deref().unwrap_or(&here);
    HttpResponse::Ok().json(document(origin))
}

/// The document of the live stream as a server at `origin` (`https://host:port`, possibly with a path) sends it.
#[must_use]
pub fn document(origin: &str) -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Scoreboard: the live stream",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The newest state of a board at every screen. docs/STREAM.md says what a client does with it.",
        },
        "defaultContentType": "application/json",
        "servers": servers(origin),
        "channels": {
            "lists": socket_channel("scoreboard.v1", "Whole lists at every change.", Carrier::Lists),
            "deltas": socket_channel("scoreboard.v1.delta", "A whole list, then what changes.", Carrier::Deltas),
            "events": events_channel(),
        },
        "operations": {
            "sendLists": operation("lists"),
            "sendDeltas": operation("deltas"),
            "sendEvents": operation("events"),
        },
        "components": {
            "schemas": schemas(),
            "messages": messages(),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "Optional. In a browser's WebSocket it is the subprotocol bearer.<token>." },
            },
        },
    })
}

/// What an event travels on. The same event has one shape in the frames of WebSockets and another as Server-Sent Event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Lists,
    Deltas,
    ServerSent,
}

/// What the document says of an event. A new one has to be said here: the match knows all.
struct About {
    id: &'static str,
    schema: &'static str,
    summary: &'static str,
    carriers: &'static [Carrier],
}

const EVERYWHERE: &[Carrier] = &[Carrier::Lists, Carrier::Deltas, Carrier::ServerSent];

fn about(frame: &Frame<'_>) -> About {
    let (id, schema, carriers, summary) = match frame {
        Frame::Snapshot(_) => {
            ("snapshot", "Snapshot", EVERYWHERE, "The whole visible state: first, and whenever nothing less can serve.")
        }
        Frame::Update(_) => (
            "update",
            "Update",
            &[Carrier::Lists, Carrier::ServerSent] as &[Carrier],
            "The visible rows changed: all of them, and who moved.",
        ),
        Frame::Delta(_) => (
            "delta",
            "Delta",
            &[Carrier::Deltas] as &[Carrier],
            "The visible rows changed: what to do to those before.",
        ),
        Frame::Heartbeat(_) => ("heartbeat", "Heartbeat", EVERYWHERE, "20 s went by without other traffic."),
        Frame::Me(_) => ("me", "OwnChange", EVERYWHERE, "The token's player moved. Sent to nobody else."),
        Frame::Curve(_) => {
            ("curve", "Curve", EVERYWHERE, "Ranks and scores across the whole board, where curve=1 asks for it.")
        }
        Frame::Stale(_) => {
            ("stale", "Stale", EVERYWHERE, "What is shown may be older than a second; a snapshot ends it.")
        }
        Frame::Bye(_) => ("bye", "Bye", EVERYWHERE, "The connection is closed next (1012). Come back after the wait."),
    };
    About { id, schema, summary, carriers }
}

/// One of each event, as a board of two players sees them.
fn samples() -> Vec<Frame<'static>> {
    let (board, epoch) = ("global", "2c6f0e");
    let entry = |user: &str, username: &str, score, rank| EntryJson {
        user_id: user.to_owned(),
        username: username.to_owned(),
        score,
        rank,
        last_updated: TIME.to_owned(),
    };
    let before = vec![entry("u-1", "Ada", 260, 1), entry("u-2", "Grace", 250, 2)];
    let after = vec![entry("u-2", "Grace", 300, 1), entry("u-1", "Ada", 260, 2)];
    let moved = |user: &str, username: &str, new_score, rank, previous| MoveJson {
        user_id: user.to_owned(),
        username: username.to_owned(),
        new_score,
        rank: Some(rank),
        previous_rank: Some(previous),
    };
    vec![
        Frame::Snapshot(SnapshotJson { board, epoch, version: 41, leaderboard: before }),
        Frame::Update(UpdateJson {
            board,
            epoch,
            version: 42,
            user_id: "u-2".to_owned(),
            new_score: 300,
            leaderboard: after,
            updates: vec![moved("u-2", "Grace", 300, 1, 2)],
        }),
        Frame::Delta(DeltaJson {
            from: 41,
            version: 43,
            ops: vec![OpJson::Move(Moved, 1, 0, 300, TIME.to_owned()), OpJson::Change(Equals, 1, 265, TIME.to_owned())],
            check: None,
        }),
        Frame::Heartbeat(HeartbeatJson { board, epoch, version: 43 }),
        Frame::Me(OwnChangeJson { board, version: 42, new_score: 300, rank: Some(1), previous_rank: Some(2) }),
        Frame::Curve(CurveJson { board, epoch, version: 43, players: 2, points: vec![(1, 300), (2, 265)] }),
        Frame::Stale(StaleJson { reason: "behind" }),
        Frame::Bye(ByeJson { reason: "restart", reconnect_in_ms: 3210 }),
    ]
}

fn messages() -> Value {
    let mut messages = Map::new();
    for frame in samples() {
        let About { id, schema, summary, .. } = about(&frame);
        let event = frame.event();
        let whole = serde_json::to_value(&frame).unwrap_or_default();
        let data = json!({ "$ref": format!("{SCHEMAS}{schema}") });
        messages.insert(
            id.to_owned(),
            json!({
                "name": event, "title": event, "summary": summary,
                "payload": {
                    "type": "object", "required": ["event", "data"],
                    "properties": { "event": { "type": "string", "const": event }, "data": data },
                },
                "examples": [{ "payload": whole }],
            }),
        );
        messages.insert(
            server_sent(id),
            json!({
                "name": event, "title": format!("event: {event}"), "summary": summary,
                "payload": data,
                "examples": [{ "payload": whole["data"] }],
            }),
        );
    }
    // Deltas do not come as Server-Sent Events.
    messages.remove(&server_sent("delta"));
    Value::Object(messages)
}

fn server_sent(id: &str) -> String {
    format!("{id}Event")
}

fn channel_messages(carrier: Carrier) -> Map<String, Value> {
    samples()
        .iter()
        .map(about)
        .filter(|about| about.carriers.contains(&carrier))
        .map(|about| {
            let message = if carrier == Carrier::ServerSent { server_sent(about.id) } else { about.id.to_owned() };
            (about.id.to_owned(), json!({ "$ref": format!("#/components/messages/{message}") }))
        })
        .collect()
}

fn socket_channel(subprotocol: &str, summary: &str, carrier: Carrier) -> Value {
    let headers = json!({ "type": "object", "properties": {
        "Sec-WebSocket-Protocol": { "type": "string", "examples": [subprotocol, format!("{subprotocol}, bearer.<token>")] },
    }});
    json!({
        "address": "/ws/scoreboard",
        "title": subprotocol,
        "summary": format!("WebSocket, subprotocol {subprotocol}. {summary}"),
        "servers": [{ "$ref": "#/servers/websocket" }],
        "messages": channel_messages(carrier),
        "bindings": { "ws": { "method": "GET", "query": query(), "headers": headers, "bindingVersion": "0.1.0" } },
    })
}

fn events_channel() -> Value {
    json!({
        "address": "/api/v1/scoreboard/stream",
        "title": "Server-Sent Events",
        "summary": "The events of scoreboard.v1 with id: <epoch>.<version>, for networks that break WebSockets. \
                    Last-Event-ID resumes. The query is that of the WebSocket.",
        "servers": [{ "$ref": "#/servers/events" }],
        "messages": channel_messages(Carrier::ServerSent),
    })
}

fn query() -> Value {
    json!({ "type": "object", "properties": {
        "board": { "type": "string", "pattern": "^[a-z0-9-]{1,64}$", "default": "global" },
        "limit": { "type": "integer", "minimum": 1, "maximum": 100, "default": 10, "description": "Visible rows." },
        "since": { "type": "string", "examples": ["2c6f0e.41"],
            "description": "<epoch>.<version> of the state that the client holds. What is malformed counts as none." },
        "curve": { "type": "integer", "enum": [0, 1], "default": 0, "description": "Sends scoreboard:curve too." },
    }})
}

fn operation(channel: &str) -> Value {
    json!({
        "action": "send",
        "channel": { "$ref": format!("#/channels/{channel}") },
        "summary": "The server sends; a client sends nothing but pings, pongs and closes.",
    })
}

fn servers(origin: &str) -> Value {
    let (scheme, rest) = origin.split_once("://").unwrap_or(("http", origin));
    let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path.trim_end_matches('/')));
    let secure = matches!(scheme, "https" | "wss");
    let server = |protocol: &str| {
        let mut server = json!({
            "host": host,
            "protocol": if secure { format!("{protocol}s") } else { protocol.to_owned() },
            "security": [{ "$ref": "#/components/securitySchemes/bearer" }],
        });
        if !path.is_empty() {
            server["pathname"] = format!("/{path}").into();
        }
        server
    };
    json!({ "websocket": server("ws"), "events": server("http") })
}

/// The schemas of the data. AsyncAPI's own schemas are of an older draft of JSON Schema than OpenAPI 3.1's: tuples are
/// written otherwise.
fn schemas() -> Value {
    let mut schemas = serde_json::to_value(StreamSchemas::openapi())
        .map(|mut document| document["components"]["schemas"].take())
        .unwrap_or_default();
    to_draft_07(&mut schemas);
    schemas
}

fn to_draft_07(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(tuple) = fields.remove("prefixItems") {
                let length = tuple.as_array().map_or(0, Vec::len);
                fields.insert("items".to_owned(), tuple);
                fields.insert("additionalItems".to_owned(), Value::Bool(false));
                fields.insert("minItems".to_owned(), length.into());
            }
            fields.values_mut().for_each(to_draft_07);
        }
        Value::Array(items) => items.iter_mut().for_each(to_draft_07),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_described_and_every_reference_leads_somewhere() {
        let document = document("https://scores.example/live/");
        let mut references = Vec::new();
        collect(&document, &mut references);
        assert!(references.len() > 40);
        for reference in references {
            let pointer = reference.strip_prefix('#').expect("a local reference");
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
        for (channel, without) in [("lists", "delta"), ("deltas", "update"), ("events", "delta")] {
            let messages = document["channels"][channel]["messages"].as_object().unwrap();
            assert_eq!(messages.len(), samples().len() - 1);
            assert!(!messages.contains_key(without), "{channel} has no {without}");
        }
    }

    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|field| collect(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }

    #[test]
    fn the_servers_are_where_the_stream_is() {
        let elsewhere = servers("https://live.example:8443/a/b/");
        assert_eq!(elsewhere["websocket"]["host"], "live.example:8443");
        assert_eq!(elsewhere["websocket"]["protocol"], "wss");
        assert_eq!(elsewhere["events"]["protocol"], "https");
        assert_eq!(elsewhere["events"]["pathname"], "/a/b");
        assert_eq!(servers("http://127.0.0.1:8080")["websocket"]["protocol"], "ws");
        assert!(servers("http://127.0.0.1:8080")["websocket"].get("pathname").is_none());
    }

    #[test]
    fn tuples_are_closed_in_the_draft_that_asyncapi_reads() {
        let schemas = schemas();
        assert!(!schemas.to_string().contains("prefixItems"));
        let op = &schemas["DeltaOp"]["oneOf"][1];
        assert_eq!((op["items"].as_array().unwrap().len(), &op["additionalItems"]), (6, &Value::Bool(false)));
        let point = &schemas["Curve"]["properties"]["points"]["items"];
        assert_eq!(point["minItems"], 2);
    }
}
