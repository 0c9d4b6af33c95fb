//! The handshake, by hand: one write, one answer.

/// Any 16 bytes in base64; the answer to it is not checked, because nobody between us and the server could mistake it.
const KEY: &str = "c2NvcmVib2FyZC1sb2FkdA==";

/// The longest answer that is waited for, bytes.
pub(crate) const MAX_HEAD_BYTES: usize = 16 * 1024;

/// What a socket asks for.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    /// The `Host` header.
    pub(crate) host: &'a str,
    /// The path before the query.
    pub(crate) path: &'a str,
    /// The board.
    pub(crate) board: &'a str,
    /// Visible lines.
    pub(crate) limit: usize,
    /// The subprotocol.
    pub(crate) protocol: &'a str,
}

impl Asked<'_> {
    /// The request.
    pub(crate) fn request(&self) -> String {
        let Self { host, path, board, limit, protocol } = self;
        format!(
            "GET {path}?board={board}&limit={limit} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
        )
    }
}

/// How a server answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answered {
    /// More bytes are needed.
    Incomplete,
    /// 101; the head is so long, what follows is frames.
    Open {
        /// Bytes of the head.
        head: usize,
        /// The subprotocol that the server chose.
        protocol: Option<String>,
    },
    /// Another status.
    Refused {
        /// The status.
        status: u16,
    },
    /// Not HTTP.
    Malformed,
}

/// Reads the answer's head.
pub(crate) fn answered(bytes: &[u8]) -> Answered {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD_BYTES => return Answered::Incomplete,
        _ => return Answered::Malformed,
    };
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::to_owned)
    };
    match response.code {
        Some(101) => Answered::Open { head, protocol: header("sec-websocket-protocol") },
        Some(status) => Answered::Refused { status },
        None => Answered::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_names_what_is_asked_for() {
        let asked = Asked { host: "h:1", path: "/ws/scoreboard", board: "b", limit: 5, protocol: "scoreboard.v1" };
        let request = asked.request();
        assert!(request.starts_with("GET /ws/scoreboard?board=b&limit=5 HTTP/1.1\r\nHost: h:1\r\n"));
        assert!(request.ends_with("Sec-WebSocket-Protocol: scoreboard.v1\r\n\r\n"));
    }

    #[test]
    fn answers_are_told_apart() {
        let open = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Protocol: p\r\n\r\n\x81\x00";
        let opened = Answered::Open { head: open.len() - 2, protocol: Some("p".to_owned()) };
        assert_eq!(answered(open), opened);
        assert_eq!(answered(&open[..20]), Answered::Incomplete);
        let refused = Answered::Refused { status: 503 };
        assert_eq!(answered(b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\n\r\n"), refused);
        assert_eq!(answered(b"\x00\x01nonsense"), Answered::Malformed);
    }
}
