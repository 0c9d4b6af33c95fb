//! Rate limits in this process's memory: for the embedded backend, for what is counted per node, and for a node whose
//! shared memory is away.

use std::collections::HashMap;

use common::clock::Timestamp;
use common::rate_limit::{Allowance, Quota, decide};
use parking_lot::Mutex;

/// The most buckets that are kept. When all of them are in use, new ones pass uncounted: memory is bounded, and somebody
/// with that many addresses is not stopped by counting them.
const MAX_BUCKETS: usize = 200_000;

/// GCRA buckets: theoretical arrival times, microseconds of the wall clock, by quota and key.
#[derive(Default)]
pub struct RateBuckets(Mutex<HashMap<(&'static str, String), i64>>);

impl RateBuckets {
    /// One request against a bucket. `None`: the quota limits nothing.
    pub fn take(&self, quota: Quota, key: &str, now: Timestamp) -> Option<Allowance> {
        if !quota.is_limited() {
            return None;
        }
        let now_us = now.as_millis().saturating_mul(1000);
        let mut arrivals = self.0.lock();
        if arrivals.len() >= MAX_BUCKETS {
            arrivals.retain(|_, arrival| *arrival > now_us);
        }
        let bucket = (quota.name, key.to_owned());
        let (allowance, next) = decide(quota, arrivals.get(&bucket).copied(), now_us);
        if let Some(next) = next
            && (arrivals.len() < MAX_BUCKETS || arrivals.contains_key(&bucket))
        {
            arrivals.insert(bucket, next);
        }
        Some(allowance)
    }
}
