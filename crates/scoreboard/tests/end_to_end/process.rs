//! A process of ours, started as an operator starts it, and gone with its handle.

use std::fs::File;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use parking_lot::Mutex;
use testkit::waiting::eventually;

/// What the contract allows from the signal to the end.
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A binary of this workspace, beside our own in the same target directory.
///
/// # Panics
/// When it was not built.
pub(crate) fn binary(name: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_BIN_EXE_scoreboard"));
    let path = own.with_file_name(name);
    assert!(
        path.exists(),
        "{} is missing: build the services first with `cargo build --workspace --bins` (./scripts/test does)",
        path.display()
    );
    path
}

/// A command without any setting of the shell that runs the tests.
pub(crate) fn command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars() {
        if name.starts_with("SCOREBOARD__") || name.starts_with("OTEL_") || name.starts_with("RUST_BACKTRACE") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// A free port below the range that the kernel gives to outgoing connections.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = rand::random_range(10_000..30_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A running process. Dropping it kills it.
pub(crate) struct Process {
    name: String,
    child: Mutex<Child>,
    log: PathBuf,
    output: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints goes to files in `dir`.
    pub(crate) fn start(name: &str, mut command: Command, dir: &Path) -> Self {
        let run = uuid::Uuid::new_v4().simple().to_string();
        let (log, output) = (dir.join(format!("{name}-{run}.log")), dir.join(format!("{name}-{run}.out")));
        let file = |path: &Path| File::create(path).expect("a file for what the process prints");
        command.stdout(file(&output)).stderr(file(&log));
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name: name.to_owned(), child: Mutex::new(child), log, output }
    }

    pub(crate) fn output(&self) -> String {
        read(&self.output)
    }

    pub(crate) fn log(&self) -> String {
        read(&self.log)
    }

    /// Fails when the process has ended: whoever waits for its answer would wait in vain.
    pub(crate) fn must_run(&self) {
        if let Some(status) = self.child.lock().try_wait().expect("a child of ours") {
            panic!("{} ended with {status}; its log:\n{}", self.name, self.log());
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.lock().id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill is there");
        assert!(sent.success(), "{} has ended already; its log:\n{}", self.name, self.log());
    }

    /// Waits for the end after a signal.
    pub(crate) async fn ended(&self) -> ExitStatus {
        let what = format!("{} to end", self.name);
        eventually(STOP_LIMIT + Duration::from_secs(2), &what, async || {
            self.child.lock().try_wait().expect("a child of ours")
        })
        .await
    }

    /// TERM, and code 0 within the contract's 10 s.
    pub(crate) async fn stop(&self) {
        let began = std::time::Instant::now();
        self.signal("TERM");
        let status = self.ended().await;
        assert_eq!(status.code(), Some(0), "{} at its stop; its log:\n{}", self.name, self.log());
        assert!(began.elapsed() <= STOP_LIMIT, "{} took {:?} to stop", self.name, began.elapsed());
    }

    /// `kill -9`.
    pub(crate) async fn kill(&self) {
        self.child.lock().kill().expect("a child of ours");
        self.ended().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error only says that it has ended.
        let _ = self.child.lock().kill();
        let _ = self.child.lock().wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(30).collect::<Vec<_>>();
            eprintln!("---- the end of the log of {}", self.name);
            tail.into_iter().rev().for_each(|line| eprintln!("{}", line.chars().take(600).collect::<String>()));
        }
    }
}

fn read(path: &Path) -> String {
    let mut text = String::new();
    File::open(path).and_then(|mut file| file.read_to_string(&mut text)).expect("what the process printed");
    text
}
