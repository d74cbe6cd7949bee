//! peer_tokio_micro - Tokio's side of the works of bench/README.md.   peer_tokio_micro WORK [WORKERS [N]]
//!
//! Tokio as its documentation teaches it: spawned tasks, JoinHandles, its own channels and timers. WORKERS is worker_threads, all drivers are on, as
//! #[tokio::main] has them, and a work runs in a spawned task, because the thread of block_on() is none of the workers. What is idiomatic in a work, and
//! why, stands with it.
mod measure;
mod tasks;

use measure::Bench;
use std::env;
use std::process::{exit, Command};

/// A work measures itself. Second: it depends on WORKERS, and without them both 1 and 2 are measured.
type Work = (fn(&Bench), bool);

fn find(name: &str) -> Option<Work> {
    Some(match name {
        "spawn_join" => (tasks::spawn_join, true),
        _ => return None,
    })
}

fn number(index: usize) -> Option<usize> {
    let n = env::args().nth(index)?.parse().expect("a positive number");
    assert!(n > 0, "a positive number");
    Some(n)
}

/// Each in a process of its own, so that neither memory nor threads of one run disturb the next.
fn both(name: &str) {
    for workers in ["1", "2"] {
        let status = Command::new("/proc/self/exe").args([name, workers]).status();
        assert!(status.expect("a process").success());
    }
}

fn main() {
    let name = env::args().nth(1).unwrap_or_default();
    let (run, per_worker) = find(&name).unwrap_or_else(|| exit(2));
    let workers = number(2);
    if workers.is_none() && per_worker {
        return both(&name);
    }
    run(&Bench { workers: workers.unwrap_or(1), n: number(3) });
}
