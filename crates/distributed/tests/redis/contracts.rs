//! The suites of `testkit`, on the shared Redis.

use std::sync::Arc;

use distributed::redis::{RedisGuard, RedisPendingMarks, RedisProfiles, RedisRanks};
use testkit::clock::ManualClock;
use testkit::contract::{guard, pending_marks, profiles, rank_index};

use crate::names::Names;
use crate::server::shared_link;

async fn ranks() -> rank_index::Fixture {
    rank_index::Fixture::new(Arc::new(RedisRanks::new(shared_link())))
}

async fn names() -> profiles::Fixture {
    let names = Arc::new(Names::default());
    let cached = RedisProfiles::new(shared_link(), names.clone());
    profiles::Fixture { profiles: Arc::new(cached), accounts: names, guard: Box::new(()) }
}

async fn marks() -> pending_marks::Fixture {
    pending_marks::Fixture { marks: Arc::new(RedisPendingMarks::new(shared_link())), guard: Box::new(()) }
}

async fn door() -> guard::Fixture {
    let clock = Arc::new(ManualClock::default());
    guard::Fixture { guard: Arc::new(RedisGuard::new(shared_link(), clock)), server: Box::new(()) }
}

testkit::guard_contract!(door);
testkit::rank_index_contract!(ranks);
testkit::profiles_contract!(names);
testkit::pending_marks_contract!(marks);
