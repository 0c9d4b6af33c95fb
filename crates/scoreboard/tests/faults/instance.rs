//! PostgreSQL, Redis and RabbitMQ of one test, which may do with them what it likes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use deadpool_redis::redis;
use parking_lot::Mutex;
use testkit::proxy::Proxy;
use testkit::waiting::eventually;

use crate::deployment::Deployment;
use crate::servers::Place;

/// Running servers, stopped when dropped.
pub(crate) struct Instance {
    dir: PathBuf,
    env: Vec<(String, String)>,
    /// Servers that were started again are children of ours.
    revived: Mutex<Vec<Child>>,
    /// What lies between the product and each server, by the setting that names it; empty where nothing does.
    proxies: Vec<(&'static str, Proxy)>,
}

/// How a server was started, to start it again in the same way.
pub(crate) struct Recipe {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: PathBuf,
    uid: u32,
    gid: u32,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/private-servers")
}

impl Instance {
    /// Starts the three, in a directory that is named for the test: what a killed run left there is stopped first.
    pub(crate) fn start(test: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.test/faults");
        std::fs::create_dir_all(&root).unwrap();
        let dir = root.canonicalize().unwrap().join(test);
        let started = Command::new(script()).arg("start").arg(&dir).arg("--ephemeral").output().unwrap();
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        let told = Command::new(script()).arg("env").arg(&dir).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        let env = told.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        let env = env.map(|(name, value)| (name.to_owned(), value.replace('\\', ""))).collect();
        Self { dir, env, revived: Mutex::default(), proxies: Vec::new() }
    }

    /// The same with a proxy before each server, for the product; the test itself looks past them.
    pub(crate) async fn behind_proxies(test: &str) -> Self {
        let mut instance = Self::start(test);
        for section in ["DATABASE", "REDIS", "AMQP"] {
            instance.proxies.push((section, Proxy::before(&instance.url(section)).await));
        }
        instance
    }

    /// All proxies.
    pub(crate) fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.proxies.iter().map(|(_, proxy)| proxy)
    }

    /// The proxy before the server that a section of the settings names.
    pub(crate) fn proxy(&self, section: &str) -> &Proxy {
        &self.proxies.iter().find(|(known, _)| *known == section).expect("behind proxies").1
    }

    fn url(&self, section: &str) -> String {
        let name = format!("SCOREBOARD__{section}__URL");
        self.env.iter().find(|(known, _)| *known == name).expect("a URL").1.clone()
    }

    /// The product as four processes on these servers.
    pub(crate) async fn four_processes(&self) -> Deployment {
        let place = Place::at(self.url("DATABASE"), self.url("REDIS"), self.url("AMQP")).await;
        let urls = [("DATABASE", &place.database_url), ("REDIS", &place.redis_url), ("AMQP", &place.amqp_url)];
        let by_proxy = self.proxies.iter().map(|(section, proxy)| {
            let (_, url) = urls.iter().find(|(known, _)| known == section).expect("a server");
            (format!("SCOREBOARD__{section}__URL"), proxy.on_the_way_to(url))
        });
        let by_proxy: Vec<_> = by_proxy.collect();
        let settings: Vec<_> = by_proxy.iter().map(|(name, url)| (name.as_str(), url.as_str())).collect();
        Deployment::four_processes_at(place, &settings).await
    }

    fn pid(&self, server: &str) -> String {
        let record = std::fs::read_to_string(self.dir.join("run").join(format!("{server}.pid"))).unwrap();
        record.split(' ').next().unwrap().to_owned()
    }

    /// A signal to a server and, for PostgreSQL, to each of its processes.
    pub(crate) fn signal(&self, server: &str, signal: &str) {
        let pid = self.pid(server);
        let mut all = vec![pid.clone()];
        if server == "postgres" {
            let children = Command::new("pgrep").args(["-P", &pid]).output().unwrap();
            all.extend(String::from_utf8(children.stdout).unwrap().lines().map(ToOwned::to_owned));
        }
        // A session of PostgreSQL may have ended meanwhile.
        Command::new("kill").arg("-s").arg(signal).args(&all).stderr(Stdio::null()).status().unwrap();
    }

    /// How a running server was started.
    pub(crate) fn recipe(&self, name: &'static str) -> Recipe {
        let proc = PathBuf::from(format!("/proc/{}", self.pid(name)));
        let read = |file: &str| std::fs::read(proc.join(file)).unwrap();
        let split = |bytes: Vec<u8>| -> Vec<OsString> {
            let parts: Vec<_> = bytes.split(|byte| *byte == 0).map(|part| OsString::from_vec(part.to_vec())).collect();
            parts[..parts.len() - 1].to_vec()
        };
        let environment = split(read("environ")).into_iter().filter_map(|pair| {
            let pair = pair.into_string().ok()?;
            let (name, value) = pair.split_once('=')?;
            Some((name.into(), value.into()))
        });
        let owner = std::fs::metadata(&proc).unwrap();
        Recipe {
            name,
            program: std::fs::read_link(proc.join("exe")).unwrap(),
            arguments: match name {
                // It writes something else over its command line.
                "redis" => {
                    let (port, dir) = (self.state("redis_port"), self.dir.join("redis").display().to_string());
                    let words =
                        ["--port", &port, "--bind", "127.0.0.1", "--dir", &dir, "--save", "", "--appendonly", "no"];
                    words.map(OsString::from).into()
                }
                _ => split(read("cmdline"))[1..].to_vec(),
            },
            environment: environment.collect(),
            directory: std::fs::read_link(proc.join("cwd")).unwrap(),
            uid: owner.uid(),
            gid: owner.gid(),
        }
    }

    /// Ends a server with a signal and waits until it is gone.
    pub(crate) async fn end(&self, server: &str, signal: &str) {
        let proc = PathBuf::from(format!("/proc/{}/status", self.pid(server)));
        self.signal(server, signal);
        eventually(Duration::from_secs(15), &format!("{server} to end"), async || {
            for child in &mut *self.revived.lock() {
                let _ = child.try_wait();
            }
            std::fs::read_to_string(&proc).map_or(true, |status| status.contains("State:\tZ"))
        })
        .await;
    }

    /// Starts a server that has ended again, on its data and its port.
    pub(crate) fn revive(&self, recipe: &Recipe) {
        let mut options = std::fs::File::options();
        let log =
            options.append(true).create(true).open(self.dir.join("log").join(format!("{}.log", recipe.name))).unwrap();
        if recipe.name == "postgres" {
            // A killed postmaster's lock names a process that may still be in the table as a zombie.
            let data = recipe.arguments.iter().position(|argument| argument == "-D").unwrap() + 1;
            let _ = std::fs::remove_file(Path::new(&recipe.arguments[data]).join("postmaster.pid"));
        }
        let mut command = Command::new(&recipe.program);
        if recipe.name == "redis" {
            // Debian's redis-server is a name of redis-check-rdb, and what it does depends on how it is called.
            command.arg0("redis-server");
        }
        command.args(&recipe.arguments).env_clear().envs(recipe.environment.iter().cloned());
        command.current_dir(&recipe.directory).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        if std::fs::metadata("/proc/self").unwrap().uid() != recipe.uid {
            command.uid(recipe.uid).gid(recipe.gid);
        }
        let child = command.spawn().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let start = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().to_owned();
        let record = self.dir.join("run").join(format!("{}.pid", recipe.name));
        std::fs::write(record, format!("{} {start}\n", child.id())).unwrap();
        self.revived.lock().push(child);
    }

    /// Waits until a server accepts connections.
    pub(crate) async fn listens(&self, port: &str) {
        let address = format!("127.0.0.1:{}", self.state(port));
        eventually(Duration::from_secs(60), &format!("{port} to listen"), async || {
            tokio::net::TcpStream::connect(&address).await.map(drop)
        })
        .await;
    }

    fn state(&self, key: &str) -> String {
        let state = std::fs::read_to_string(self.dir.join("state")).unwrap();
        state.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap().to_owned()
    }

    /// Empties Redis, behind everybody's back.
    pub(crate) async fn flush_redis(&self) {
        let client = redis::Client::open(self.url("REDIS")).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.unwrap();
    }

    /// `rabbitmqctl`.
    pub(crate) fn broker(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmqctl");
        command.env("HOME", self.dir.join("rabbitmq")).env("LANG", "C.UTF-8");
        command.env("RABBITMQ_CONF_ENV_FILE", "/dev/null").env("ERL_EPMD_PORT", self.state("epmd_port"));
        command.args(["-q", "-n", &self.state("node")]).args(arguments).output().unwrap()
    }

    /// Consumers and their prefetch on the updates, and messages that are taken and not settled.
    pub(crate) fn consuming(&self, deployment: &Deployment) -> Consuming {
        let queue = format!("{}score.updates", deployment.place.as_ref().unwrap().amqp_prefix);
        let lines = |arguments: &[&str]| -> Vec<Vec<String>> {
            let output = self.broker(arguments);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let rows = text.lines().map(|line| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>());
            rows.filter(|row| row.first() == Some(&queue)).collect()
        };
        let prefetch = lines(&["list_consumers", "queue_name", "prefetch_count"]);
        let unsettled = lines(&["list_queues", "name", "messages_unacknowledged"]);
        Consuming {
            prefetch: prefetch.into_iter().map(|row| row[1].parse().unwrap()).collect(),
            unsettled: unsettled.first().map(|row| row[1].parse().unwrap()),
        }
    }
}

/// What the broker says of the worker's end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Consuming {
    /// One for each consumer.
    pub(crate) prefetch: Vec<u32>,
    /// `None`: no such queue.
    pub(crate) unsettled: Option<u32>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        for server in ["postgres", "redis", "rabbitmq"] {
            // One that is stopped would not hear that it is to end.
            self.signal(server, "CONT");
        }
        let _ = Command::new(script()).arg("stop").arg(&self.dir).output();
        for child in &mut *self.revived.lock() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
