//! What is fast and may be lost, on Redis: ranks, names, marks of pending work, the guard at the gateway's door.
//!
//! All of it stands on one [`RedisLink`], and none of it is the only holder of anything: a Redis that is flushed,
//! restarted or away costs time, not truth. Keys are those of DESIGN.md, section 7, each board's and each user's in a
//! hash slot of their own. Redis must not evict keys without an expiry (`noeviction` or a `volatile-*` policy).

mod dependency;
mod guard;
mod link;
mod metrics;
mod pending_marks;
mod profiles;
mod ranks;

pub use dependency::RedisDependency;
pub use guard::RedisGuard;
pub use link::{RedisFailure, RedisLink, RedisSettings, RedisUrlError};
pub use pending_marks::RedisPendingMarks;
pub use profiles::RedisProfiles;
pub use ranks::{RebuiltRanks, RedisRanks, Swap};

/// The name of this store in errors and in `/readyz`.
const STORE: &str = "redis";

/// The setting that says where Redis is.
const SETTING: &str = "SCOREBOARD__REDIS__URL";
