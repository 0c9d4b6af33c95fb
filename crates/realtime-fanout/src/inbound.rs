//! What clients send: nothing but pings, pongs and closes matters.

use actix_http::ws::{CloseCode, OpCode, Parser, ProtocolError};
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use crate::encoding::{close, pong};
use crate::stream_body::SocketControl;

/// The largest message; a larger one closes the socket with 1009.
const MAX_MESSAGE: usize = 1024;

/// What is sent back.
#[derive(PartialEq, Eq, Debug)]
enum Reaction {
    Pong(Bytes),
    /// The last frame.
    Close(Bytes),
}

/// Reads until the client is gone or the socket is closed.
pub(crate) async fn read(mut payload: Payload, socket: SocketControl) {
    let mut inbound = Inbound::default();
    loop {
        let chunk = tokio::select! {
            () = socket.gone() => return,
            chunk = payload.next() => chunk,
        };
        let Some(Ok(chunk)) = chunk else {
            socket.client_left();
            return;
        };
        inbound.buffer.extend_from_slice(&chunk);
        while let Some(reaction) = inbound.next() {
            match reaction {
                Reaction::Pong(frame) => socket.pong(frame),
                Reaction::Close(frame) => {
                    socket.close(frame);
                    return;
                }
            }
        }
    }
}

#[derive(Default)]
struct Inbound {
    buffer: BytesMut,
    /// Bytes so far of a message that comes in parts.
    partial: Option<usize>,
}

impl Inbound {
    /// What the next whole frames ask for; `None` when more has to arrive.
    fn next(&mut self) -> Option<Reaction> {
        loop {
            match Parser::parse(&mut self.buffer, true, MAX_MESSAGE) {
                Ok(Some((finished, code, payload))) => {
                    if let Some(reaction) = self.frame(finished, code, payload.as_deref().unwrap_or_default()) {
                        return Some(reaction);
                    }
                }
                // A frame that says that it is larger is not waited for.
                Ok(None) => return announces_too_much(&self.buffer).then(too_large),
                Err(ProtocolError::Overflow) => return Some(too_large()),
                Err(_) => return Some(broken()),
            }
        }
    }

    fn frame(&mut self, finished: bool, code: OpCode, payload: &[u8]) -> Option<Reaction> {
        match code {
            OpCode::Ping | OpCode::Pong | OpCode::Close if !finished => Some(broken()),
            OpCode::Ping => Some(Reaction::Pong(pong(payload))),
            OpCode::Pong => None,
            OpCode::Close => {
                Some(close_code(payload).map_or_else(broken, |code| Reaction::Close(close(code.into(), ""))))
            }
            OpCode::Text | OpCode::Binary if self.partial.is_none() => self.grown(finished, payload.len()),
            OpCode::Continue => match self.partial {
                Some(before) => self.grown(finished, before + payload.len()),
                None => Some(broken()),
            },
            OpCode::Text | OpCode::Binary | OpCode::Bad => Some(broken()),
        }
    }

    fn grown(&mut self, finished: bool, bytes: usize) -> Option<Reaction> {
        self.partial = (!finished).then_some(bytes);
        (bytes > MAX_MESSAGE).then(too_large)
    }
}

/// The code that a Close frame may be answered with; `None` where the frame is not allowed (RFC 6455, sections 5.5.1 and
/// 7.4, and the registry of codes).
fn close_code(payload: &[u8]) -> Option<u16> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return payload.is_empty().then_some(CloseCode::Normal.into());
    };
    let code = u16::from_be_bytes(*code);
    let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    (allowed && std::str::from_utf8(reason).is_ok()).then_some(code)
}

/// Whether the head of a frame says that it is too large (RFC 6455, section 5.2): lengths from 126 on stand in the two
/// bytes after the second, those from 65,536 on are marked 127.
fn announces_too_much(frame: &[u8]) -> bool {
    match frame.get(1).map(|length| length & 0x7f) {
        Some(127) => true,
        Some(126) => frame.get(2..4).is_some_and(|b| usize::from(u16::from_be_bytes([b[0], b[1]])) > MAX_MESSAGE),
        _ => false,
    }
}

fn too_large() -> Reaction {
    Reaction::Close(close(CloseCode::Size, "messages are at most 1 KiB"))
}

fn broken() -> Reaction {
    Reaction::Close(close(CloseCode::Protocol, "not a WebSocket frame that fits here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(code: OpCode, finished: bool, payload: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::new();
        Parser::write_message(&mut bytes, payload, code, finished, true);
        bytes
    }

    fn reactions(frames: &[BytesMut]) -> Vec<Reaction> {
        let mut inbound = Inbound::default();
        let mut reactions = Vec::new();
        for byte in frames.concat() {
            inbound.buffer.extend_from_slice(&[byte]);
            reactions.extend(inbound.next());
        }
        reactions
    }

    #[test]
    fn pings_are_answered_and_small_messages_ignored() {
        let frames = [
            client(OpCode::Text, true, &[b'x'; MAX_MESSAGE]),
            client(OpCode::Ping, true, b"hi"),
            client(OpCode::Pong, true, b"late"),
            client(OpCode::Text, false, b"in "),
            client(OpCode::Ping, true, b""),
            client(OpCode::Continue, true, b"parts"),
        ];
        assert_eq!(reactions(&frames), [Reaction::Pong(pong(b"hi")), Reaction::Pong(pong(b""))]);
    }

    #[test]
    fn a_large_message_closes_also_when_it_comes_in_parts_or_never_whole() {
        assert_eq!(reactions(&[client(OpCode::Text, true, &[b'x'; MAX_MESSAGE + 1])])[0], too_large());
        let parts = [client(OpCode::Binary, false, &[0; 600]), client(OpCode::Continue, true, &[0; 600])];
        assert_eq!(reactions(&parts), [too_large()]);
        for (length, head) in [(MAX_MESSAGE + 1, 4), (60_000, 4), (70_000, 2)] {
            let mut endless = client(OpCode::Text, true, &vec![b'x'; length]);
            endless.truncate(head);
            assert_eq!(reactions(&[endless]), [too_large()], "as soon as the head says {length}");
        }
    }

    #[test]
    fn a_close_is_echoed_and_nonsense_is_refused() {
        let bye = [&1001u16.to_be_bytes()[..], b"going"].concat();
        assert_eq!(reactions(&[client(OpCode::Close, true, &bye)]), [Reaction::Close(close(CloseCode::Away, ""))]);
        assert_eq!(reactions(&[client(OpCode::Continue, true, b"of nothing")]), [broken()]);
        let mut unmasked = BytesMut::new();
        Parser::write_message(&mut unmasked, "x", OpCode::Text, true, false);
        assert_eq!(reactions(&[unmasked])[0], broken());
    }

    #[test]
    fn a_close_that_says_nothing_allowed_and_a_control_frame_in_parts_are_refused() {
        let with = |code: u16, reason: &[u8]| [&code.to_be_bytes()[..], reason].concat();
        for payload in [with(0, b""), with(1005, b""), with(2999, b""), vec![3], with(1000, b"\xff")] {
            assert_eq!(reactions(&[client(OpCode::Close, true, &payload)]), [broken()], "{payload:?}");
        }
        for code in [1000, 1012, 3000, 4999] {
            let answer = Reaction::Close(close(code.into(), ""));
            assert_eq!(reactions(&[client(OpCode::Close, true, &with(code, b"so"))]), [answer]);
        }
        assert_eq!(reactions(&[client(OpCode::Close, true, b"")]), [Reaction::Close(close(CloseCode::Normal, ""))]);
        for code in [OpCode::Ping, OpCode::Pong, OpCode::Close] {
            assert_eq!(reactions(&[client(code, false, b"")]), [broken()], "{code:?}");
        }
    }
}
