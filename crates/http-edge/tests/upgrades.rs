//! Requests for another protocol, over real sockets: the same application answers them, and what follows a `101` are the
//! bytes of its body and nothing else.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say in their names what must hold")]

use std::collections::{HashMap, HashSet};
use std::io::Error;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpResponse};
use common::error_code::{ErrorCode, Refusal};
use futures_util::stream;
use http_edge::ApiError;
use http_edge::request_scope::request_scope;
use http_edge::server::{ArrivalLimits, ServerOptions, serve};
use testkit::waiting::{SOON, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Which of the applications that were made this one is.
struct Made(usize);

fn place(made: &Made) -> String {
    format!("{:?} has application {}", std::thread::current().id(), made.0)
}

async fn plain(made: Data<Made>) -> HttpResponse {
    HttpResponse::Ok().body(place(&made))
}

/// Parts of a frame that no chunk's length may get between.
async fn upgraded(made: Data<Made>) -> HttpResponse {
    let parts = ["<", &place(&made), ">"].map(|part| Ok::<_, Error>(Bytes::from(part.to_owned())));
    HttpResponse::build(StatusCode::SWITCHING_PROTOCOLS).upgrade("websocket").streaming(stream::iter(parts))
}

async fn refused() -> Result<HttpResponse, ApiError> {
    Err(Refusal::new(ErrorCode::Unavailable, "no place is free").into())
}

/// A server with a thread for each core, and how many applications it has made.
fn server() -> (SocketAddr, &'static AtomicUsize) {
    let made: &'static AtomicUsize = Box::leak(Box::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let arrival = ArrivalLimits { head: SOON, body: SOON };
            let options = ServerOptions { drain_s: 1, write_buffer: 4096, arrival, half_closed: false, upgrades: true };
            let server = serve(listener, options, move || {
                App::new()
                    .wrap(from_fn(request_scope))
                    .data_factory(move || async move { Ok::<_, Error>(Made(made.fetch_add(1, Ordering::SeqCst))) })
                    .route("/plain", web::get().to(plain))
                    .route("/upgraded", web::get().to(upgraded))
                    .route("/refused", web::get().to(refused))
            });
            server.unwrap().await.unwrap();
        });
    });
    (address, made)
}

/// What comes until the server closes the connection.
async fn ask(address: SocketAddr, path: &str, headers: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut told = String::new();
    within(Duration::from_secs(10), "the end", stream.read_to_string(&mut told)).await.unwrap();
    let (head, body) = told.split_once("\r\n\r\n").expect("a head");
    (head.to_lowercase(), body.to_owned())
}

const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\n";

#[tokio::test]
async fn a_thread_has_one_application_whatever_its_connections_ask_for() {
    let (address, made) = server();
    let mut seen: HashMap<String, HashSet<String>> = HashMap::new();
    for _ in 0..20 {
        let (head, plain) = ask(address, "/plain", "connection: close\r\n").await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let (head, upgraded) = ask(address, "/upgraded", UPGRADE).await;
        assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"), "{head}");
        let upgraded = upgraded
            .strip_prefix('<')
            .and_then(|rest| rest.strip_suffix('>'))
            .unwrap_or_else(|| panic!("{head} {upgraded:?}"));
        for told in [&plain, upgraded] {
            let (thread, application) = told.split_once(" has ").unwrap();
            seen.entry(thread.to_owned()).or_default().insert(application.to_owned());
        }
    }
    assert!(seen.values().all(|applications| applications.len() == 1), "{seen:?}");
    assert_eq!(made.load(Ordering::SeqCst), std::thread::available_parallelism().unwrap().get(), "one for each thread");
}

#[tokio::test]
async fn a_refused_upgrade_gets_the_contracts_answer_and_the_connection_ends() {
    let (address, _) = server();
    let (head, body) = ask(address, "/refused", UPGRADE).await;
    assert!(head.starts_with("http/1.1 503") && head.contains("connection: close"), "{head}");
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json["error"]["code"], "unavailable");
    let id = json["error"]["requestId"].as_str().unwrap();
    assert!(head.contains(&format!("x-request-id: {id}")), "{head}");
}
