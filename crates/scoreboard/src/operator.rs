//! What the operator changes in the truth, also beside a running server: boards with their rules, issuer keys, and reviews of what is held.

use std::sync::Arc;

use common::clock::Clock;
use common::ports::{Accounts, Audit, BoardRules, Dependency, IssuerKeys, Reviews, StoreError, Truth};
use distributed::servers::Servers;
use embedded::SqliteStore;
use runtime::exit::{Exit, Failure, causes};
use runtime::settings::{Mode, Settings};

use crate::backends::not_opened;

/// The name that the database knows these connections by.
const PROCESS: &str = "scoreboard-operator";

/// The truth as an operator's command uses it. Nobody is kept from serving meanwhile.
pub(crate) struct Operator {
    /// What there is.
    pub(crate) truth: Arc<dyn Truth>,
    /// What changes boards.
    pub(crate) rules: Arc<dyn BoardRules>,
    /// What changes issuer keys.
    pub(crate) issuer_keys: Arc<dyn IssuerKeys>,
    /// Who has which name.
    pub(crate) accounts: Arc<dyn Accounts>,
    /// What the ledger tells.
    pub(crate) audit: Arc<dyn Audit>,
    /// What decides about actions in quarantine.
    pub(crate) reviews: Arc<dyn Reviews>,
}

impl Operator {
    /// The store that the settings choose, if it is there.
    ///
    /// # Errors
    /// [`Exit::Config`] when the settings do not fit together, [`Exit::Unavailable`] when the store is away.
    pub(crate) async fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        match settings.mode()? {
            Mode::Embedded => {
                let store = Arc::new(SqliteStore::open(&settings.data.dir).map_err(not_opened)?);
                Self::on(store).await
            }
            Mode::Distributed => Self::on(Servers::named_by(settings, PROCESS, clock)?.store).await,
        }
    }

    async fn on<S>(store: Arc<S>) -> Result<Self, Failure>
    where
        S: Truth + BoardRules + IssuerKeys + Accounts + Audit + Reviews + Dependency + 'static,
    {
        store.check().await.map_err(|cause| Failure::unavailable(store.name(), store.setting(), &cause))?;
        Ok(Self {
            truth: store.clone(),
            rules: store.clone(),
            issuer_keys: store.clone(),
            accounts: store.clone(),
            audit: store.clone(),
            reviews: store,
        })
    }
}

/// The store did not do what a command asked.
pub(crate) fn failed(error: &StoreError) -> Failure {
    Failure::new(if error.is_transient() { Exit::Unavailable } else { Exit::Refused }, causes(error))
}
