//! What every [`Guard`] must do.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use common::ids::{IdempotencyKey, UserId};
use common::ports::{Admission, AdmissionRequest, Guard, KeyClaim, KeyState, StoredAnswer};
use common::rate_limit::Quota;
use common::score_update::ContentHash;

use crate::fixtures::{session_id, submission_id, user_id};

/// The guard under test.
pub struct Fixture {
    /// It.
    pub guard: Arc<dyn Guard>,
    /// What it stands on, dropped with it.
    pub server: Box<dyn Any + Send + Sync>,
}

/// A test of each case of the suite.
#[macro_export]
macro_rules! guard_contract {
    ($fixture:path) => {
        $crate::contract_tests!(
            guard as guard_contract,
            $fixture,
            [
                ten_at_once_and_the_wait_is_honest,
                buckets_are_apart,
                no_limit_is_not_counted,
                a_key_is_reserved_once,
                a_hundred_claims_at_once_give_one_reservation,
                an_answer_is_kept_byte_for_byte,
                a_released_key_is_free,
                only_its_holder_releases_a_key,
                an_answer_is_not_released,
                the_users_rate_is_not_spent_on_repeats,
                a_refused_user_reserves_nothing,
                a_refused_address_takes_nothing_of_the_users,
                a_revoked_session_takes_nothing_of_the_users,
                a_revoked_session_is_known,
            ]
        );
    };
}

const TEN_AN_HOUR: Quota = Quota { name: "test", limit: 10, period: Duration::from_secs(3600) };
const ONE_AN_HOUR: Quota = Quota { name: "test", limit: 1, period: Duration::from_secs(3600) };

fn address() -> String {
    submission_id().to_string()
}

fn by_address(quota: Quota, key: &str) -> AdmissionRequest {
    AdmissionRequest { address: Some((quota, key.to_owned())), ..AdmissionRequest::default() }
}

fn claim(user: UserId, key: &str, content: u8) -> KeyClaim {
    KeyClaim {
        user,
        key: IdempotencyKey::parse(key).unwrap(),
        content_hash: ContentHash([content; 32]),
        submission: submission_id(),
    }
}

async fn admit_claim(fixture: &Fixture, claim: &KeyClaim) -> KeyState {
    let request = AdmissionRequest { claim: Some(claim.clone()), ..AdmissionRequest::default() };
    fixture.guard.admit(&request).await.key
}

/// The eleventh is told when it would pass.
pub async fn ten_at_once_and_the_wait_is_honest(fixture: &Fixture) {
    let request = by_address(TEN_AN_HOUR, &address());
    for left in (0..10).rev() {
        let allowance = fixture.guard.admit(&request).await.address.unwrap();
        assert!(allowance.allowed);
        assert_eq!(allowance.remaining, left);
    }
    let refused = fixture.guard.admit(&request).await.address.unwrap();
    assert!(!refused.allowed);
    // One every six minutes; a slow test has waited a part of it already.
    assert!((300..=360).contains(&refused.retry_after_s()), "{refused:?}");
}

/// Another key, another quota's name, a user: each has its own.
pub async fn buckets_are_apart(fixture: &Fixture) {
    let key = address();
    assert!(fixture.guard.admit(&by_address(ONE_AN_HOUR, &key)).await.address.unwrap().allowed);
    assert!(!fixture.guard.admit(&by_address(ONE_AN_HOUR, &key)).await.address.unwrap().allowed);
    let other_name = Quota { name: "other", ..ONE_AN_HOUR };
    assert!(fixture.guard.admit(&by_address(other_name, &key)).await.address.unwrap().allowed);
    assert!(fixture.guard.admit(&by_address(ONE_AN_HOUR, &address())).await.address.unwrap().allowed);
    let (one, two) = (user_id(), user_id());
    for (user, allowed) in [(one, true), (one, false), (two, true)] {
        let request = AdmissionRequest { user: Some((ONE_AN_HOUR, user)), ..AdmissionRequest::default() };
        assert_eq!(fixture.guard.admit(&request).await.user.unwrap().allowed, allowed);
    }
}

/// A limit of 0 is none.
pub async fn no_limit_is_not_counted(fixture: &Fixture) {
    let unlimited = Quota { limit: 0, ..ONE_AN_HOUR };
    let mut request = by_address(unlimited, &address());
    request.user = Some((unlimited, user_id()));
    for _ in 0..3 {
        assert_eq!(fixture.guard.admit(&request).await, Admission::default());
    }
}

/// The second claim hears of the first, and of what it stands for.
pub async fn a_key_is_reserved_once(fixture: &Fixture) {
    let user = user_id();
    assert_eq!(admit_claim(fixture, &claim(user, "k", 1)).await, KeyState::Free);
    assert_eq!(admit_claim(fixture, &claim(user, "k", 2)).await, KeyState::InFlight(ContentHash([1; 32])));
    assert_eq!(admit_claim(fixture, &claim(user, "other", 2)).await, KeyState::Free);
    assert_eq!(admit_claim(fixture, &claim(user_id(), "k", 2)).await, KeyState::Free, "keys are scoped to the user");
}

/// However they race.
pub async fn a_hundred_claims_at_once_give_one_reservation(fixture: &Fixture) {
    let user = user_id();
    let claims: Vec<_> = (0..100)
        .map(|_| {
            let (guard, claim) = (Arc::clone(&fixture.guard), claim(user, "k", 1));
            tokio::spawn(async move {
                let request = AdmissionRequest { claim: Some(claim), ..AdmissionRequest::default() };
                guard.admit(&request).await.key
            })
        })
        .collect();
    let mut free = 0;
    for claim in claims {
        free += usize::from(claim.await.unwrap() == KeyState::Free);
    }
    assert_eq!(free, 1);
}

/// Any bytes.
pub async fn an_answer_is_kept_byte_for_byte(fixture: &Fixture) {
    let claimed = claim(user_id(), "k", 1);
    admit_claim(fixture, &claimed).await;
    let body = b"{\"a\":\"\xc3\xa4\\u0000\"}\n\x00\xff".to_vec();
    fixture.guard.keep_answer(&claimed, &body).await;
    let expected = KeyState::Answered(StoredAnswer { content_hash: ContentHash([1; 32]), body });
    for content in [1, 2] {
        assert_eq!(admit_claim(fixture, &claim(claimed.user, "k", content)).await, expected);
    }
}

/// A refusal uses nothing up.
pub async fn a_released_key_is_free(fixture: &Fixture) {
    let claimed = claim(user_id(), "k", 1);
    admit_claim(fixture, &claimed).await;
    fixture.guard.release(&claimed).await;
    assert_eq!(admit_claim(fixture, &claim(claimed.user, "k", 2)).await, KeyState::Free);
}

/// A late release of somebody whose reservation ran out harms nobody.
pub async fn only_its_holder_releases_a_key(fixture: &Fixture) {
    let claimed = claim(user_id(), "k", 1);
    admit_claim(fixture, &claimed).await;
    fixture.guard.release(&claim(claimed.user, "k", 1)).await;
    assert_eq!(admit_claim(fixture, &claim(claimed.user, "k", 1)).await, KeyState::InFlight(ContentHash([1; 32])));
}

/// The first answer stands.
pub async fn an_answer_is_not_released(fixture: &Fixture) {
    let claimed = claim(user_id(), "k", 1);
    admit_claim(fixture, &claimed).await;
    fixture.guard.keep_answer(&claimed, b"first").await;
    fixture.guard.release(&claimed).await;
    assert!(matches!(admit_claim(fixture, &claim(claimed.user, "k", 1)).await, KeyState::Answered(_)));
}

/// Repeats of an answered or running request are free.
pub async fn the_users_rate_is_not_spent_on_repeats(fixture: &Fixture) {
    let user = user_id();
    let claimed = claim(user, "k", 1);
    let request = |claim: &KeyClaim| AdmissionRequest {
        claim: Some(claim.clone()),
        user: Some((ONE_AN_HOUR, user)),
        ..AdmissionRequest::default()
    };
    assert!(fixture.guard.admit(&request(&claimed)).await.user.unwrap().allowed);
    for _ in 0..3 {
        let repeated = fixture.guard.admit(&request(&claim(user, "k", 1))).await;
        assert_eq!(repeated.user, None);
    }
    fixture.guard.keep_answer(&claimed, b"first").await;
    assert_eq!(fixture.guard.admit(&request(&claim(user, "k", 1))).await.user, None);
}

/// So that the same key can come again when the wait is over.
pub async fn a_refused_user_reserves_nothing(fixture: &Fixture) {
    let user = user_id();
    let with = |key: &str| AdmissionRequest {
        claim: Some(claim(user, key, 1)),
        user: Some((ONE_AN_HOUR, user)),
        ..AdmissionRequest::default()
    };
    assert!(fixture.guard.admit(&with("one")).await.user.unwrap().allowed);
    assert!(!fixture.guard.admit(&with("two")).await.user.unwrap().allowed);
    assert_eq!(admit_claim(fixture, &claim(user, "two", 1)).await, KeyState::Free);
}

/// Neither an update of the user's limit nor the key: a strange address spends nothing but its own.
pub async fn a_refused_address_takes_nothing_of_the_users(fixture: &Fixture) {
    let key = address();
    assert!(fixture.guard.admit(&by_address(ONE_AN_HOUR, &key)).await.address.unwrap().allowed);
    let refused = AdmissionRequest { address: Some((ONE_AN_HOUR, key)), ..AdmissionRequest::default() };
    takes_nothing_of_the_users(fixture, refused, |admission| !admission.address.unwrap().allowed).await;
}

/// Neither an update of the user's limit nor the key: whoever stole a token that was revoked spends nothing with it.
pub async fn a_revoked_session_takes_nothing_of_the_users(fixture: &Fixture) {
    let session = session_id();
    fixture.guard.revoke(session).await;
    let refused = AdmissionRequest { session: Some(session), ..AdmissionRequest::default() };
    takes_nothing_of_the_users(fixture, refused, |admission| admission.revoked).await;
}

async fn takes_nothing_of_the_users(fixture: &Fixture, base: AdmissionRequest, refused: impl Fn(&Admission) -> bool) {
    let user = user_id();
    let with = |base: &AdmissionRequest, key: &str, quota: Quota| AdmissionRequest {
        claim: Some(claim(user, key, 1)),
        user: Some((quota, user)),
        ..base.clone()
    };
    let own = AdmissionRequest::default();
    assert_eq!(fixture.guard.admit(&with(&own, "first", TEN_AN_HOUR)).await.user.unwrap().remaining, 9);
    // With and without a key, with a key that is in flight, and more often than the user may.
    for _ in 0..12 {
        let no_key = AdmissionRequest { user: Some((TEN_AN_HOUR, user)), ..base.clone() };
        for request in [with(&base, "k", TEN_AN_HOUR), with(&base, "first", TEN_AN_HOUR), no_key] {
            let admission = fixture.guard.admit(&request).await;
            assert!(refused(&admission));
            assert_eq!((admission.key, admission.user), (KeyState::Free, None), "no more is told than was asked");
        }
    }
    let admission = fixture.guard.admit(&with(&own, "k", TEN_AN_HOUR)).await;
    assert_eq!((admission.key, admission.user.unwrap().remaining), (KeyState::Free, 8));
    assert!(
        matches!(admit_claim(fixture, &claim(user, "first", 1)).await, KeyState::InFlight(_)),
        "still its holder's"
    );
    // A bucket that was rested is rested again.
    let other = user_id();
    let rested = |base: &AdmissionRequest| AdmissionRequest { user: Some((ONE_AN_HOUR, other)), ..base.clone() };
    assert!(refused(&fixture.guard.admit(&rested(&base)).await));
    assert!(fixture.guard.admit(&rested(&own)).await.user.unwrap().allowed);
}

/// And no other.
pub async fn a_revoked_session_is_known(fixture: &Fixture) {
    let (revoked, other) = (session_id(), session_id());
    fixture.guard.revoke(revoked).await;
    for (session, expected) in [(revoked, true), (other, false)] {
        let request = AdmissionRequest { session: Some(session), ..AdmissionRequest::default() };
        assert_eq!(fixture.guard.admit(&request).await.revoked, expected);
    }
}
