//! What `docs/SECURITY.md` names as its proof is there.
#![allow(missing_docs, clippy::expect_used, reason = "tests say in their names what must hold")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All Rust sources below a directory, in one text.
fn sources(directory: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(&path).expect("a source");
        }
    }
    text
}

/// Whether a path such as `http_edge::body` or `e2e::rates` leads to a module, and its last part to something there.
fn leads_somewhere(path: &str) -> bool {
    let parts: Vec<&str> = path.split("::").collect();
    let places = match parts[0] {
        "e2e" => vec![root().join("crates/scoreboard/tests/end_to_end")],
        name => ["src", "tests"].map(|kind| root().join("crates").join(name.replace('_', "-")).join(kind)).into(),
    };
    let is_module = |place: &PathBuf| place.join(format!("{}.rs", parts[1])).is_file() || place.join(parts[1]).is_dir();
    let last = parts[parts.len() - 1];
    let is_there = |place: &PathBuf| {
        let text = sources(place);
        parts.len() == 2 || ["fn ", "mod "].iter().any(|kind| text.contains(&format!("{kind}{last}")))
    };
    places.iter().any(is_module) && places.iter().any(is_there)
}

/// Whether a test of this name is written somewhere; one that ends in `*` stands for all that begin so.
fn is_written(name: &str, sources: &str) -> bool {
    match name.strip_suffix('*') {
        Some(beginning) => sources.contains(&format!("fn {beginning}")),
        None => sources.contains(&format!("fn {name}(")),
    }
}

#[test]
fn every_test_that_the_security_document_names_exists() {
    let document = fs::read_to_string(root().join("docs/SECURITY.md")).expect("the document");
    let sources = sources(&root().join("crates"));
    let mut named = 0;
    for name in document.split('`').skip(1).step_by(2) {
        let is_name =
            |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:-*".contains(c));
        if !is_name(name) {
            continue;
        }
        if name.contains("::") && !name.ends_with("::") {
            assert!(leads_somewhere(name), "{name} leads nowhere");
            named += 1;
        } else if name.matches('_').count() >= 3 {
            assert!(is_written(name, &sources), "no test is called {name}");
            named += 1;
        }
    }
    assert!(named > 30, "only {named} names were found: is the document still read right?");
    // A claim in a table names what shows it. Who has everything needs no proof.
    let rows = document
        .lines()
        .filter(|line| line.starts_with("| thief") || line.starts_with("| a ") || line.starts_with("| whoever"));
    for row in rows.filter(|row| !row.contains("secrets/auth`")) {
        let last = row.trim_end_matches('|').rsplit('|').next().expect("a column");
        assert!(last.contains('`'), "nothing shows this: {row}");
    }
}
