//! What every [`Profiles`] must do.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use common::ports::{Accounts, Profiles};

use crate::fixtures::{players, user_id};

/// The names under test.
pub struct Fixture {
    /// They.
    pub profiles: Arc<dyn Profiles>,
    /// Where users are made.
    pub accounts: Arc<dyn Accounts>,
    /// What it stands on, dropped with it.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// A test of each case of the suite.
#[macro_export]
macro_rules! profiles_contract {
    ($fixture:path) => {
        $crate::contract_tests!(
            profiles as profiles_contract,
            $fixture,
            [nobody_asked_for_is_nobody_found, names_are_as_registered, hundreds_are_found_at_once]
        );
    };
}

/// No users, no names.
pub async fn nobody_asked_for_is_nobody_found(fixture: &Fixture) {
    assert!(fixture.profiles.usernames(&[]).await.unwrap().is_empty());
    assert!(fixture.profiles.usernames(&[user_id(), user_id()]).await.unwrap().is_empty());
}

/// Those that exist, with their case; who does not is left out; who is asked for twice is found; asking again gives the same.
pub async fn names_are_as_registered(fixture: &Fixture) {
    let made = players(&*fixture.accounts, 2).await;
    let stranger = user_id();
    for _ in 0..2 {
        let asked = [made[1].user, stranger, made[0].user, made[1].user];
        let found = fixture.profiles.usernames(&asked).await.unwrap();
        let expected: HashMap<_, _> = made.iter().map(|p| (p.user, Arc::clone(&p.username))).collect();
        assert_eq!(found, expected);
    }
}

/// As many as a screen of a large board needs, known and unknown ones mixed.
pub async fn hundreds_are_found_at_once(fixture: &Fixture) {
    let made = players(&*fixture.accounts, 30).await;
    fixture.profiles.usernames(&[made[3].user, made[7].user]).await.unwrap();
    let strangers = std::iter::repeat_with(user_id).take(400);
    let asked: Vec<_> = made.iter().map(|p| p.user).chain(strangers).collect();
    let found = fixture.profiles.usernames(&asked).await.unwrap();
    assert_eq!(found, made.into_iter().map(|p| (p.user, p.username)).collect());
}
