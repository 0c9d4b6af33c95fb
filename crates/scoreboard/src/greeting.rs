//! What a server says when it is up: where everything is, and lines to paste.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use runtime::settings::{Mode, Settings};
use serde_json::{Value, json};

use crate::app::Addresses;

/// How long one look at our own server may take.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// Registers a guest, logs in and posts a token-proof update. For any POSIX shell with curl and sed; every time it is
/// pasted it is another guest.
const FIRST_UPDATE: &str = r#"U=<url>; J='Content-Type: application/json'; N=guest-$(date +%s); A="{\"username\":\"$N\",\"password\":\"pass-$$-$N\"}"; curl -s -H "$J" -d "$A" $U/api/v1/auth/register; echo; T=$(curl -s -H "$J" -d "$A" $U/api/v1/auth/login | sed 's/.*"accessToken":"\([^"]*\)".*/\1/'); curl -s -H "$J" -H "Authorization: Bearer $T" -d "{\"actionId\":\"first-$N\"}" $U/update-score; echo"#;

/// The addresses as somebody on this machine reaches them.
pub(crate) struct Greeting {
    http: SocketAddr,
    admin: SocketAddr,
    grpc: SocketAddr,
    backends: String,
}

impl Greeting {
    pub(crate) fn new(addresses: &Addresses, settings: &Settings) -> Self {
        let backends = match settings.mode() {
            Ok(Mode::Distributed) => "PostgreSQL, Redis and RabbitMQ".to_owned(),
            Ok(Mode::Embedded) | Err(_) => format!("SQLite in {}", settings.data.dir.display()),
        };
        let Addresses { http, admin, grpc } = *addresses;
        Self { http: reachable(http), admin: reachable(admin), grpc: reachable(grpc), backends }
    }

    fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Whether the server answers what a client needs first: the keys that tokens are verified with.
    pub(crate) async fn answers(&self) -> bool {
        let Ok(client) = reqwest::Client::builder().timeout(PROBE_LIMIT).build() else { return false };
        let answer = client.get(format!("{}/.well-known/jwks.json", self.url())).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    pub(crate) fn as_json(&self) -> Value {
        json!({
            "page": format!("{}/", self.url()),
            "http": self.url(),
            "stream": format!("ws://{}/ws/scoreboard", self.http),
            "admin": format!("http://{}", self.admin),
            "grpc": format!("http://{}", self.grpc),
        })
    }

    pub(crate) fn in_words(&self) -> String {
        let Self { http, admin, grpc, backends } = self;
        let url = self.url();
        let first_update = FIRST_UPDATE.replace("<url>", &url);
        format!(
            "\n  Scoreboard is up, on {backends}.\n\n\
             \x20 page and API   {url}/\n\
             \x20 stream         ws://{http}/ws/scoreboard\n\
             \x20 admin          http://{admin}  (/readyz, /metrics)\n\
             \x20 gRPC           http://{grpc}\n\n\
             Read the board:\n\n\
             curl -s {url}/api/v1/scoreboard/top\n\n\
             Register, log in and score ten points, in one line:\n\n\
             {first_update}\n\n\
             Ctrl-C stops.\n"
        )
    }
}

/// A wildcard address listens everywhere and is reached through the loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
