//! The product as it is deployed: everything in one process with nothing installed, the same on the real servers, and
//! four processes on them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use testkit::waiting::eventually;

use crate::client::Client;
use crate::process::{Process, binary, command, free_port};
use crate::servers::Place;

/// How long processes may take to be ready on a busy machine.
const READY: Duration = Duration::from_secs(60);

const SERVICES: [&str; 4] = ["auth", "score-worker", "realtime-fanout", "gateway"];

/// A running product.
pub(crate) struct Deployment {
    /// Its public interface.
    pub(crate) api: Client,
    /// Where screens connect.
    pub(crate) stream_url: String,
    /// Its processes, by name.
    pub(crate) processes: Vec<(String, Process)>,
    /// Its place on the servers; `None` when it has none.
    pub(crate) place: Option<Place>,
    /// Where the gateway answers gRPC.
    pub(crate) grpc_url: String,
    settings: Vec<(String, String)>,
    /// Where each process listens.
    listeners: Vec<Vec<(String, String)>>,
    admins: Vec<u16>,
    dir: TempDir,
}

/// Where a process listens.
struct Ports {
    http: u16,
    admin: u16,
    grpc: u16,
}

impl Ports {
    fn free() -> Self {
        Self { http: free_port(), admin: free_port(), grpc: free_port() }
    }

    fn settings(&self) -> [(String, String); 3] {
        [("HTTP", self.http), ("ADMIN", self.admin), ("GRPC", self.grpc)]
            .map(|(listener, port)| (format!("SCOREBOARD__{listener}__LISTEN"), format!("127.0.0.1:{port}")))
    }
}

fn owned(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Rates are for the tests of rates.
fn without_limits() -> Vec<(String, String)> {
    ["USER_UPDATES_PER_MINUTE", "ADDRESS_ANONYMOUS_PER_HOUR", "ADDRESS_PER_HOUR", "ADDRESS_READS_PER_MINUTE"]
        .map(|limit| (format!("SCOREBOARD__LIMITS__{limit}"), "0".to_owned()))
        .into()
}

fn with(mut command: Command, settings: &[(String, String)]) -> Command {
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command
}

impl Deployment {
    /// SQLite and memory, one process.
    pub(crate) async fn embedded() -> Self {
        Self::embedded_with(&[]).await
    }

    /// The same, with settings of its own.
    pub(crate) async fn embedded_with(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data").display().to_string();
        let settings = [without_limits(), owned(&[("SCOREBOARD__DATA__DIR", &data)]), owned(settings)].concat();
        Self::in_one_process(dir, settings, None).await
    }

    /// PostgreSQL, Redis and RabbitMQ, one process.
    pub(crate) async fn distributed() -> Self {
        Self::distributed_with(&[]).await
    }

    /// The same, with settings of its own.
    pub(crate) async fn distributed_with(more: &[(&str, &str)]) -> Self {
        let (dir, place, settings) = Self::on_servers(Place::new().await).await;
        Self::in_one_process(dir, [settings, owned(more)].concat(), Some(place)).await
    }

    /// One more gateway beside those that run.
    pub(crate) async fn another_gateway(&mut self, more: &[(&str, &str)]) -> Client {
        let ports = Ports::free();
        let settings = [self.settings.clone(), owned(more), ports.settings().into()].concat();
        let process = Process::start("gateway", with(command(&binary("gateway")), &settings), self.dir.path());
        self.processes.push(("gateway".to_owned(), process));
        self.admins.push(ports.admin);
        self.ready().await;
        Client::new(&format!("http://127.0.0.1:{}", ports.http))
    }

    /// PostgreSQL, Redis and RabbitMQ, a process for each service.
    pub(crate) async fn four_processes() -> Self {
        Self::four_processes_with(&[]).await
    }

    /// The same, with settings of its own.
    pub(crate) async fn four_processes_with(more: &[(&str, &str)]) -> Self {
        Self::four_processes_at(Place::new().await, more).await
    }

    /// The same, on a place of the test's own.
    pub(crate) async fn four_processes_at(place: Place, more: &[(&str, &str)]) -> Self {
        let (dir, place, settings) = Self::on_servers(place).await;
        let deployment = Self::four_processes_on(dir, place, settings, more);
        deployment.ready().await;
        deployment
    }

    /// The same, started before its database exists: not ready.
    pub(crate) async fn four_processes_too_early() -> Self {
        let (dir, place, settings) = Self::with_secrets(Place::new().await).await;
        Self::four_processes_on(dir, place, settings, &[])
    }

    fn four_processes_on(
        dir: TempDir,
        place: Place,
        mut settings: Vec<(String, String)>,
        more: &[(&str, &str)],
    ) -> Self {
        settings.extend(owned(more));
        let ports: Vec<(&str, Ports)> = SERVICES.map(|service| (service, Ports::free())).into();
        let (auth, fanout, gateway) = (ports[0].1.grpc, ports[2].1.http, ports[3].1.http);
        settings.push(("SCOREBOARD__AUTH__URL".to_owned(), format!("http://127.0.0.1:{auth}")));
        let mut processes = Vec::new();
        for (service, ports) in &ports {
            let command = with(with(command(&binary(service)), &settings), &ports.settings());
            processes.push(((*service).to_owned(), Process::start(service, command, dir.path())));
        }
        Self {
            api: Client::new(&format!("http://127.0.0.1:{gateway}")),
            stream_url: format!("ws://127.0.0.1:{fanout}/ws/scoreboard"),
            grpc_url: format!("http://127.0.0.1:{}", ports[3].1.grpc),
            admins: ports.iter().map(|(_, ports)| ports.admin).collect(),
            listeners: ports.iter().map(|(_, ports)| ports.settings().into()).collect(),
            processes,
            place: Some(place),
            settings,
            dir,
        }
    }

    /// A database with its schema, and secrets.
    async fn on_servers(place: Place) -> (TempDir, Place, Vec<(String, String)>) {
        let (dir, place, settings) = Self::with_secrets(place).await;
        place.create_database().await;
        run(with(operator(&["migrate"]), &settings));
        (dir, place, settings)
    }

    /// Secrets; the database does not exist.
    async fn with_secrets(place: Place) -> (TempDir, Place, Vec<(String, String)>) {
        let dir = tempfile::tempdir().expect("a directory");
        let secrets = dir.path().join("secrets").display().to_string();
        let settings = owned(&[
            ("SCOREBOARD__DATABASE__URL", &place.database_url),
            ("SCOREBOARD__REDIS__URL", &place.redis_url),
            ("SCOREBOARD__AMQP__URL", &place.amqp_url),
            ("SCOREBOARD__AMQP__PREFIX", &place.amqp_prefix),
            ("SCOREBOARD__SECRETS__DIR", &secrets),
        ]);
        let settings = [without_limits(), settings].concat();
        run(with(operator(&["key", "init", &secrets]), &settings));
        run(with(operator(&["key", "caller", "create", &secrets, "arena"]), &settings));
        for permission in ["score", "admin"] {
            let made = ["key", "caller", "create", &secrets, &format!("may-{permission}"), "--may", permission];
            run(with(operator(&made), &settings));
        }
        (dir, place, settings)
    }

    async fn in_one_process(dir: TempDir, settings: Vec<(String, String)>, place: Option<Place>) -> Self {
        let ports = Ports::free();
        let settings = [settings, ports.settings().into()].concat();
        let process = Process::start("scoreboard", with(operator(&["serve"]), &settings), dir.path());
        let deployment = Self {
            api: Client::new(&format!("http://127.0.0.1:{}", ports.http)),
            stream_url: format!("ws://127.0.0.1:{}/ws/scoreboard", ports.http),
            grpc_url: format!("http://127.0.0.1:{}", ports.grpc),
            admins: vec![ports.admin],
            listeners: vec![ports.settings().into()],
            processes: vec![("scoreboard".to_owned(), process)],
            place,
            settings,
            dir,
        };
        deployment.ready().await;
        deployment
    }

    /// Waits until every process takes work.
    pub(crate) async fn ready(&self) {
        let client = reqwest::Client::new();
        for ((name, process), admin) in self.processes.iter().zip(&self.admins) {
            let url = format!("http://127.0.0.1:{admin}/readyz");
            eventually(READY, &format!("{name} to be ready"), async || {
                process.must_run();
                let answer = client.get(&url).send().await.map_err(|error| error.to_string())?;
                if answer.status().is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
            })
            .await;
        }
    }

    /// What each process says at a path of its admin listener: status and body; `None` while it does not listen.
    pub(crate) async fn admin(&self, path: &str) -> Vec<Option<(u16, serde_json::Value)>> {
        let mut told = Vec::new();
        for admin in &self.admins {
            let answer = reqwest::get(format!("http://127.0.0.1:{admin}{path}")).await.ok();
            told.push(match answer {
                Some(answer) => Some((answer.status().as_u16(), answer.json().await.expect("JSON"))),
                None => None,
            });
        }
        told
    }

    /// HUP to every process that holds keys.
    pub(crate) fn hang_up(&self) {
        for (name, process) in &self.processes {
            if matches!(name.as_str(), "scoreboard" | "auth" | "gateway") {
                process.signal("HUP");
            }
        }
    }

    /// What each process tells at `/metrics`, by its name.
    pub(crate) async fn metrics(&self) -> BTreeMap<String, String> {
        let mut told = BTreeMap::new();
        for ((name, _), admin) in self.processes.iter().zip(&self.admins) {
            let answer = reqwest::get(format!("http://127.0.0.1:{admin}/metrics")).await.expect("an answer");
            told.insert(name.clone(), answer.text().await.expect("a text"));
        }
        told
    }

    /// The same of one process.
    pub(crate) async fn metrics_of(&self, name: &str) -> Option<String> {
        self.told_by(name, "/metrics").await.map(|(_, told)| told)
    }

    /// The one process of this deployment.
    pub(crate) fn process(&self) -> &Process {
        &self.processes[0].1
    }

    /// Takes a setting back; what starts from now on does not have it.
    pub(crate) fn forget(&mut self, name: &str) {
        self.settings.retain(|(known, _)| known != name);
    }

    /// Makes a setting for what starts from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Starts the one process again, on the same ports and data.
    pub(crate) async fn start_again(&mut self) {
        let command = with(operator(&["serve"]), &self.settings);
        self.processes[0].1 = Process::start("scoreboard", command, self.dir.path());
        self.ready().await;
    }

    /// A process by its name.
    pub(crate) fn named(&self, name: &str) -> &Process {
        let found = self.processes.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("no process {name}")).1
    }

    /// Starts one of four processes again, on its ports. Does not wait for it.
    pub(crate) fn start_service_again(&mut self, name: &str) {
        let at = self.processes.iter().position(|(known, _)| known == name).expect("a process of that name");
        let command = with(with(command(&binary(name)), &self.settings), &self.listeners[at]);
        self.processes[at].1 = Process::start(name, command, self.dir.path());
    }

    /// What one process says at a path of its admin listener.
    #[allow(dead_code, reason = "for the fault tests, which share this file")]
    pub(crate) async fn told_by(&self, name: &str, path: &str) -> Option<(u16, String)> {
        let at = self.processes.iter().position(|(known, _)| known == name).expect("a process of that name");
        let answer = reqwest::get(format!("http://127.0.0.1:{}{path}", self.admins[at])).await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// A command of the operator with this deployment's settings: its exit code and what it printed.
    pub(crate) fn operate(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = with(operator(arguments), &self.settings).output().expect("it starts");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Where auth answers gRPC.
    pub(crate) fn auth_url(&self) -> String {
        let set = |name: &str| self.settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let listen = || format!("http://{}", set("SCOREBOARD__GRPC__LISTEN").expect("a listener"));
        set("SCOREBOARD__AUTH__URL").unwrap_or_else(listen)
    }

    /// Where a board stands, by its public interface.
    pub(crate) async fn version(&self) -> u64 {
        let board = self.api.get("/api/v1/boards/global").await.expect(200).body;
        board["version"].as_u64().expect("a version")
    }

    /// TERM to everything, code 0 within the contract's 10 s, and the place given back.
    pub(crate) async fn stop(self) {
        for (_, process) in self.processes.iter().rev() {
            process.stop().await;
        }
        if let Some(place) = self.place {
            place.give_back().await;
        }
    }

    /// Where its secrets are.
    pub(crate) fn secrets(&self) -> PathBuf {
        self.dir.path().join(if self.place.is_some() { "secrets" } else { "data/secrets" })
    }

    /// The directory of this deployment.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

fn operator(arguments: &[&str]) -> Command {
    let mut command = command(&binary("scoreboard"));
    command.args(arguments);
    command
}

fn run(mut command: Command) {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
