//! The guard in memory keeps the contract, and forgets reservations when they run out.

use std::sync::Arc;

use common::clock::Clock;
use common::ids::IdempotencyKey;
use common::ports::{AdmissionRequest, Guard, KeyClaim, KeyState, RESERVATION_MS};
use common::score_update::ContentHash;
use runtime::memory_guard::MemoryGuard;
use testkit::clock::ManualClock;
use testkit::contract::guard::Fixture;
use testkit::fixtures::{submission_id, user_id};

async fn fixture() -> Fixture {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
    Fixture { guard: Arc::new(MemoryGuard::new(clock)), server: Box::new(()) }
}

testkit::guard_contract!(fixture);

#[tokio::test]
async fn a_reservation_without_an_outcome_runs_out() {
    let clock = ManualClock::default();
    let guard = MemoryGuard::new(Arc::new(clock.clone()));
    let claim = KeyClaim {
        user: user_id(),
        key: IdempotencyKey::parse("k").unwrap(),
        content_hash: ContentHash([1; 32]),
        submission: submission_id(),
    };
    let request = AdmissionRequest { claim: Some(claim), ..AdmissionRequest::default() };
    assert_eq!(guard.admit(&request).await.key, KeyState::Free);
    clock.advance_millis(i64::try_from(RESERVATION_MS).unwrap() - 1);
    assert!(matches!(guard.admit(&request).await.key, KeyState::InFlight(_)));
    clock.advance_millis(1);
    assert_eq!(guard.admit(&request).await.key, KeyState::Free);
}
