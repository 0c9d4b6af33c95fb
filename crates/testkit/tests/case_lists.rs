//! A case that is missing from its suite's macro would never run.

use std::path::{Path, PathBuf};

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of the contract");
    entries
        .map(|entry| entry.expect("an entry").path())
        .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
        .collect()
}

#[test]
fn every_case_of_a_contract_is_in_its_list() {
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/contract");
    let mut cases = 0;
    for file in rust_files(&contract) {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let suite = file.strip_prefix(&contract).expect("below it").iter().next().expect("a name");
        let root = contract.join(suite).with_extension("rs");
        let list = std::fs::read_to_string(&root).expect("the suite's file");
        let list = list.split_once("macro_rules!").expect("the suite's macro").1;
        for line in text.lines() {
            let Some(case) = line.strip_prefix("pub async fn ").and_then(|rest| rest.split_once("(fixture: &Fixture)"))
            else {
                continue;
            };
            cases += 1;
            let listed = |l: &str| l.split([',', '[', ']', ' ']).any(|word| word == case.0);
            assert!(list.lines().take_while(|l| *l != "}").any(listed), "{} is not run: {}", case.0, root.display());
        }
    }
    assert!(cases > 90, "only {cases} cases were found: has their form changed?");
}
