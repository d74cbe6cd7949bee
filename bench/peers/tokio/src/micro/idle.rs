//! What a task that sleeps takes.
use crate::measure::{memory, print, rounds, Bench};
use std::future::Future;
use std::pin::Pin;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{sleep, Sleep};

const COUNT: usize = 100_000;
const WARM_UP: usize = 200;
const HOUR: Duration = Duration::from_secs(3600);

static STARTED: AtomicUsize = AtomicUsize::new(0);

/// A sleep that counts how many began. An async block around it would take 128 bytes more.
struct Sleeper(Sleep);

impl Future for Sleeper {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context) -> Poll<()> {
        STARTED.fetch_add(1, Ordering::Relaxed);
        // Safe: it is pinned where this is, and nothing takes it out.
        unsafe { self.map_unchecked_mut(|s| &mut s.0) }.poll(cx)
    }
}

/// Start so many more and wait until all are asleep.
async fn fill(n: usize) {
    let all = STARTED.load(Ordering::Relaxed) + n;
    for _ in 0..n {
        tokio::spawn(Sleeper(sleep(HOUR)));
    }
    while STARTED.load(Ordering::Relaxed) < all {
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_millis(20)).await; // the last to count itself still has to fall asleep
}

async fn bytes(n: usize) -> f64 {
    fill(WARM_UP).await;
    let before = memory("VmRSS");
    fill(n).await;
    (memory("VmRSS") - before) / n as f64
}

/// A round of idle, in a process of its own, as what one round freed would make the next look free.
pub fn idle_one(bench: &Bench) {
    let runtime = bench.runtime();
    let n = bench.n.unwrap_or(COUNT);
    println!("{}", runtime.block_on(runtime.spawn(bytes(n))).unwrap());
}

fn one_process(workers: usize, n: usize) -> f64 {
    let args = ["idle_one".to_string(), workers.to_string(), n.to_string()];
    let out = Command::new("/proc/self/exe").args(args).output().expect("a process");
    assert!(out.status.success());
    String::from_utf8_lossy(&out.stdout).trim().parse().expect("its value")
}

pub fn idle(bench: &Bench) {
    let values = (0..rounds(3)).map(|_| one_process(bench.workers, bench.n.unwrap_or(COUNT))).collect();
    print("idle_task", values, "bytes");
}
