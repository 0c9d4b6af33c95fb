//! What services ask of the world. Each port is a trait with one implementation per backend; `testkit` holds
//! the contract that every implementation passes.
//!
//! `Ok(None)` means absent; errors are [`StoreError`] and [`QueueError`], typed by what the caller can do.

mod accounts;
mod audit;
mod authority;
mod board_rules;
mod dead_letters;
mod events;
mod guard;
mod health;
mod housekeeping;
mod issuer_keys;

mod queue;
mod ranks;
mod reviews;
mod truth;

pub use accounts::{AccountCreated, Accounts, SESSIONS_LISTED};
pub use audit::{AUDIT_LIMIT, Audit, AuditQuery, AuditRow, Deviation};
pub use authority::{Authority, VerificationKey};
pub use board_rules::BoardRules;
pub use dead_letters::{DeadContent, DeadLetter, DeadLetters};
pub use events::{Event, EventBus, EventStream, Signal};
pub use guard::{ANSWER_KEPT_S, Admission, AdmissionRequest, Guard, KeyClaim, KeyState, RESERVATION_MS, StoredAnswer};
pub use health::Dependency;
pub use housekeeping::Housekeeping;
pub use issuer_keys::{IssuerKey, IssuerKeys, ListedIssuerKey, NewIssuerKey};

pub use queue::{Delivery, DeliveryTag, PendingMarks, QueueError, SubmitError, Submitted, UpdateQueue, UpdateSource};
pub use ranks::{FillStart, FillStep, IndexState, Projected, RankIndex, ScoresAt};
pub use reviews::{HeldAction, ReviewOrder, Reviewed, Reviews};
pub use truth::{AppliedBatch, BoardDigest, Gain, Ledger, Profiles, RowPage, StoreError, Truth};

/// The cause of a failure, kept for the log.
pub type Source = Box<dyn std::error::Error + Send + Sync + 'static>;
