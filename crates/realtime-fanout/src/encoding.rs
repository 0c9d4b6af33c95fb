//! Events as bytes: WebSocket frames and Server-Sent Events.

use actix_http::ws::{CloseCode, CloseReason, OpCode, Parser};
use bytes::{Bytes, BytesMut};
use common::error_code::ErrorCode;
use common::state::StatePoint;
use wire::frames::{ByeJson, Frame};

/// What a client is given.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Format {
    /// WebSocket, `scoreboard.v1`: updates carry the whole visible list.
    Text,
    /// WebSocket, `scoreboard.v1.delta`: updates say what to do to the list before.
    Delta,
    /// Server-Sent Events with the events of `scoreboard.v1`.
    Sse,
}

impl Format {
    /// How many there are; `format as usize` is below.
    pub(crate) const COUNT: usize = 3;

    /// An event. Server-Sent Events carry `id`, if it is given: the state that the client stands at afterwards.
    pub(crate) fn encode(self, frame: &Frame<'_>, id: Option<&StatePoint>) -> Bytes {
        match self {
            Self::Text | Self::Delta => text(frame),
            Self::Sse => server_sent(frame, id),
        }
    }

    /// `server:bye` and, after it, what ends the stream.
    pub(crate) fn goodbye(self, reason: &str, reconnect_in_ms: u64) -> Bytes {
        let frame = Frame::Bye(ByeJson { reason, reconnect_in_ms });
        let mut bytes = BytesMut::new();
        match self {
            Self::Text | Self::Delta => {
                bytes.extend_from_slice(&text(&frame));
                bytes.extend_from_slice(&close(CloseCode::Restart, reason));
            }
            Self::Sse => {
                // So that a browser's own EventSource comes back when it should.
                bytes.extend_from_slice(format!("retry: {reconnect_in_ms}\n").as_bytes());
                bytes.extend_from_slice(&server_sent(&frame, None));
            }
        }
        bytes.freeze()
    }
}

/// What ends a stream that showed no token where one is needed; Server-Sent Events just end.
pub(crate) fn shut_out(format: Format) -> Option<Bytes> {
    match format {
        Format::Text | Format::Delta => Some(close(CloseCode::Policy, ErrorCode::Unauthenticated.as_str())),
        Format::Sse => None,
    }
}

/// A Close frame.
pub(crate) fn close(code: CloseCode, reason: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    Parser::write_close(&mut bytes, Some(CloseReason { code, description: Some(reason.to_owned()) }), false);
    bytes.freeze()
}

/// The answer to a ping.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    Parser::write_message(&mut bytes, payload, OpCode::Pong, true, false);
    bytes.freeze()
}

fn text(frame: &Frame<'_>) -> Bytes {
    // Maps of strings and numbers: serialising them has no failing case.
    let json = serde_json::to_vec(frame).unwrap_or_default();
    let mut bytes = BytesMut::with_capacity(json.len() + 10);
    Parser::write_message(&mut bytes, json, OpCode::Text, true, false);
    bytes.freeze()
}

fn server_sent(frame: &Frame<'_>, id: Option<&StatePoint>) -> Bytes {
    let data = frame.data().unwrap_or_default();
    let mut bytes = BytesMut::with_capacity(data.len() + 128);
    if let Some(id) = id {
        bytes.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    bytes.extend_from_slice(format!("event: {}\ndata: ", frame.event()).as_bytes());
    bytes.extend_from_slice(&data);
    bytes.extend_from_slice(b"\n\n");
    bytes.freeze()
}
