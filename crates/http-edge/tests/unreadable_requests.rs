//! What is no request gets the contract's answer, over real sockets: shape, request id, and a clean end.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say in their names what must hold")]

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use actix_web::middleware::from_fn;
use actix_web::{App, HttpRequest, HttpResponse, web};
use http_edge::ApiError;
use http_edge::body::json_object;
use http_edge::request_scope::request_scope;
use http_edge::server::{ArrivalLimits, ServerOptions, serve};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SLOW: Duration = Duration::from_millis(600);
/// The longest that a test waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

async fn body(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, ApiError> {
    json_object(&request, payload).await?;
    Ok(HttpResponse::Ok().body("taken"))
}

/// What the product's handlers do: something else is asked before and after the body is read.
async fn patient_body(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, ApiError> {
    tokio::time::sleep(Duration::from_millis(60)).await;
    let read = json_object(&request, payload).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    read?;
    Ok(HttpResponse::Ok().body("taken"))
}

async fn slow() -> HttpResponse {
    tokio::time::sleep(Duration::from_millis(100)).await;
    HttpResponse::Ok().body("slow")
}

async fn silence() -> HttpResponse {
    HttpResponse::Ok().streaming(futures_util::stream::pending::<Result<web::Bytes, std::io::Error>>())
}

fn server(head: Duration) -> SocketAddr {
    server_with(head, true)
}

fn server_with(head: Duration, half_closed: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async {
            let arrival = ArrivalLimits { head, body: head };
            let options = ServerOptions { drain_s: 1, write_buffer: 4096, arrival, half_closed, upgrades: false };
            let server = serve(listener, options, || {
                App::new()
                    .wrap(from_fn(request_scope))
                    .route("/", web::get().to(|| async { HttpResponse::Ok().body("hello") }))
                    .route("/empty", web::get().to(|| async { HttpResponse::NoContent().finish() }))
                    .route("/silence", web::get().to(silence))
                    .route("/slow", web::get().to(slow))
                    .route("/", web::post().to(body))
                    .route("/patient", web::post().to(patient_body))
            });
            server.unwrap().await.unwrap();
        });
    });
    address
}

/// Sends the parts one by one, a little apart, and reads until the end.
async fn talk(address: SocketAddr, parts: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for part in parts {
        // A server that has said its last word may not take the rest.
        if stream.write_all(part).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until_the_end(stream).await
}

async fn until_the_end(mut stream: TcpStream) -> String {
    let mut told = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut told)).await.expect("an end");
    read.expect("no reset: the answer must arrive");
    String::from_utf8(told).unwrap()
}

/// The answers of a connection: status, head and body of each.
fn answers(mut told: &str) -> Vec<(u16, String, String)> {
    let mut answers = Vec::new();
    while !told.is_empty() {
        let (head, rest) = told.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        answers.push((status, head.to_owned(), rest[..length].to_owned()));
        told = &rest[length..];
    }
    answers
}

#[track_caller]
fn is_refusal(answer: &(u16, String, String), status: u16, code: &str) {
    let (answered, head, body) = answer;
    let json: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {head}\n{body}"));
    assert_eq!((*answered, &json["error"]["code"]), (status, &Value::from(code)), "{body}");
    let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("a request id");
    assert_eq!((json["error"]["requestId"].as_str(), id.is_empty()), (Some(id), false));
    for header in ["content-type: application/json", "x-content-type-options: nosniff", "date: "] {
        assert!(head.lines().any(|line| line.starts_with(header)), "{header}: {head}");
    }
}

/// The only answer of a connection is this refusal, and the connection ends.
async fn refused(address: SocketAddr, parts: &[&[u8]], status: u16, code: &str) {
    let told = answers(&talk(address, parts).await);
    assert_eq!(told.len(), 1, "{told:?}");
    is_refusal(&told[0], status, code);
    assert!(told[0].1.contains("connection: close"), "{}", told[0].1);
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

#[actix_web::test]
async fn what_cannot_be_read_is_refused_in_the_contracts_shape() {
    let address = server(PATIENCE);
    for bad in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: x\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    ] {
        refused(address, &[bad], 400, "invalid_request").await;
        // The same on a connection that has had good requests before, in one piece and in two.
        let told = answers(&talk(address, &[GET, bad]).await);
        assert_eq!((told.len(), told[0].0), (2, 200));
        is_refusal(&told[1], 400, "invalid_request");
        let told = answers(&talk(address, &[&[GET, GET, bad].concat()]).await);
        assert_eq!((told.len(), told[1].2.as_str()), (3, "hello"));
        is_refusal(&told[2], 400, "invalid_request");
    }
}

#[actix_web::test]
async fn long_lines_and_large_heads_are_told_apart() {
    let address = server(PATIENCE);
    for length in [9_000, 70_000, 200_000] {
        let line = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(length));
        refused(address, &[line.as_bytes()], 414, "uri_too_long").await;
        let told = answers(&talk(address, &[GET, line.as_bytes(), GET]).await);
        assert_eq!(told.len(), 2, "nothing after it is answered");
        is_refusal(&told[1], 414, "uri_too_long");
    }
    for length in [33_000, 200_000] {
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(length));
        refused(address, &[head.as_bytes()], 431, "headers_too_large").await;
        let told = answers(&talk(address, &[&[GET, head.as_bytes()].concat()]).await);
        is_refusal(&told[1], 431, "headers_too_large");
    }
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
    refused(address, &[many.as_bytes()], 431, "headers_too_large").await;
    let large = format!("GET /{} HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(7_000), "a".repeat(24_000));
    let told = answers(&talk(address, &[large.as_bytes(), b"\0"]).await);
    assert_eq!(told[0].0, 404, "within the limits: {}", told[0].1);
}

#[actix_web::test]
async fn bad_chunks_are_the_handlers_to_refuse_once() {
    let address = server(PATIENCE);
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    for bad in ["xyz\r\n", "2\r\n{}x\r\n", "ffffffffffffffffff\r\n", "\r\n"] {
        for parts in [&[head, bad][..], &[&format!("{head}{bad}")]] {
            let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
            let told = answers(&talk(address, &parts).await);
            assert_eq!(told.len(), 1, "{told:?}");
            is_refusal(&told[0], 400, "invalid_request");
        }
    }
    // Good ones are taken, and the connection goes on.
    let good = format!("{head}2\r\n{{}}\r\n0\r\n\r\n");
    let told = answers(&talk(address, &[good.as_bytes(), GET, b"\0"]).await);
    assert_eq!(told.iter().map(|told| told.0).collect::<Vec<_>>(), [200, 200, 400]);
}

/// Where streams are served nobody is kept who has left; but who sent nonsense has not left, and is told so also by a
/// handler that was waiting for something else at that moment.
#[actix_web::test]
async fn a_spoilt_body_is_refused_also_where_who_leaves_is_let_go() {
    for half_closed in [true, false] {
        let address = server_with(PATIENCE, half_closed);
        for path in ["/", "/patient"] {
            let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
            let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
            for bad in ["xyz\r\n", "2\r\n{}x\r\n", "2\r\n{}\r\nffffffffffffffffff\r\n"] {
                for parts in [vec![chunked.clone(), bad.to_owned()], vec![format!("{chunked}{bad}")]] {
                    let parts: Vec<_> = parts.iter().map(String::as_bytes).collect();
                    let told = answers(&talk(address, &parts).await);
                    assert_eq!(told.len(), 1, "{half_closed} {path} {bad:?}: {told:?}");
                    is_refusal(&told[0], 400, "invalid_request");
                }
            }
            // One that stops sending before the end of its body.
            let announced = format!("{head}Content-Length: 100\r\n\r\n{{");
            for early in [announced, format!("{chunked}5\r\n{{")] {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(early.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                let told = answers(&until_the_end(stream).await);
                assert_eq!(told.len(), 1, "{half_closed} {path} {early:?}: {told:?}");
                is_refusal(&told[0], 400, "invalid_request");
            }
        }
    }
}

/// A stream that says nothing does not keep who has left; one that only stopped sending still gets its answer.
#[actix_web::test]
async fn who_has_left_a_stream_is_let_go() {
    let address = server_with(PATIENCE, false);
    for (path, expected) in [("/slow", "slow"), ("/silence", "")] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let told = until_the_end(stream).await;
        assert!(told.starts_with("HTTP/1.1 200 ") && told.ends_with(&format!("\r\n\r\n{expected}")), "{told}");
    }
}

#[actix_web::test]
async fn a_slow_head_is_ended_on_every_request_of_a_connection() {
    let address = server(SLOW);
    let part = &b"GET / HTTP/1.1\r\nHo"[..];
    for (before, parts) in [
        (0, vec![part]),
        (0, vec![]),
        (1, vec![GET, part]),
        (1, vec![&[GET, part].concat()[..]]),
        (3, vec![GET, GET, GET, b"\r\n"]),
        (1, vec![b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET"]),
        (1, vec![b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\nGET"]),
    ] {
        let began = Instant::now();
        let told = answers(&talk(address, &parts).await);
        assert_eq!(told.len(), before + 1, "{told:?}");
        assert!(told[..before].iter().all(|answer| answer.0 < 300), "{told:?}");
        is_refusal(&told[before], 408, "request_timeout");
        assert!((SLOW..SLOW * 5).contains(&began.elapsed()), "{:?}", began.elapsed());
    }
    // One that goes on sending a little all the time gains nothing.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(GET).await.unwrap();
    let began = Instant::now();
    for byte in b"GET / HTTP/1.1\r\nHost: x\r\nA: ".iter().cycle() {
        if stream.write_all(&[*byte]).await.is_err() || began.elapsed() > SLOW * 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let told = answers(&until_the_end(stream).await);
    is_refusal(&told[1], 408, "request_timeout");
}

#[actix_web::test]
async fn a_body_that_nobody_reads_holds_no_connection() {
    let address = server(SLOW);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    let began = Instant::now();
    while stream.write_all(b"1\r\na\r\n").await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "still read after {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[actix_web::test]
async fn what_a_handler_answers_without_a_body_passes_untouched() {
    let address = server(PATIENCE);
    let empty = b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n";
    let head = b"HEAD / HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\nConnection: close\r\n\r\n";
    let told = talk(address, &[&[&empty[..], head].concat()]).await;
    assert!(told.starts_with("HTTP/1.1 204 "), "{told}");
    assert!(told.contains("HTTP/1.1 404 ") && told.contains("x-request-id: mine"), "{told}");
}
