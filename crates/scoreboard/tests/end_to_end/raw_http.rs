//! Bytes as no HTTP library would send them.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{Answer, Client};

/// Longer than the contract's 15 s for a head or a body.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends the parts one after another and reads the last answer of the connection.
pub(crate) async fn last_answer(api: &Client, parts: &[String]) -> Answer {
    let address = api.url.split_once("://").expect("a URL").1;
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    for part in parts {
        stream.write_all(part.as_bytes()).await.expect("it reads");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut told = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut told)).await.expect("an end");
    read.expect("no reset: the answer must arrive");
    let told = String::from_utf8(told).expect("text");
    let last = told.rfind("HTTP/1.1 ").expect("an answer");
    let (head, body) = told[last..].split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
    let fields = lines.filter_map(|line| line.split_once(": "));
    let headers = fields.map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
    Answer {
        status: status.parse().expect("a number"),
        headers: headers.collect(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    }
}
