//! Usernames in front of a store that counts what it is asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use common::account::{
    Account, NewAccount, NewSession, OpenSession, PasswordChange, RefreshRotation, Revocation, Rotated,
};
use common::clock::Timestamp;
use common::ids::{SessionId, UserId};
use common::ports::{AccountCreated, Accounts, Profiles, StoreError};
use distributed::redis::RedisProfiles;
use parking_lot::Mutex;
use testkit::fixtures::{players, user_id};

use crate::server::{PrivateServer, ask, operator, shared_link, shared_url};

/// The store behind.
#[derive(Default)]
pub(crate) struct Names {
    names: Mutex<HashMap<UserId, Arc<str>>>,
    asked_for: AtomicUsize,
}

impl Names {
    /// How many users it was asked for since the last time.
    fn asked_for(&self) -> usize {
        self.asked_for.swap(0, Ordering::SeqCst)
    }
}

#[async_trait]
impl Profiles for Names {
    async fn usernames(&self, users: &[UserId]) -> Result<HashMap<UserId, Arc<str>>, StoreError> {
        self.asked_for.fetch_add(users.len(), Ordering::SeqCst);
        let names = self.names.lock();
        Ok(users.iter().filter_map(|user| Some((*user, names.get(user)?.clone()))).collect())
    }
}

/// Only what makes users; the rest belongs to suites of real stores.
#[async_trait]
impl Accounts for Names {
    async fn create(&self, account: NewAccount) -> Result<AccountCreated, StoreError> {
        self.names.lock().insert(account.user, Arc::from(account.username.as_str()));
        Ok(AccountCreated::Created)
    }

    async fn find(&self, _: &str) -> Result<Option<Account>, StoreError> {
        unimplemented!("not asked for here")
    }

    async fn open_session(&self, _: NewSession) -> Result<bool, StoreError> {
        unimplemented!("not asked for here")
    }

    async fn rotate(&self, _: RefreshRotation) -> Result<Rotated, StoreError> {
        unimplemented!("not asked for here")
    }

    async fn revoke(&self, _: SessionId, _: Timestamp) -> Result<bool, StoreError> {
        unimplemented!("not asked for here")
    }

    async fn revocations(&self, _: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        unimplemented!("not asked for here")
    }

    async fn change_password(&self, _: PasswordChange) -> Result<Option<Vec<SessionId>>, StoreError> {
        unimplemented!("not asked for here")
    }

    async fn revoke_all(&self, _: UserId, _: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        unimplemented!("not asked for here")
    }

    async fn sessions(&self, _: UserId, _: Timestamp) -> Result<Vec<OpenSession>, StoreError> {
        unimplemented!("not asked for here")
    }

    async fn username(&self, user: UserId) -> Result<Option<String>, StoreError> {
        Ok(self.names.lock().get(&user).map(|name| name.to_string()))
    }
}

#[tokio::test]
async fn a_name_is_read_from_behind_once_and_kept_for_an_hour() {
    let names = Arc::new(Names::default());
    let cached = RedisProfiles::new(shared_link(), names.clone());
    let [player, other] = &players(&*names, 2).await[..] else { panic!("two") };
    let expected = HashMap::from([(player.user, player.username.clone())]);
    for behind in [1, 0, 0] {
        assert_eq!(cached.usernames(&[player.user, player.user]).await.unwrap(), expected);
        assert_eq!(names.asked_for(), behind);
    }
    let mut redis = operator(&shared_url()).await;
    let key = format!("user:{{{}}}:details", player.user);
    let (name, ttl): (String, i64) =
        (ask(&mut redis, &format!("HGET {key} username")).await, ask(&mut redis, &format!("TTL {key}")).await);
    assert_eq!(name, *player.username);
    assert!((3_590..=3_600).contains(&ttl), "{ttl} s");
    // Only what is missing is asked for; who does not exist is asked for each time.
    for behind in [2, 1] {
        let found = cached.usernames(&[player.user, other.user, user_id()]).await.unwrap();
        assert_eq!((found.len(), names.asked_for()), (2, behind));
    }
}

#[tokio::test]
async fn without_redis_the_store_behind_answers_alone() {
    let mut server = PrivateServer::start().await;
    let names = Arc::new(Names::default());
    let cached = RedisProfiles::new(server.impatient_link(), names.clone());
    let player = players(&*names, 1).await.remove(0);
    let expected = HashMap::from([(player.user, player.username.clone())]);
    assert_eq!(cached.usernames(&[player.user]).await.unwrap(), expected);
    server.freeze();
    assert_eq!(cached.usernames(&[player.user]).await.unwrap(), expected);
    server.kill();
    assert_eq!(cached.usernames(&[player.user]).await.unwrap(), expected);
    assert_eq!(names.asked_for(), 3);
}
