//! Where requests begin and end in the bytes of a connection, followed beside actix's own parser: only to know when a
//! head or a body is under way and how large it is. What actix must refuse is found with the same parser (httparse) and
//! the same rules, so that both agree on where the next request begins.

use memchr::memchr;

/// The longest request line, in bytes. RFC 9112, section 3, recommends at least 8000.
pub(crate) const MAX_REQUEST_LINE: usize = 8 * 1024;

/// The largest head, in bytes.
pub(crate) const MAX_HEAD: usize = 32 * 1024;

/// The most header fields: as many as actix takes.
const MAX_FIELDS: usize = 96;

/// The most bytes of a chunked body, read or not, in all. Those that are read are bounded by the handler.
const MAX_CHUNKED: u64 = 1024 * 1024;

/// Why the rest of a connection is not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The request line is too long.
    UriTooLong,
    /// The head is too large.
    HeadersTooLarge,
    /// The head is none.
    Unreadable,
    /// The head took too long.
    HeadTimeout,
    /// The body cannot be followed, or has no end.
    Body,
}

/// What is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Between two requests.
    Idle,
    /// A head has begun.
    Head,
    /// A body has begun.
    Body,
    /// No HTTP any more: an upgraded connection.
    Opaque,
}

/// Follows the bytes of one connection.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    state: State,
    head: Head,
    /// Grows whenever another phase begins.
    turns: u64,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    Length(u64),
    Chunked {
        at: Chunk,
        size: u64,
        seen: u64,
    },
    Opaque,
}

/// The same states as actix-http's `ChunkedState`.
#[derive(Clone, Copy, Debug)]
enum Chunk {
    SizeFirst,
    Size,
    SizeSpace,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    EndCr,
    EndLf,
    Trailer,
    TrailerLf,
}

/// A head that has not ended.
#[derive(Debug, Default)]
struct Head {
    /// What came in earlier reads. Empty when it all came in one.
    kept: Vec<u8>,
    /// Bytes of the line at hand that came in earlier reads.
    line: usize,
    request_line_ended: bool,
}

impl Framing {
    /// Takes the next bytes of the connection.
    ///
    /// # Errors
    /// What is wrong, and how many of these bytes came before it. Nothing may be fed after that.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), (usize, Fault)> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let taken = match &mut self.state {
                State::Opaque => return Ok(()),
                State::Head => self.feed_head(rest),
                State::Length(left) => {
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    if *left == 0 {
                        self.enter(State::Head);
                    }
                    Ok(taken)
                }
                State::Chunked { .. } => self.feed_chunked(rest),
            };
            at += taken.map_err(|(before, fault)| (at + before, fault))?;
        }
        Ok(())
    }

    /// What is under way.
    pub(crate) fn phase(&self) -> Phase {
        match self.state {
            State::Head if self.head.is_empty() => Phase::Idle,
            State::Head => Phase::Head,
            State::Length(_) | State::Chunked { .. } => Phase::Body,
            State::Opaque => Phase::Opaque,
        }
    }

    /// A number that is another one in every head and every body.
    pub(crate) const fn turns(&self) -> u64 {
        self.turns
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.turns += 1;
    }

    fn feed_head(&mut self, input: &[u8]) -> Result<usize, (usize, Fault)> {
        let Some(end) = self.head.scan(input)? else {
            self.head.kept.extend_from_slice(input);
            return Ok(input.len());
        };
        let next = if self.head.kept.is_empty() {
            after(&input[..end])
        } else {
            self.head.kept.extend_from_slice(&input[..end]);
            after(&self.head.kept)
        };
        // Without its last byte the head stays unfinished: actix never hands it to a handler.
        let next = next.map_err(|fault| (end - 1, fault))?;
        self.head = Head::default();
        self.enter(next);
        Ok(end)
    }

    fn feed_chunked(&mut self, input: &[u8]) -> Result<usize, (usize, Fault)> {
        let State::Chunked { at, size, seen } = &mut self.state else { return Ok(0) };
        let mut taken = 0;
        while taken < input.len() {
            if matches!(at, Chunk::Data) {
                let data = (input.len() - taken).min(usize::try_from(*size).unwrap_or(usize::MAX));
                taken += data;
                *size -= data as u64;
                *seen += data as u64;
                if *size == 0 {
                    *at = Chunk::DataCr;
                }
            } else {
                match at.step(input[taken], size) {
                    Some(Some(next)) => *at = next,
                    Some(None) => {
                        self.enter(State::Head);
                        return Ok(taken + 1);
                    }
                    None => return Err((taken, Fault::Body)),
                }
                taken += 1;
                *seen += 1;
            }
            if *seen > MAX_CHUNKED {
                return Err((taken, Fault::Body));
            }
        }
        Ok(taken)
    }
}

impl Head {
    const fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Where in `input` the head ends, if it does.
    fn scan(&mut self, input: &[u8]) -> Result<Option<usize>, (usize, Fault)> {
        let mut from = 0;
        loop {
            let newline = memchr(b'\n', &input[from..]).map(|at| from + at);
            let upto = newline.unwrap_or(input.len());
            let line = self.line + (upto - from);
            if !self.request_line_ended && line > MAX_REQUEST_LINE {
                return Err((from + MAX_REQUEST_LINE.saturating_sub(self.line), Fault::UriTooLong));
            }
            if self.kept.len() + upto >= MAX_HEAD {
                return Err((MAX_HEAD.saturating_sub(self.kept.len() + 1).min(upto), Fault::HeadersTooLarge));
            }
            if newline.is_none() {
                self.line = line;
                return Ok(None);
            }
            let last = if upto > from { input.get(upto - 1) } else { self.kept.last() };
            let blank = line == 0 || (line == 1 && last == Some(&b'\r'));
            self.line = 0;
            if blank && self.request_line_ended {
                return Ok(Some(upto + 1));
            }
            // Blank lines before a request are skipped (RFC 9112, section 2.2).
            self.request_line_ended |= !blank;
            from = upto + 1;
        }
    }
}

/// What follows a whole head.
fn after(head: &[u8]) -> Result<State, Fault> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Fault::HeadersTooLarge),
        Ok(_) | Err(_) => return Err(Fault::Unreadable),
    }
    let (mut length, mut chunked, mut websocket) = (None, false, false);
    for field in request.headers.iter() {
        let value = field.value.trim_ascii();
        if field.name.eq_ignore_ascii_case("content-length") {
            if length.is_some() || !value.iter().all(u8::is_ascii_digit) {
                return Err(Fault::Unreadable);
            }
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
            length = Some(number.ok_or(Fault::Unreadable)?);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked || request.version != Some(1) || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::Unreadable);
            }
            chunked = true;
        } else if field.name.eq_ignore_ascii_case("upgrade") {
            websocket |= value.eq_ignore_ascii_case(b"websocket");
        }
    }
    match (chunked, length) {
        (true, Some(_)) => Err(Fault::Unreadable),
        (true, None) => Ok(State::Chunked { at: Chunk::SizeFirst, size: 0, seen: 0 }),
        _ if websocket || request.method == Some("CONNECT") => Ok(State::Opaque),
        (false, None | Some(0)) => Ok(State::Head),
        (false, Some(length)) => Ok(State::Length(length)),
    }
}

impl Chunk {
    /// The state after a byte that is no data; `Some(None)`: that was the body's last byte; `None`: not a chunk.
    fn step(self, byte: u8, size: &mut u64) -> Option<Option<Self>> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        Some(Some(match (self, byte) {
            (Self::SizeFirst, _) => {
                *size = digit?;
                Self::Size
            }
            (Self::Size, _) if digit.is_some() => {
                *size = size.checked_mul(16)? + digit?;
                Self::Size
            }
            (Self::Size | Self::SizeSpace, b' ' | b'\t') => Self::SizeSpace,
            (Self::Size | Self::SizeSpace, b';') => Self::Extension,
            (Self::Size | Self::SizeSpace | Self::Extension, b'\r') => Self::SizeLf,
            (Self::Extension, 0x09 | 0x20..=0x7e | 0x80..) => Self::Extension,
            (Self::SizeLf, b'\n') if *size == 0 => Self::EndCr,
            (Self::SizeLf, b'\n') => Self::Data,
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::SizeFirst,
            (Self::EndCr, b'\r') => Self::EndLf,
            (Self::EndLf, b'\n') => return Some(None),
            (Self::EndCr, _) => Self::Trailer,
            (Self::Trailer, b'\r') => Self::TrailerLf,
            (Self::Trailer, _) => Self::Trailer,
            (Self::TrailerLf, b'\n') => Self::EndCr,
            _ => return None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    /// The phases after each request of a connection, fed in pieces of every size.
    fn phases(parts: &[(&[u8], Phase)]) {
        for piece in [1, 2, 3, 7, 10_000] {
            let mut framing = Framing::default();
            for (bytes, phase) in parts {
                for piece in bytes.chunks(piece) {
                    framing.feed(piece).unwrap();
                }
                assert_eq!(framing.phase(), *phase, "{}", String::from_utf8_lossy(bytes));
            }
        }
    }

    fn fault(bytes: &[u8]) -> Option<Fault> {
        let whole = Framing::default().feed(bytes).err();
        let mut framing = Framing::default();
        let torn = bytes.chunks(3).find_map(|piece| framing.feed(piece).err());
        assert_eq!(whole.map(|(_, fault)| fault), torn.map(|(_, fault)| fault), "the same in pieces");
        whole.map(|(_, fault)| fault)
    }

    #[test]
    fn requests_are_told_apart() {
        phases(&[
            (GET, Phase::Idle),
            (b"GET / HT", Phase::Head),
            (b"TP/1.1\r\nHost: x\r\n", Phase::Head),
            (b"\r\n", Phase::Idle),
            (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", Phase::Body),
            (b"GET /", Phase::Idle),
            (b"\r\nPOST / HTTP/1.1\r\nHost: x\r\ncontent-length: 0\r\n\r\n", Phase::Idle),
            (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n", Phase::Body),
            (b"1a;x=y\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n", Phase::Body),
            (b"Trailer: yes\r\n\r\n", Phase::Idle),
            (b"GET / HTTP/1.1\nHost: x\n\n", Phase::Idle),
            (b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n\x81\x00\x00", Phase::Opaque),
            (GET, Phase::Opaque),
        ]);
    }

    #[test]
    fn what_actix_would_refuse_is_refused() {
        for bad in [
            &b"\x16\x03\x01\x02\x00\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            b"GET / HTTP/9\r\n\r\n",
        ] {
            assert_eq!(fault(bad), Some(Fault::Unreadable), "{}", String::from_utf8_lossy(bad));
        }
        for bad in ["x\r\n", "5\n", "2\r\nabc\r\n", "fffffffffffffffff\r\n", "\r\n", "1\r\na\n", "0\r\n\rx"] {
            let request = format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{bad}");
            assert_eq!(fault(request.as_bytes()), Some(Fault::Body), "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let line = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(n));
        assert_eq!(fault(line(MAX_REQUEST_LINE - 20).as_bytes()), None);
        assert_eq!(fault(line(MAX_REQUEST_LINE).as_bytes()), Some(Fault::UriTooLong));
        assert_eq!(fault("a".repeat(70_000).as_bytes()), Some(Fault::UriTooLong), "no end of the line in sight");
        let field = |n: usize| format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(n));
        assert_eq!(fault(field(MAX_HEAD - 100).as_bytes()), None);
        assert_eq!(fault(field(MAX_HEAD).as_bytes()), Some(Fault::HeadersTooLarge));
        assert_eq!(fault("\r\n".repeat(MAX_HEAD).as_bytes()), Some(Fault::HeadersTooLarge), "blank lines count");
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS));
        assert_eq!(fault(many.as_bytes()), Some(Fault::HeadersTooLarge));
        let endless =
            format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{}", "1\r\na\r\n".repeat(200_000));
        assert_eq!(fault(endless.as_bytes()), Some(Fault::Body));
    }

    #[test]
    fn a_refused_head_is_withheld_before_its_end() {
        let bad = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n";
        let pipelined = [GET, bad, GET].concat();
        let (before, _) = Framing::default().feed(&pipelined).unwrap_err();
        assert_eq!(before, GET.len() + bad.len() - 1);
    }
}
