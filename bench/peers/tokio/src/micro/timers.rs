//! Timers: tokio::time::Sleep, all of them in ONE task, which polls them itself.
//!
//! That is the least that Tokio can do with a timer: no task for each, no Box for each, no set of futures between. They lie side by side and are polled
//! where they lie; starting one is making it and polling it once, cancelling is dropping it. For the rest the task polls the next that is due: all have its
//! waker, so that whichever fires wakes it.
use crate::measure::{cpu_time, each, measure, print, rounds, Bench};
use crate::poll_fn::poll_fn;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::unconstrained;
use tokio::time::{sleep, sleep_until, Instant, Sleep};

const COUNT: usize = 1_000_000;
const KEPT: usize = COUNT / 10;
const LEAD_MS: u64 = 2000;
const SPREAD_MS: u64 = 2000;
const SEED: u64 = 88172645463325252;
const TRIES: usize = 5;
const GROW_STANDING: usize = 100_000;
const GROW_TURNS: usize = 100_000;
const HOUR: Duration = Duration::from_secs(3600);

// ---- places for sleeps ------------------------------------------------------------------------------------------

struct Places(Box<[Option<Sleep>]>);

impl Places {
    fn new(n: usize) -> Places {
        Places((0..n).map(|_| None).collect())
    }

    fn at(&mut self, i: usize) -> Pin<&mut Option<Sleep>> {
        // Safe: nothing takes a Sleep out of its place, and the places never move.
        unsafe { Pin::new_unchecked(&mut self.0[i]) }
    }

    fn poll(&mut self, i: usize, cx: &mut Context) -> Poll<()> {
        self.at(i).as_pin_mut().expect("a timer").poll(cx)
    }

    /// None: it is due already.
    fn start(&mut self, i: usize, deadline: Instant, cx: &mut Context) -> Option<()> {
        self.at(i).set(Some(sleep_until(deadline)));
        self.poll(i, cx).is_pending().then_some(())
    }

    fn cancel(&mut self, i: usize) {
        self.at(i).set(None);
    }
}

// ---- the plan ---------------------------------------------------------------------------------------------------

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn delay(&mut self) -> Duration {
        Duration::from_millis(LEAD_MS + self.below(SPREAD_MS))
    }
}

/// The last KEPT of the order stay; they are sorted by delay.
struct Plan {
    delays: Vec<Duration>,
    order: Vec<usize>,
}

fn plan(random: &mut Random) -> Plan {
    let delays: Vec<Duration> = (0..COUNT).map(|_| random.delay()).collect();
    let mut order: Vec<usize> = (0..COUNT).collect();
    for i in (1..COUNT).rev() {
        order.swap(i, random.below(i as u64 + 1) as usize);
    }
    order[COUNT - KEPT..].sort_by_key(|&i| delays[i]);
    Plan { delays, order }
}

// ---- a million --------------------------------------------------------------------------------------------------

/// Let another timer stand that is due before all that are measured, and the driver know of it: as long as it knows of none, it is rung for each start.
async fn stand_before() {
    tokio::spawn(sleep(Duration::from_millis(LEAD_MS / 2)));
    sleep(Duration::from_millis(5)).await;
}

/// Nanoseconds for each: to start, to cancel, to fire (CPU time). None: a timer was due too early.
async fn round(plan: &Plan, places: &mut Places) -> Option<[f64; 3]> {
    stand_before().await;
    let [start, cancel] = poll_fn(|cx| Poll::Ready(start_and_cancel(plan, places, cx))).await?;
    let mut kept = plan.order[COUNT - KEPT..].iter().peekable();
    let cpu = cpu_time();
    let fire = poll_fn(|cx| {
        while let Some(&&next) = kept.peek() {
            if places.poll(next, cx).is_pending() {
                return Poll::Pending;
            }
            places.cancel(next);
            kept.next();
        }
        Poll::Ready(cpu_time() - cpu)
    });
    Some([start, cancel, each(fire.await, KEPT)])
}

fn start_and_cancel(plan: &Plan, places: &mut Places, cx: &mut Context) -> Option<[f64; 2]> {
    let base = Instant::now();
    for (i, &delay) in plan.delays.iter().enumerate() {
        places.start(i, base + delay, cx)?;
    }
    let started = Instant::now();
    for &i in &plan.order[..COUNT - KEPT] {
        places.cancel(i);
    }
    let cancelled = Instant::now();
    if cancelled >= base + Duration::from_millis(LEAD_MS) {
        return None;
    }
    Some([each(started - base, COUNT), each(cancelled - started, COUNT - KEPT)])
}

/// One that others on the machine held up is done again.
async fn valid_round(plan: &Plan, places: &mut Places) -> [f64; 3] {
    for _ in 0..TRIES {
        if let Some(outcome) = round(plan, places).await {
            return outcome;
        }
    }
    panic!("a timer is due before all are started and cancelled");
}

async fn all_rounds() -> Vec<[f64; 3]> {
    let (plan, mut places) = (plan(&mut Random(SEED)), Places::new(COUNT));
    let mut outcomes = Vec::new();
    valid_round(&plan, &mut places).await;
    for _ in 0..rounds(5) {
        outcomes.push(valid_round(&plan, &mut places).await);
    }
    outcomes
}

/// Unconstrained, because a task's budget would make a timer that has fired look pending.
pub fn timers(bench: &Bench) {
    let runtime = bench.runtime();
    let outcomes = runtime.block_on(runtime.spawn(unconstrained(all_rounds()))).unwrap();
    for (i, name) in ["timers_start", "timers_cancel", "timers_fire"].iter().enumerate() {
        print(name, outcomes.iter().map(|outcome| outcome[i]).collect(), "ns/timer");
    }
}

// ---- one, while others stand ------------------------------------------------------------------------------------

async fn grow_round(n: usize) {
    let mut random = Random(SEED);
    let mut places = Places::new(n + 1);
    let base = Instant::now() + HOUR;
    let deadlines: Vec<Instant> = (0..n + GROW_TURNS).map(|_| base + random.delay()).collect();
    let (standing, turns) = deadlines.split_at(n);
    poll_fn(|cx| Poll::Ready((0..n).try_for_each(|i| places.start(i, standing[i], cx))))
        .await
        .expect("an hour");
    sleep(Duration::from_millis(5)).await; // the driver knows of them then
    poll_fn(|cx| Poll::Ready(measure_one(turns, &mut places, n, cx))).await;
}

fn measure_one(deadlines: &[Instant], places: &mut Places, i: usize, cx: &mut Context) {
    measure("grow_timers", "ns/timer", 11, || {
        let start = Instant::now();
        for &deadline in deadlines {
            places.start(i, deadline, cx).expect("an hour");
            places.cancel(i);
        }
        each(start.elapsed(), deadlines.len())
    });
}

pub fn grow_timers(bench: &Bench) {
    let runtime = bench.runtime();
    runtime
        .block_on(runtime.spawn(unconstrained(grow_round(bench.n.unwrap_or(GROW_STANDING)))))
        .unwrap();
}
