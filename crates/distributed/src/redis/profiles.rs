//! Usernames on Redis, in front of the store that knows them all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use common::ids::UserId;
use common::ports::{Profiles, StoreError};
use deadpool_redis::redis::Pipeline;

use super::RedisLink;
use super::link::RedisFailure;

/// How long a user's details are kept, in seconds.
const LIFETIME_S: i64 = 3_600;

/// The most users of one pipeline.
const MAX_PIPELINE_USERS: usize = 500;

const USERNAME: &str = "username";

/// Read-through: what Redis does not know is asked of the store behind and kept for an hour. Without Redis the store
/// behind answers alone.
pub struct RedisProfiles {
    link: RedisLink,
    behind: Arc<dyn Profiles>,
}

impl RedisProfiles {
    /// In front of `behind`, on a link that is shared with others.
    #[must_use]
    pub fn new(link: RedisLink, behind: Arc<dyn Profiles>) -> Self {
        Self { link, behind }
    }

    /// The names that Redis holds of `users`, and no others: nothing is asked of the store behind, and nothing is kept.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn held(&self, users: &[UserId]) -> Result<HashMap<UserId, Arc<str>>, StoreError> {
        Ok(self.known(users).await?)
    }

    async fn known(&self, users: &[UserId]) -> Result<HashMap<UserId, Arc<str>>, RedisFailure> {
        let mut known = HashMap::with_capacity(users.len());
        for chunk in users.chunks(MAX_PIPELINE_USERS) {
            let mut pipe = Pipeline::with_capacity(chunk.len());
            chunk.iter().for_each(|user| _ = pipe.hget(key(*user), USERNAME));
            let limit = self.link.settings().call_timeout;
            let names: Vec<Option<String>> = self.link.query("find_usernames", limit, &pipe).await?;
            known.extend(chunk.iter().zip(names).filter_map(|(user, name)| Some((*user, Arc::from(name?)))));
        }
        Ok(known)
    }

    async fn keep(&self, found: &HashMap<UserId, Arc<str>>) -> Result<(), RedisFailure> {
        let found: Vec<_> = found.iter().collect();
        for chunk in found.chunks(MAX_PIPELINE_USERS) {
            let mut pipe = Pipeline::with_capacity(2 * chunk.len());
            for (user, name) in chunk {
                let key = key(**user);
                pipe.hset(&key, USERNAME, &***name).ignore().expire(&key, LIFETIME_S).ignore();
            }
            self.link.query::<()>("keep_usernames", self.link.settings().call_timeout, &pipe).await?;
        }
        Ok(())
    }
}

fn key(user: UserId) -> String {
    format!("user:{{{user}}}:details")
}

#[async_trait]
impl Profiles for RedisProfiles {
    async fn usernames(&self, users: &[UserId]) -> Result<HashMap<UserId, Arc<str>>, StoreError> {
        let asked: Vec<UserId> = users.iter().copied().collect::<HashSet<_>>().into_iter().collect();
        let mut names = match self.known(&asked).await {
            Ok(known) => known,
            Err(failure) => {
                let error = runtime::exit::causes(&failure);
                tracing::debug!(error, "usernames are read from the database: redis cannot say");
                self.link.metrics().profiles_looked_up(0, asked.len());
                return self.behind.usernames(&asked).await;
            }
        };
        let missing: Vec<UserId> = asked.into_iter().filter(|user| !names.contains_key(user)).collect();
        self.link.metrics().profiles_looked_up(names.len(), missing.len());
        if !missing.is_empty() {
            let found = self.behind.usernames(&missing).await?;
            if let Err(failure) = self.keep(&found).await {
                tracing::debug!(error = runtime::exit::causes(&failure), "usernames could not be kept in redis");
            }
            names.extend(found);
        }
        Ok(names)
    }
}
