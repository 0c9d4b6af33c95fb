//! The suites against the simplest backend there can be: whoever fails a case can be sure that it can be passed.

#[path = "reference/ledger.rs"]
mod ledger;
#[path = "reference/ranks.rs"]
mod ranks;

use std::sync::Arc;

use testkit::contract;

async fn ledger_fixture() -> contract::ledger_and_truth::Fixture {
    let store = Arc::new(ledger::MemoryLedger::default());
    contract::ledger_and_truth::Fixture {
        ledger: store.clone(),
        truth: store.clone(),
        audit: store.clone(),
        reviews: store.clone(),
        accounts: store.clone(),
        boards: store,
        guard: Box::new(()),
    }
}

async fn rank_fixture() -> contract::rank_index::Fixture {
    contract::rank_index::Fixture::new(Arc::new(ranks::MemoryRanks::default()))
}

async fn profile_fixture() -> contract::profiles::Fixture {
    let store = Arc::new(ledger::MemoryLedger::default());
    contract::profiles::Fixture { profiles: store.clone(), accounts: store, guard: Box::new(()) }
}

testkit::ledger_and_truth_contract!(ledger_fixture);
testkit::rank_index_contract!(rank_fixture);
testkit::profiles_contract!(profile_fixture);
