//! The contract of every port, held by the embedded backend.

use std::sync::Arc;

use async_trait::async_trait;
use common::board::ActionRule;
use common::ids::BoardId;
use embedded::Embedded;
use tempfile::TempDir;
use testkit::clock::ManualClock;
use testkit::contract::{
    accounts, board_rules, event_bus, housekeeping, issuer_keys, ledger_and_truth, pending_marks, profiles, queue,
    rank_index,
};
use testkit::fixtures;

/// A backend of its own for every case, with the directory that it lives in.
struct Backend {
    embedded: Embedded,
    _dir: TempDir,
}

fn backend() -> Arc<Backend> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let embedded = Embedded::open(dir.path(), Arc::new(ManualClock::default())).expect("a new backend");
    Arc::new(Backend { embedded, _dir: dir })
}

#[async_trait]
impl ledger_and_truth::BoardMaker for Backend {
    async fn make(&self, board: &BoardId, rules: &[ActionRule]) {
        let made = self.embedded.store.create_board(board, &fixtures::epoch("e1"), rules).await;
        assert!(made.expect("create_board"), "the board is new");
    }
}

async fn ledger_and_truth() -> ledger_and_truth::Fixture {
    let backend = backend();
    let store = &backend.embedded.store;
    ledger_and_truth::Fixture {
        ledger: Arc::clone(store) as _,
        truth: Arc::clone(store) as _,
        audit: Arc::clone(store) as _,
        reviews: Arc::clone(store) as _,
        accounts: Arc::clone(store) as _,
        boards: Arc::clone(&backend) as _,
        guard: Box::new(backend),
    }
}

async fn accounts() -> accounts::Fixture {
    let backend = backend();
    accounts::Fixture { accounts: Arc::clone(&backend.embedded.store) as _, guard: Box::new(backend) }
}

async fn board_rules() -> board_rules::Fixture {
    let backend = backend();
    let store = &backend.embedded.store;
    board_rules::Fixture {
        rules: Arc::clone(store) as _,
        truth: Arc::clone(store) as _,
        ledger: Arc::clone(store) as _,
        accounts: Arc::clone(store) as _,
        guard: Box::new(Arc::clone(&backend)),
    }
}

async fn housekeeping() -> housekeeping::Fixture {
    let backend = backend();
    let store = &backend.embedded.store;
    housekeeping::Fixture {
        housekeeping: Arc::clone(store) as _,
        accounts: Arc::clone(store) as _,
        ledger: Arc::clone(store) as _,
        boards: Arc::clone(&backend) as _,
        guard: Box::new(backend),
    }
}

async fn issuer_keys() -> issuer_keys::Fixture {
    let backend = backend();
    issuer_keys::Fixture { keys: Arc::clone(&backend.embedded.store) as _, guard: Box::new(backend) }
}

async fn profiles() -> profiles::Fixture {
    let backend = backend();
    let store = &backend.embedded.store;
    profiles::Fixture {
        profiles: Arc::clone(store) as _,
        accounts: Arc::clone(store) as _,
        guard: Box::new(Arc::clone(&backend)),
    }
}

async fn ranks() -> rank_index::Fixture {
    let backend = backend();
    let index = Arc::clone(&backend.embedded.ranks) as _;
    rank_index::Fixture { guard: Box::new(backend), ..rank_index::Fixture::new(index) }
}

async fn queue() -> queue::Fixture {
    let backend = backend();
    queue::Fixture {
        queue: Arc::clone(&backend.embedded.queue) as _,
        source: Arc::clone(&backend.embedded.queue) as _,
        durable: false,
        guard: Box::new(backend),
    }
}

async fn bus() -> event_bus::Fixture {
    let backend = backend();
    event_bus::Fixture {
        publisher: Arc::clone(&backend.embedded.bus) as _,
        listener: Arc::clone(&backend.embedded.bus) as _,
        more_than_is_held: 1025,
        guard: Box::new(backend),
    }
}

async fn pending_marks() -> pending_marks::Fixture {
    let backend = backend();
    pending_marks::Fixture { marks: Arc::clone(&backend.embedded.pending) as _, guard: Box::new(backend) }
}

testkit::ledger_and_truth_contract!(ledger_and_truth);
testkit::accounts_contract!(accounts);
testkit::profiles_contract!(profiles);
testkit::board_rules_contract!(board_rules);
testkit::issuer_keys_contract!(issuer_keys);
testkit::housekeeping_contract!(housekeeping);
testkit::rank_index_contract!(ranks);
testkit::queue_contract!(queue);
testkit::event_bus_contract!(bus);
testkit::pending_marks_contract!(pending_marks);
