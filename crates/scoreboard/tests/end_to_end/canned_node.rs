//! A node that shows the same for ever, whatever happens.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// It ends when this is dropped.
pub(crate) struct CannedNode {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl CannedNode {
    /// Shows `top` with its `ETag`, and a stream that begins with `snapshot`.
    pub(crate) async fn start(etag: &str, top: &Value, snapshot: &Value) -> Self {
        let headers = format!("ETag: {etag}\r\nContent-Type: application/json\r\n");
        Self::serve(Some(answer("200 OK", &headers, &top.to_string())), snapshot).await
    }

    /// Shows the stream alone.
    pub(crate) async fn stream_only(snapshot: &Value) -> Self {
        Self::serve(None, snapshot).await
    }

    async fn serve(top: Option<String>, snapshot: &Value) -> Self {
        let events = format!("retry: 2000\n\nevent: scoreboard:snapshot\nid: x\ndata: {snapshot}\n\n");
        let stream = answer("200 OK", "Content-Type: text/event-stream\r\n", &events);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                // One after the other: who asks is one command.
                let _ = respond(connection, top.as_deref(), &stream).await;
            }
        });
        Self { url, task }
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

async fn respond(mut connection: TcpStream, top: Option<&str>, stream: &str) -> std::io::Result<()> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4_096]);
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        let length = connection.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..length]);
    }
    let path = String::from_utf8_lossy(&request).split_whitespace().nth(1).unwrap_or_default().to_owned();
    let not_found = answer("404 Not Found", "", r#"{"error":{"code":"not_found","message":"","requestId":""}}"#);
    let told = match (path.split('?').next(), top) {
        (Some("/api/v1/scoreboard/top"), Some(top)) => top,
        (Some("/api/v1/scoreboard/stream"), _) => stream,
        _ => &not_found,
    };
    connection.write_all(told.as_bytes()).await?;
    connection.shutdown().await
}

impl Drop for CannedNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}
