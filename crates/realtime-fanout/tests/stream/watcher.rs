//! A client of the stream.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use testkit::waiting::{SOON, within};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Response};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub(crate) struct Watcher {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) subprotocol: Option<String>,
}

/// What a refused handshake was answered with.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) challenge: Option<String>,
    /// `RateLimit-Policy` and `RateLimit`.
    pub(crate) limits: [Option<String>; 2],
    pub(crate) body: Value,
}

impl Watcher {
    pub(crate) async fn open(url: &str) -> Self {
        Self::try_open(url, &[]).await.expect("the handshake is accepted")
    }

    /// With the compact protocol.
    pub(crate) async fn open_delta(url: &str) -> Self {
        let offer = [("sec-websocket-protocol", "scoreboard.v1.delta")];
        let watcher = Self::try_open(url, &offer).await.expect("the handshake is accepted");
        assert_eq!(watcher.subprotocol.as_deref(), Some("scoreboard.v1.delta"));
        watcher
    }

    pub(crate) async fn try_open(url: &str, headers: &[(&str, &str)]) -> Result<Self, Refused> {
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
        }
        match within(SOON, "the handshake", connect_async(request)).await {
            Ok((socket, response)) => {
                let subprotocol = header(&response, "sec-websocket-protocol");
                Ok(Self { socket, subprotocol })
            }
            Err(Error::Http(response)) => Err(Refused {
                status: response.status().as_u16(),
                retry_after: header(&response, "retry-after"),
                request_id: header(&response, "x-request-id"),
                challenge: header(&response, "www-authenticate"),
                limits: ["ratelimit-policy", "ratelimit"].map(|name| header(&response, name)),
                body: serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap_or_default(),
            }),
            Err(error) => panic!("no handshake at {url}: {error}"),
        }
    }

    pub(crate) async fn message(&mut self) -> Option<Message> {
        within(SOON, "a message", self.socket.next()).await.map(|message| message.expect("a whole message"))
    }

    /// The next event that is not a heartbeat.
    pub(crate) async fn event(&mut self) -> (String, Value) {
        loop {
            let (event, data) = self.any_event().await;
            if event != "heartbeat" {
                return (event, data);
            }
        }
    }

    /// The next event.
    pub(crate) async fn any_event(&mut self) -> (String, Value) {
        match self.message().await {
            Some(Message::Text(text)) => {
                let mut frame: Value = serde_json::from_str(&text).unwrap();
                (frame["event"].as_str().unwrap().to_owned(), frame["data"].take())
            }
            other => panic!("a text frame is expected, not {other:?}"),
        }
    }

    pub(crate) async fn expect(&mut self, event: &str) -> Value {
        let (name, data) = self.event().await;
        assert_eq!(name, event, "{data}");
        data
    }

    /// Takes states until one shows `version`; no version may go back.
    pub(crate) async fn state_at(&mut self, version: u64) -> Value {
        let mut last = 0;
        loop {
            let (event, data) = self.event().await;
            let Some(seen) = data["version"].as_u64() else { panic!("{event}: {data}") };
            assert!(seen >= last, "{event} went from {last} back to {seen}");
            last = seen;
            if seen >= version {
                return data;
            }
        }
    }

    /// The code of the Close frame that comes next.
    pub(crate) async fn close_code(&mut self) -> CloseCode {
        match self.message().await {
            Some(Message::Close(Some(frame))) => frame.code,
            other => panic!("a Close frame is expected, not {other:?}"),
        }
    }

    /// The server ends the connection.
    pub(crate) async fn ended(&mut self) {
        while let Some(message) = within(SOON, "the end", self.socket.next()).await {
            if message.is_err() {
                return;
            }
        }
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }
}

fn header<T>(response: &Response<T>, name: &str) -> Option<String> {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
}
