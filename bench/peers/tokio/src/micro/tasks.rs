//! Tasks: that yield, that do nothing, that make a tree, that wait.
use crate::measure::{each, memory, print, Bench};
use crate::poll_fn::poll_fn;
use std::array;
use std::mem::replace;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

const YIELDS: usize = 1_000_000;
const ONES: usize = 300_000;
const MANY: usize = 1_000_000;
const GROW_WAITING: usize = 100_000;

// ---- yield ------------------------------------------------------------------------------------------------------

/// A task wakes itself and is pending. That is a turn of the scheduler; yield_now() waits for a turn of the drivers, too, and takes three times as long.
async fn wake_self() {
    let mut woken = false;
    let turn = poll_fn(|cx| {
        if replace(&mut woken, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    turn.await;
}

async fn yield_many() {
    for _ in 0..YIELDS {
        wake_self().await;
    }
}

pub fn yields(bench: &Bench) {
    bench.measure("yield_one", "ns/yield", 11, || async {
        let start = Instant::now();
        yield_many().await;
        each(start.elapsed(), YIELDS)
    });
    bench.measure("yield_two", "ns/yield", 11, || async {
        let start = Instant::now();
        let (a, b) = (tokio::spawn(yield_many()), tokio::spawn(yield_many()));
        a.await.unwrap();
        b.await.unwrap();
        each(start.elapsed(), 2 * YIELDS)
    });
}

// ---- spawn and join ---------------------------------------------------------------------------------------------

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

/// All at once: the handles in a Vec, which is cheaper than a JoinSet. The peak is the whole process's.
pub fn million(bench: &Bench) {
    bench.measure("million", "ns/task", 7, || async {
        let mut tasks = Vec::with_capacity(MANY);
        let start = Instant::now();
        for _ in 0..MANY {
            tasks.push(tokio::spawn(async {}));
        }
        for task in tasks {
            task.await.unwrap();
        }
        each(start.elapsed(), MANY)
    });
    print(&bench.per_workers("million_peak"), vec![memory("VmHWM") / (1 << 20) as f64], "MiB");
}

// ---- skynet -----------------------------------------------------------------------------------------------------

const FAN_OUT: usize = 10;
const LEAVES: u64 = 1_000_000;
const EXPECTED: u64 = 499_999_500_000;

/// A function that spawns and is not async itself needs no Box to call itself. A leaf is a future of its own: it is small.
fn node(first: u64, size: u64) -> JoinHandle<u64> {
    if size == 1 {
        return tokio::spawn(async move { first });
    }
    tokio::spawn(async move {
        let part = size / FAN_OUT as u64;
        let children: [_; FAN_OUT] = array::from_fn(|i| node(first + i as u64 * part, part));
        let mut sum = 0;
        for child in children {
            sum += child.await.unwrap();
        }
        sum
    })
}

pub fn skynet(bench: &Bench) {
    bench.measure("skynet", "ms", 9, || async {
        let start = Instant::now();
        assert_eq!(node(0, LEAVES).await.unwrap(), EXPECTED);
        start.elapsed().as_nanos() as f64 / 1e6
    });
}

// ---- the rest ---------------------------------------------------------------------------------------------------

pub fn cold(bench: &Bench) {
    let runtime = bench.runtime();
    runtime.block_on(runtime.spawn(async {})).unwrap();
}

/// Where tasks wait until all are there.
#[derive(Default)]
struct Gate {
    here: AtomicUsize,
    all_here: Notify,
    open: Notify,
}

/// notified() counts as waiting from when it is made. Whoever comes last says so.
async fn wait_at(gate: Arc<Gate>, all: usize) {
    let open = gate.open.notified();
    if gate.here.fetch_add(1, Ordering::AcqRel) + 1 == all {
        gate.all_here.notify_one();
    }
    open.await;
}

async fn grow_round(n: usize) -> f64 {
    let gate = Arc::new(Gate::default());
    let mut tasks = Vec::with_capacity(n);
    let start = Instant::now();
    for _ in 0..n {
        tasks.push(tokio::spawn(wait_at(gate.clone(), n)));
    }
    gate.all_here.notified().await;
    gate.open.notify_waiters();
    for task in tasks {
        task.await.unwrap();
    }
    each(start.elapsed(), n)
}

pub fn grow_tasks(bench: &Bench) {
    let n = bench.n.unwrap_or(GROW_WAITING);
    bench.measure("grow_tasks", "ns/task", 5, || grow_round(n));
}
