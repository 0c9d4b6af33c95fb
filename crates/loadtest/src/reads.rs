//! Reads as fast as the server answers: a fixed number of connections, each with one request at a time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::http::{self, Connection};
use crate::percentiles::Durations;
use crate::target::Target;
use crate::watch::plan::us;

/// What to read.
#[derive(Clone, Debug)]
pub(crate) struct ReadPlan {
    pub(crate) target: Target,
    pub(crate) paths: Vec<String>,
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct ReadResult {
    pub(crate) answered: Durations,
    pub(crate) outcomes: BTreeMap<String, u64>,
    pub(crate) bytes: u64,
    pub(crate) elapsed: Duration,
}

impl ReadResult {
    pub(crate) fn count(&self) -> u64 {
        self.outcomes.get("200").copied().unwrap_or(0)
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.count() as f64 / self.elapsed.as_secs_f64().max(0.001)
    }
}

pub(crate) async fn run(plan: &ReadPlan) -> ReadResult {
    let began = Instant::now();
    let results = join_all((0..plan.connections.max(1)).map(|first| read(plan, first, began))).await;
    let mut all = ReadResult { elapsed: began.elapsed(), ..ReadResult::default() };
    for one in results {
        all.answered.add(&one.answered);
        all.bytes += one.bytes;
        one.outcomes.into_iter().for_each(|(code, count)| *all.outcomes.entry(code).or_default() += count);
    }
    all
}

async fn read(plan: &ReadPlan, first: usize, began: Instant) -> ReadResult {
    let requests: Vec<String> = plan.paths.iter().map(|path| http::get(&plan.target.host, path, None)).collect();
    let mut connection = Connection::new(plan.target.clone(), Duration::from_secs(10));
    let (mut result, mut ok) = (ReadResult::default(), 0);
    for request in requests.iter().cycle().skip(first % requests.len().max(1)) {
        if began.elapsed() >= plan.duration {
            break;
        }
        let started = Instant::now();
        match connection.exchange(request.as_bytes()).await {
            Ok(answer) => {
                result.answered.record(us(started.elapsed()));
                result.bytes += answer.body.len() as u64;
                // A map entry per request would cost more than the rest of it.
                if answer.status == 200 {
                    ok += 1;
                } else {
                    *result.outcomes.entry(answer.status.to_string()).or_default() += 1;
                }
            }
            Err(error) => {
                *result.outcomes.entry(error.to_string()).or_default() += 1;
                // A server that is away answers at once that it is: no busy loop against it.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    result.outcomes.insert("200".to_owned(), ok);
    result
}
