//! The contract that every backend of the store's ports passes, on PostgreSQL.
#![allow(clippy::unwrap_used, missing_docs, reason = "the cases are documented where they are written")]

#[path = "postgres/database.rs"]
mod database;

use std::sync::Arc;

use async_trait::async_trait;
use common::board::ActionRule;
use common::ids::BoardId;
use testkit::contract;
use testkit::contract::ledger_and_truth::BoardMaker;

use database::{Database, store};

struct Boards(Arc<Database>);

#[async_trait]
impl BoardMaker for Boards {
    async fn make(&self, board: &BoardId, rules: &[ActionRule]) {
        self.0.add_board(board, rules).await;
    }
}

mod ledger_and_truth {
    use super::*;

    async fn fixture() -> contract::ledger_and_truth::Fixture {
        let (database, store) = store().await;
        let store = Arc::new(store);
        contract::ledger_and_truth::Fixture {
            ledger: Arc::clone(&store) as _,
            truth: Arc::clone(&store) as _,
            audit: Arc::clone(&store) as _,
            reviews: Arc::clone(&store) as _,
            accounts: store,
            boards: Arc::new(Boards(Arc::clone(&database))),
            guard: Box::new(database),
        }
    }

    testkit::ledger_and_truth_contract!(fixture);
}

mod accounts {
    use super::*;

    async fn fixture() -> contract::accounts::Fixture {
        let (database, store) = store().await;
        contract::accounts::Fixture { accounts: Arc::new(store), guard: Box::new(database) }
    }

    testkit::accounts_contract!(fixture);
}

mod board_rules {
    use super::*;

    async fn fixture() -> contract::board_rules::Fixture {
        let (database, store) = store().await;
        let store = Arc::new(store);
        contract::board_rules::Fixture {
            rules: Arc::clone(&store) as _,
            truth: Arc::clone(&store) as _,
            ledger: Arc::clone(&store) as _,
            accounts: store,
            guard: Box::new(database),
        }
    }

    testkit::board_rules_contract!(fixture);
}

mod issuer_keys {
    use super::*;

    async fn fixture() -> contract::issuer_keys::Fixture {
        let (database, store) = store().await;
        contract::issuer_keys::Fixture { keys: Arc::new(store), guard: Box::new(database) }
    }

    testkit::issuer_keys_contract!(fixture);
}

mod profiles {
    use super::*;

    async fn fixture() -> contract::profiles::Fixture {
        let (database, store) = store().await;
        let store = Arc::new(store);
        contract::profiles::Fixture { profiles: Arc::clone(&store) as _, accounts: store, guard: Box::new(database) }
    }

    testkit::profiles_contract!(fixture);
}

mod housekeeping {
    use super::*;

    async fn fixture() -> contract::housekeeping::Fixture {
        let (database, store) = store().await;
        let store = Arc::new(store);
        contract::housekeeping::Fixture {
            housekeeping: Arc::clone(&store) as _,
            ledger: Arc::clone(&store) as _,
            accounts: store,
            boards: Arc::new(Boards(Arc::clone(&database))),
            guard: Box::new(database),
        }
    }

    testkit::housekeeping_contract!(fixture);
}
