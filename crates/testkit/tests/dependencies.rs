//! Which crate of the workspace may know which, and which may speak to which server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// A crate, the crates of the workspace that it may depend on, and why no others.
const ALLOWED: &[(&str, &[&str], &str)] = &[
    ("common", &[], "the domain and the ports know nobody"),
    ("wire", &["common"], "it translates between the domain and what travels"),
    ("runtime", &["common"], "settings, telemetry and lifecycle serve every service and know none"),
    ("board-view", &["common"], "what a node keeps of a board is worked out from ports alone"),
    ("http-edge", &["common", "wire", "runtime"], "what every HTTP listener shares knows no service and no backend"),
    ("grpc-edge", &["wire"], "what every gRPC listener shares knows no service and no backend"),
    ("embedded", &["common", "runtime"], "a backend implements ports; it knows no service and no other backend"),
    ("distributed", &["common", "wire", "runtime"], "a backend implements ports; it knows no service"),
    (
        "gateway",
        &["common", "wire", "runtime", "board-view", "http-edge", "grpc-edge", "distributed"],
        "a service sees ports; only its main.rs chooses the backend",
    ),
    (
        "auth",
        &["common", "wire", "runtime", "http-edge", "grpc-edge", "distributed"],
        "a service sees ports; only its main.rs chooses the backend",
    ),
    (
        "score-worker",
        &["common", "runtime", "distributed"],
        "it sees the domain through ports, never what travels; only its main.rs chooses the backend",
    ),
    (
        "realtime-fanout",
        &["common", "wire", "runtime", "board-view", "http-edge", "distributed"],
        "a service sees ports; only its main.rs chooses the backend",
    ),
    (
        "scoreboard",
        &[
            "common",
            "wire",
            "runtime",
            "board-view",
            "http-edge",
            "grpc-edge",
            "embedded",
            "distributed",
            "gateway",
            "auth",
            "score-worker",
            "realtime-fanout",
        ],
        "the one place that puts everything together; tests' tools are not part of the product",
    ),
    ("loadtest", &[], "it checks the product from outside and shares no code with what it checks"),
    ("testkit", &["common"], "a contract that knew a backend would be shaped by it"),
];

/// A crate of others, and the only crates of ours that may name it.
const DRIVERS: &[(&str, &[&str], &str)] = &[
    ("tokio-postgres", &["distributed", "loadtest"], "PostgreSQL is behind the ports; floors stand on it alone"),
    ("deadpool-postgres", &["distributed"], "PostgreSQL is behind the ports"),
    ("deadpool-redis", &["distributed", "loadtest"], "Redis is behind the ports; what it holds is compared"),
    ("redis", &[], "it comes with deadpool-redis, in one version"),
    ("lapin", &["distributed", "loadtest"], "RabbitMQ is behind the ports; floors stand on it alone"),
    ("rusqlite", &["embedded", "loadtest"], "SQLite is behind the ports; large boards are filled directly"),
    ("refinery", &["distributed", "embedded"], "schemas belong to the stores"),
];

/// Crates that do I/O, keep time or roll dice: nothing that `common` may depend on.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio-util",
    "actix-web",
    "actix-http",
    "actix-ws",
    "tonic",
    "hyper",
    "reqwest",
    "mio",
    "rand",
    "config",
    "clap",
    "tracing",
    "opentelemetry",
    "futures-util",
];

/// The services that must not name a backend outside of `main.rs`.
const SERVICES: &[&str] = &["gateway", "auth", "score-worker", "realtime-fanout"];

fn workspace() -> Metadata {
    MetadataCommand::new()
        .manifest_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .expect("cargo metadata")
}

fn of_kinds(package: &Package, kinds: &[DependencyKind]) -> BTreeSet<String> {
    package.dependencies.iter().filter(|d| kinds.contains(&d.kind)).map(|d| d.name.to_string()).collect()
}

const BUILT_IN: &[DependencyKind] = &[DependencyKind::Normal, DependencyKind::Build];

#[test]
fn crates_depend_on_what_they_may_know() {
    let metadata = workspace();
    let members: BTreeMap<String, &Package> =
        metadata.workspace_packages().into_iter().map(|p| (p.name.to_string(), p)).collect();
    for (name, package) in &members {
        let Some((_, allowed, why)) = ALLOWED.iter().find(|row| row.0 == name) else {
            panic!("{name} is new: say in this table which crates it may know, and why")
        };
        for dependency in of_kinds(package, BUILT_IN) {
            let fine = !members.contains_key(&dependency) || allowed.contains(&dependency.as_str());
            assert!(fine, "{name} must not depend on {dependency}: {why}");
        }
    }
    for (name, ..) in ALLOWED {
        assert!(members.contains_key(*name), "{name} is gone: take it out of this table");
    }
}

#[test]
fn services_are_tested_without_backends() {
    // What a test of a service may use beside what the service may: the tools of tests and, for main.rs, a backend.
    for package in workspace().workspace_packages() {
        let development = of_kinds(package, &[DependencyKind::Development]);
        if package.name.as_str() == "common" {
            let inner = development.iter().find(|d| ALLOWED.iter().any(|row| row.0 == d.as_str()));
            assert!(inner.is_none(), "common is tested by itself, not with {inner:?}");
        }
        if package.name.as_str() == "testkit" {
            let inner = development.iter().find(|d| *d != "common" && ALLOWED.iter().any(|row| row.0 == d.as_str()));
            assert!(inner.is_none(), "testkit is tested by itself, not with {inner:?}");
        }
    }
}

#[test]
fn drivers_stay_in_their_backend() {
    for package in workspace().workspace_packages() {
        let kinds = [DependencyKind::Normal, DependencyKind::Build, DependencyKind::Development];
        let named = of_kinds(package, &kinds);
        for (driver, homes, why) in DRIVERS {
            // The tests of the whole may look into the servers to compare them.
            let home = homes.contains(&package.name.as_str());
            let only_in_tests = !of_kinds(package, BUILT_IN).contains(*driver) && package.name.as_str() == "scoreboard";
            assert!(
                home || only_in_tests || !named.contains(*driver),
                "{} must not name {driver}: {why}",
                package.name
            );
        }
    }
}

#[test]
fn the_domain_is_pure() {
    let metadata = workspace();
    let common = metadata.workspace_packages().into_iter().find(|p| p.name.as_str() == "common").expect("common");
    for dependency in of_kinds(common, BUILT_IN) {
        assert!(!IMPURE.contains(&dependency.as_str()), "common must not depend on {dependency}: it does no I/O");
    }
}

fn rust_files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn only_a_main_names_the_backend_of_a_service() {
    for service in SERVICES {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(service).join("src");
        let mut files = Vec::new();
        rust_files(&sources, &mut files);
        assert!(!files.is_empty(), "{service} has no sources");
        for file in files.iter().filter(|file| **file != sources.join("main.rs")) {
            let text = std::fs::read_to_string(file).expect("a source file");
            for (line, text) in text.lines().enumerate().filter(|(_, text)| !text.trim_start().starts_with("//")) {
                let named = text.contains("distributed::") || text.contains("use distributed");
                assert!(!named, "{}:{} names a backend; services see ports", file.display(), line + 1);
            }
        }
    }
}
