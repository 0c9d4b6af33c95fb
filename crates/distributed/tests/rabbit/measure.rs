use super::broker::{Look, Place, update};
use common::ports::{Dependency as _, UpdateQueue as _, UpdateSource as _};
use common::receipt::{Answer, Outcome};
use std::sync::Arc;
use std::time::{Duration, Instant};

async fn run(concurrency: usize, total: usize, worker: bool) {
    let (place, look) = (Place::new(), Look::new().await);
    let rabbit = place.rabbit().await;
    let queue = Arc::new(rabbit.queue());
    let other = place.rabbit().await;
    if worker {
        let source = other.source();
        tokio::spawn(async move {
            loop {
                let ds = source.receive(500, Duration::from_millis(1)).await.unwrap();
                for d in &ds {
                    let a = d.updates.iter().map(|_| Answer { outcome: Outcome::KeyReused, rank: Some(1) }).collect();
                    source.answer(d, a).await.unwrap();
                }
                source.acknowledge(&ds.iter().map(|d| d.tag).collect::<Vec<_>>()).await.unwrap();
            }
        });
    }
    let wait = if worker { Duration::from_secs(5) } else { Duration::ZERO };
    let started = Instant::now();
    let tasks: Vec<_> = (0..concurrency)
        .map(|c| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let mut lat = Vec::new();
                for n in 0..total / concurrency {
                    let u = update(c * 100_000 + n);
                    let s = Instant::now();
                    let r = queue.submit(u, wait).await.unwrap();
                    if worker {
                        assert!(matches!(r, common::ports::Submitted::Decided(_)));
                    }
                    lat.push(s.elapsed());
                }
                lat
            })
        })
        .collect();
    let mut lat = Vec::new();
    for t in tasks {
        lat.extend(t.await.unwrap());
    }
    let took = started.elapsed();
    lat.sort();
    let (m, _) = look.counts(&place.updates()).await;
    println!(
        "concurrency {concurrency} worker {worker}: {:.0}/s, {} in {m} messages left, p50 {:?} p99 {:?}",
        lat.len() as f64 / took.as_secs_f64(),
        lat.len(),
        lat[lat.len() / 2],
        lat[lat.len() * 99 / 100]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measure() {
    for c in [1, 10, 32, 100, 1000] {
        run(c, if c == 1 { 3000 } else { 50_000 }, false).await;
    }
    for c in [1, 10, 32, 100, 1000] {
        run(c, if c == 1 { 3000 } else { 50_000 }, true).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alarm() {
    let place = Place::new();
    let rabbit = place.rabbit().await;
    let queue = rabbit.queue();
    let dep = rabbit.dependency();
    let source = rabbit.source();
    for n in 0..400 {
        let s = Instant::now();
        let r = queue.submit(update(n), Duration::ZERO).await;
        let t = s.elapsed();
        let s = Instant::now();
        let c = dep.check().await;
        let tc = s.elapsed();
        let s = Instant::now();
        let got = tokio::time::timeout(Duration::from_millis(20), source.receive(100, Duration::ZERO))
            .await
            .ok()
            .map(|d| d.unwrap());
        let a = match &got {
            Some(d) => Some(source.acknowledge(&d.iter().map(|d| d.tag).collect::<Vec<_>>()).await.is_ok()),
            None => None,
        };
        println!(
            "{n} submit {:?} in {t:?}; check {c:?} in {tc:?}; got {:?} ack {a:?} in {:?}",
            r.map_err(|e| {
                use std::error::Error;
                e.source().unwrap().to_string()
            }),
            got.map(|d| d.len()),
            s.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
