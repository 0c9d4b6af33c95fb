//! The load generator against the real all-in-one: everything that was promised is there, and every socket shows it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::waiting::eventually;

/// A binary of this workspace, in the same target directory.
fn binary(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_loadtest")).with_file_name(name);
    assert!(path.exists(), "{name} is missing: `cargo build --workspace --bins` first (./scripts/test does)");
    path
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port()
}

struct Server {
    child: Child,
    url: String,
    dir: tempfile::TempDir,
}

impl Server {
    /// The all-in-one without limits, ready.
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let [http, admin, grpc] = [free_port(), free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let mut command = Command::new(binary("scoreboard"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SCOREBOARD__")) {
            command.env_remove(name);
        }
        for limit in [
            "USER_UPDATES_PER_MINUTE",
            "ADDRESS_ANONYMOUS_PER_HOUR",
            "ADDRESS_PER_HOUR",
            "ADDRESS_READS_PER_MINUTE",
            "LOGINS_PER_ACCOUNT_PER_MINUTE",
        ] {
            command.env(format!("SCOREBOARD__LIMITS__{limit}"), "0");
        }
        command.env("SCOREBOARD__DATA__DIR", dir.path()).env("SCOREBOARD__HTTP__LISTEN", &http);
        command.env("SCOREBOARD__ADMIN__LISTEN", &admin).env("SCOREBOARD__GRPC__LISTEN", &grpc);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("scoreboard starts");
        let server = Self { child, url: format!("http://{http}"), dir };
        eventually(Duration::from_secs(20), "the server to be ready", async || status(&admin, "/readyz") == Some(200))
            .await;
        server
    }

    /// Runs the load generator; what it found.
    fn load(&self, args: &[&str]) -> Value {
        let (told, is_fine) = self.try_load(args);
        assert!(is_fine, "{told}");
        told
    }

    /// The same, and whether it was all right.
    fn try_load(&self, args: &[&str]) -> (Value, bool) {
        let players = self.dir.path().join("players.json");
        let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .args(args)
            .args(["--json", "--quiet", "--url", &self.url, "--players-file"])
            .arg(players)
            .output()
            .expect("loadtest runs");
        let (told, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}{said}")), output.status.success())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error only says that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status(address: &str, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::test]
async fn every_socket_sees_every_point_that_was_promised() {
    let server = Server::start().await;
    let pid = server.child.id().to_string();

    let updates =
        server.load(&["updates", "--users", "5", "--rate", "200", "--seconds", "1", "--keys", "--server-pid", &pid]);
    assert_eq!(updates["committed"], 200, "{updates}");
    assert_eq!(updates["promisedPoints"], updates["shownPoints"], "{updates}");
    assert!(updates["promisedPoints"].as_i64() >= Some(200), "{updates}");
    assert_eq!(updates["outcomes"]["200"], 200, "{updates}");

    let watched = server.load(&[
        "watch",
        "--sockets",
        "100",
        "--seconds",
        "1",
        "--users",
        "5",
        "--updates-per-second",
        "100",
        "--server-pid",
        &pid,
    ]);
    assert_eq!(watched["sockets"], 100, "{watched}");
    assert_eq!((&watched["violations"], &watched["behind"]), (&0.into(), &0.into()), "{watched}");
    let samples = watched["intendedToFrameMs"]["count"].as_u64();
    assert!(samples > Some(1_000), "a sample for each update and socket: {watched}");
    assert!(watched["frames"].as_u64() > Some(500), "{watched}");
    assert!(watched["cpuPerDeliveryUs"].as_f64() > Some(0.0), "{watched}");
}

#[tokio::test]
async fn points_that_a_server_does_not_grant_are_told() {
    let server = Server::start().await;
    // A board that does not exist: everything is refused, and the run says so.
    let players = server.dir.path().join("players.json");
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["updates", "--quiet", "--users", "1", "--seconds", "1", "--rate", "5", "--board", "nowhere"])
        .args(["--url", &server.url, "--players-file"])
        .arg(players)
        .output()
        .expect("loadtest runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("unknown_board") && told.contains("nothing was committed"), "{told}");
}

#[tokio::test]
async fn readers_that_stop_are_given_up_and_cost_the_others_nothing() {
    let server = Server::start().await;
    let pid = server.child.id().to_string();
    let (told, _) = server.try_load(&[
        "watch",
        "--sockets",
        "40",
        "--stalled",
        "10",
        "--seconds",
        "2",
        "--stalled-seconds",
        "15",
        "--limit",
        "50",
        "--users",
        "20",
        "--updates-per-second",
        "50",
        "--server-pid",
        &pid,
    ]);
    // How long the others' frames take says nothing on a machine that runs other tests.
    let problems: Vec<&str> = told["problems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert!(problems.iter().all(|problem| problem.starts_with("the others' p99 went")), "{told}");
    assert_eq!((&told["evicted"], &told["behind"]), (&10.into(), &0.into()), "{told}");
    assert!(told["evictedAfterMs"]["maxMs"].as_f64() < Some(15_000.0), "{told}");
    assert!(told["stalledPeakMemoryMib"].is_f64(), "{told}");
    assert_eq!(told["othersP99Ms"].as_array().map(Vec::len), Some(2), "{told}");
}
