//! A client of Server-Sent Events.

use serde_json::Value;
use testkit::waiting::{SOON, within};

/// One connection.
pub(crate) struct EventSource {
    response: reqwest::Response,
    text: String,
    /// Milliseconds that the server told to wait before coming back.
    pub(crate) retry: Option<u64>,
    /// The newest `id`.
    pub(crate) last_id: Option<String>,
}

impl EventSource {
    pub(crate) async fn request(url: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        within(SOON, "the answer", request.send()).await.unwrap()
    }

    pub(crate) async fn open(url: &str, headers: &[(&str, &str)]) -> Self {
        let response = Self::request(url, headers).await;
        assert_eq!(response.status(), 200);
        Self { response, text: String::new(), retry: None, last_id: None }
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    /// The next event, as the WHATWG standard has clients read it. `None`: the stream ended.
    pub(crate) async fn event(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(event) = self.block(&block) {
                    return Some(event);
                }
            }
            let chunk = within(SOON, "an event", self.response.chunk()).await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    fn block(&mut self, block: &str) -> Option<(String, Value)> {
        let (mut event, mut data) = (None, None);
        for line in block.lines() {
            let (field, value) = line.split_once(": ").unwrap();
            match field {
                "event" => event = Some(value.to_owned()),
                "data" => data = Some(serde_json::from_str(value).unwrap()),
                "id" => self.last_id = Some(value.to_owned()),
                "retry" => self.retry = Some(value.parse().unwrap()),
                other => panic!("no such field: {other}"),
            }
        }
        event.zip(data)
    }

    /// The next event, which must be this one.
    pub(crate) async fn expect(&mut self, event: &str) -> Value {
        let (name, data) = self.event().await.expect("the stream goes on");
        assert_eq!(name, event, "{data}");
        data
    }
}
