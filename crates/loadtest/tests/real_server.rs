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

    /// A command of the operator beside the server.
    fn operate(&self, args: &[&str]) {
        let mut command = Command::new(binary("scoreboard"));
        let output = command.args(args).env("SCOREBOARD__DATA__DIR", self.dir.path()).output().expect("it starts");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs the load generator; what it found.
    fn load(&self, args: &[&str]) -> Value {
        self.try_load(args).unwrap_or_else(|told| panic!("{told}"))
    }

    /// The error is what it printed when it found a problem.
    fn try_load(&self, args: &[&str]) -> Result<Value, String> {
        let (told, said, is_fine) = self.run(args);
        if is_fine { Ok(serde_json::from_str(&told).expect("a report")) } else { Err(told + &said) }
    }

    /// What it found and what it said, and whether it was all right.
    fn run(&self, args: &[&str]) -> (String, String, bool) {
        let players = self.dir.path().join("players.json");
        let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .args(args)
            .args(["--json", "--quiet", "--url", &self.url, "--players-file"])
            .arg(players)
            .output()
            .expect("loadtest runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (text(output.stdout), text(output.stderr), output.status.success())
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
    assert_eq!((&updates["sockets"], &updates["socketsBehind"]), (&5.into(), &0.into()), "{updates}");
    assert!(updates["socketFrames"].as_u64() >= Some(10), "each saw the board move: {updates}");

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

/// Every mix ends well: nothing refused, every point there, every socket at the last rows of its board.
#[tokio::test]
async fn every_profile_ends_with_everything_accounted_for() {
    let server = Server::start().await;
    for board in ["one", "two"] {
        server.operate(&["board", "create", board]);
        let rules = ["--proof", "session", "--min", "1", "--max", "1000", "--daily-cap", "1000000"];
        server.operate(&[&["board", "action-type", "set", board, "default"], &rules[..]].concat());
    }
    let common = ["--users", "4", "--seconds", "1", "--connections", "4"];
    for (profile, more) in [
        ("write-heavy", &[][..]),
        ("read-heavy", &[]),
        ("hot-user", &[]),
        ("celebrity", &["--sockets", "40"]),
        ("many-boards", &["--board", "one", "--board", "two", "--board", "global"]),
    ] {
        // Boards that were just made are known to a running server within seconds.
        let report = eventually(Duration::from_secs(30), profile, async || {
            server.try_load(&[&["run", "--profile", profile], &common[..], more].concat())
        })
        .await;
        assert_eq!(report["promisedPoints"], report["shownPoints"], "{profile}: {report}");
        assert_eq!((&report["socketsBehind"], &report["problems"]), (&0.into(), &serde_json::json!([])), "{profile}");
        let outcomes = report["outcomes"].as_object().expect("by code");
        assert!(outcomes.len() == 1 && outcomes.contains_key("200"), "{profile}: {report}");
        assert!(report["socketFrames"].as_u64() > Some(5), "{profile}: {report}");
    }
}

/// A mix that the server does not take is no measurement of it.
#[tokio::test]
async fn a_board_that_players_cannot_move_is_told() {
    let server = Server::start().await;
    server.operate(&["board", "create", "still"]);
    let told = eventually(Duration::from_secs(30), "the board to be known", async || {
        let run = ["run", "--profile", "many-boards", "--users", "2", "--seconds", "1", "--connections", "2"];
        let told =
            server.try_load(&[&run[..], &["--board", "still", "--board", "global"]].concat()).expect_err("refused");
        if told.contains("unknown_action_type") { Ok(told) } else { Err(told) }
    })
    .await;
    assert!(told.contains("were refused"), "{told}");
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
    let (told, _, _) = server.run(&[
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
    let told: Value = serde_json::from_str(&told).expect("a report, also with problems");
    // How long the others' frames take says nothing on a machine that runs other tests.
    let problems: Vec<&str> = told["problems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert!(problems.iter().all(|problem| problem.starts_with("the others' p99 went")), "{told}");
    assert_eq!((&told["evicted"], &told["behind"]), (&10.into(), &0.into()), "{told}");
    assert!(told["evictedAfterMs"]["maxMs"].as_f64() < Some(15_000.0), "{told}");
    assert!(told["stalledPeakMemoryMib"].is_f64(), "{told}");
    assert_eq!(told["othersP99Ms"].as_array().map(Vec::len), Some(2), "{told}");
}
