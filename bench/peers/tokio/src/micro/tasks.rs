//! Tasks that do nothing.
use crate::measure::{each, Bench};
use std::time::Instant;

const ONES: usize = 300_000;

/// One by one.
pub fn spawn_join(bench: &Bench) {
    bench.measure("spawn_join", "ns/task", 11, || async {
        let start = Instant::now();
        for _ in 0..ONES {
            tokio::spawn(async {}).await.unwrap();
        }
        each(start.elapsed(), ONES)
    });
}
