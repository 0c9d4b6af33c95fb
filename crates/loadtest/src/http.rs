//! HTTP/1.1 over one kept connection, as cheaply as it can be: a costly client would take the processor away from the
//! server that it measures on the same machine.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::target::Target;

/// No answer of ours is longer, bytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// No answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("no connection")]
    Connect,
    #[error("no answer in time")]
    TimedOut,
    #[error("the connection ended")]
    Ended,
    #[error("not HTTP")]
    Malformed,
}

/// An answer; the body lives until the next exchange.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

/// A connection that is made when it is needed, and made anew after every failure.
#[derive(Debug)]
pub(crate) struct Connection {
    target: Target,
    limit: Duration,
    stream: Option<TcpStream>,
    bytes: Vec<u8>,
}

/// Where the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    length: usize,
    status: u16,
    body: usize,
    closes: bool,
}

impl Connection {
    /// Waits at most `limit` for each answer.
    pub(crate) const fn new(target: Target, limit: Duration) -> Self {
        Self { target, limit, stream: None, bytes: Vec::new() }
    }

    /// Sends a whole request and reads the whole answer.
    ///
    /// # Errors
    /// [`HttpError`]: whether the server took the request is not known then, [`HttpError::Connect`] excepted.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>, HttpError> {
        let limit = self.limit;
        let head = match timeout(limit, self.try_exchange(request)).await {
            Ok(Ok(head)) => head,
            Ok(Err(error)) => {
                self.stream = None;
                return Err(error);
            }
            Err(_) => {
                self.stream = None;
                return Err(HttpError::TimedOut);
            }
        };
        if head.closes {
            self.stream = None;
        }
        Ok(Answer { status: head.status, body: &self.bytes[head.length..head.length + head.body] })
    }

    async fn try_exchange(&mut self, request: &[u8]) -> Result<Head, HttpError> {
        // A server ends a connection that was idle for long: nothing was sent on it, so nothing is lost.
        if self.stream.as_ref().is_some_and(has_ended) {
            self.stream = None;
        }
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.target.address).await.map_err(|_| HttpError::Connect)?;
                stream.set_nodelay(true).map_err(|_| HttpError::Connect)?;
                none.insert(stream)
            }
        };
        stream.write_all(request).await.map_err(|_| HttpError::Ended)?;
        self.bytes.clear();
        let mut head = None;
        loop {
            if head.is_none() {
                head = parse_head(&self.bytes)?;
            }
            if let Some(head) = head
                && self.bytes.len() >= head.length + head.body
            {
                return Ok(head);
            }
            if self.bytes.len() > MAX_ANSWER_BYTES {
                return Err(HttpError::Malformed);
            }
            if stream.read_buf(&mut self.bytes).await.map_err(|_| HttpError::Ended)? == 0 {
                return Err(HttpError::Ended);
            }
        }
    }

    /// A GET whose answer must be 200 and JSON.
    ///
    /// # Errors
    /// In words.
    pub(crate) async fn get_json(&mut self, path: &str, bearer: Option<&str>) -> Result<serde_json::Value, String> {
        let request = get(&self.target.host, path, bearer);
        let answer = self.exchange(request.as_bytes()).await.map_err(|error| format!("GET {path}: {error}"))?;
        if answer.status != 200 {
            return Err(format!("GET {path}: {} {}", answer.status, String::from_utf8_lossy(answer.body)));
        }
        serde_json::from_slice(answer.body).map_err(|error| format!("GET {path}: {error}"))
    }

    /// A POST of JSON: status and body.
    ///
    /// # Errors
    /// [`HttpError`]
    pub(crate) async fn post_json(
        &mut self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<(u16, serde_json::Value), HttpError> {
        let request = post(&self.target.host, path, "", &body.to_string());
        let answer = self.exchange(request.as_bytes()).await?;
        Ok((answer.status, serde_json::from_slice(answer.body).unwrap_or_default()))
    }
}

/// Whether the server has ended a connection on which nothing is expected.
fn has_ended(stream: &TcpStream) -> bool {
    let nothing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    !matches!(stream.try_read(&mut [0]), Err(error) if nothing(&error))
}

/// A GET request.
pub(crate) fn get(host: &str, path: &str, bearer: Option<&str>) -> String {
    let bearer = bearer.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{bearer}\r\n")
}

/// A POST request with JSON; `headers` are whole lines.
pub(crate) fn post(host: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         {headers}\r\n{body}"
    )
}

/// The head, when it is whole. Our servers give every answer a length.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(HttpError::Malformed),
    };
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let status = response.code.ok_or(HttpError::Malformed)?;
    let body = match header("content-length") {
        Some(length) => length.parse().map_err(|_| HttpError::Malformed)?,
        None if matches!(status, 204 | 304) => 0,
        None => return Err(HttpError::Malformed),
    };
    let closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some(Head { length, status, body, closes }))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers every request on every connection with the next of `answers`, cut into pieces of three bytes.
    async fn server(answers: Vec<&'static str>) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move {
            let mut answers = answers.into_iter();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4_096];
                while stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                    let Some(answer) = answers.next() else { return };
                    if answer.is_empty() {
                        break;
                    }
                    for piece in answer.as_bytes().chunks(3) {
                        stream.write_all(piece).await.unwrap();
                        stream.flush().await.unwrap();
                    }
                }
            }
        });
        target
    }

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn answers_are_read_whole_and_the_connection_is_kept() {
        let one = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
        let target = server(vec![one, "HTTP/1.1 304 Not Modified\r\n\r\n", one]).await;
        let mut connection = Connection::new(target, LIMIT);
        assert_eq!(connection.get_json("/", None).await.unwrap()["a"], 1);
        let answer = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!((answer.status, answer.body), (304, &b""[..]));
        assert_eq!(connection.get_json("/", None).await.unwrap()["a"], 1);
    }

    #[tokio::test]
    async fn a_lost_connection_is_told_and_made_anew() {
        let target = server(vec!["", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]).await;
        let mut connection = Connection::new(target, LIMIT);
        assert_eq!(connection.exchange(b"x\r\n\r\n").await.unwrap_err(), HttpError::Ended);
        assert_eq!(connection.exchange(b"x\r\n\r\n").await.unwrap().status, 503);
    }

    #[tokio::test]
    async fn a_connection_that_ended_while_idle_loses_no_request() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let (ended, mut idle) = tokio::sync::mpsc::channel(2);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4_096]).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
                drop(stream);
                ended.send(()).await.unwrap();
            }
        });
        let mut connection = Connection::new(target, LIMIT);
        for _ in 0..2 {
            connection.get_json("/", None).await.unwrap();
            idle.recv().await.unwrap();
            let stream = connection.stream.as_ref().unwrap();
            tokio::time::timeout(LIMIT, stream.readable()).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn an_answer_without_a_length_is_not_one_of_ours() {
        let target = server(vec!["HTTP/1.1 200 OK\r\n\r\n"]).await;
        let mut connection = Connection::new(target, LIMIT);
        assert_eq!(connection.exchange(b"x\r\n\r\n").await.unwrap_err(), HttpError::Malformed);
    }
}
