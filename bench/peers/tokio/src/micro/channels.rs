//! Tasks that talk: over bounded channels of 8-byte words, and with Notify.
use crate::measure::{each, measure, Bench};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{channel, Receiver, Sender};
use tokio::sync::Notify;

const TRIPS: usize = 300_000;
const FORCED_TRIPS: usize = 20_000;
const PARKED_TRIPS: usize = 2_000;
const HOLD: Duration = Duration::from_micros(100);
const SENDERS: usize = 4;
const MESSAGES: u64 = 250_000; // each

// ---- to and fro -------------------------------------------------------------------------------------------------

/// Work for so long.
fn spin(hold: Duration) {
    if hold.is_zero() {
        return;
    }
    let start = Instant::now();
    while start.elapsed() < hold {}
}

async fn return_ball(mut there: Receiver<u64>, back: Sender<u64>, trips: usize, hold: Duration) {
    for _ in 0..trips {
        let ball = there.recv().await.unwrap();
        spin(hold);
        back.send(ball).await.unwrap();
    }
}

async fn serve_ball(there: Sender<u64>, mut back: Receiver<u64>, trips: usize, hold: Duration) {
    for i in 0..trips as u64 {
        there.send(i).await.unwrap();
        assert_eq!(back.recv().await, Some(i));
        spin(hold);
    }
}

pub fn pingpong(bench: &Bench) {
    bench.measure("pingpong", "ns/trip", 11, || async {
        let (there, from_there) = channel(1);
        let (back, from_back) = channel(1);
        let start = Instant::now();
        let other = tokio::spawn(return_ball(from_there, back, TRIPS, Duration::ZERO));
        let one = tokio::spawn(serve_ball(there, from_back, TRIPS, Duration::ZERO));
        one.await.unwrap();
        other.await.unwrap();
        each(start.elapsed(), TRIPS)
    });
}

async fn notify_in_turn(own: Arc<Notify>, other: Arc<Notify>) {
    for _ in 0..TRIPS {
        own.notified().await;
        other.notify_one();
    }
}

/// Without a value, with the cheapest that Tokio has for it.
pub fn pingpong_notify(bench: &Bench) {
    bench.measure("pingpong_notify", "ns/trip", 11, || async {
        let (a, b) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let start = Instant::now();
        let one = tokio::spawn(notify_in_turn(a.clone(), b.clone()));
        let other = tokio::spawn(notify_in_turn(b, a.clone()));
        a.notify_one();
        one.await.unwrap();
        other.await.unwrap();
        each(start.elapsed(), TRIPS)
    });
}

fn of_one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A multi-threaded runtime would take both tasks to one worker: so each thread has a runtime of its own. The work is taken off.
fn forced_round(trips: usize, hold: Duration) -> f64 {
    let (there, from_there) = channel(1);
    let (back, from_back) = channel(1);
    let runtime = of_one_thread();
    let start = Instant::now();
    let other = thread::spawn(move || of_one_thread().block_on(return_ball(from_there, back, trips, hold)));
    runtime.block_on(serve_ball(there, from_back, trips, hold));
    other.join().unwrap();
    each(start.elapsed(), trips) - 2.0 * hold.as_nanos() as f64
}

pub fn forced(_: &Bench) {
    measure("forced", "ns/trip", 11, || forced_round(FORCED_TRIPS, Duration::ZERO));
    measure("forced_parked", "ns/trip", 11, || forced_round(PARKED_TRIPS, HOLD));
}

// ---- many to one ------------------------------------------------------------------------------------------------

async fn send_many(channel: Sender<u64>) {
    for i in 0..MESSAGES {
        channel.send(i).await.unwrap();
    }
}

/// Million messages per second.
async fn mpsc_round() -> f64 {
    let (to, mut from) = channel(1024);
    let (mut sum, mut count) = (0, 0);
    let start = Instant::now();
    for _ in 0..SENDERS {
        tokio::spawn(send_many(to.clone()));
    }
    drop(to);
    while let Some(item) = from.recv().await {
        sum += item;
        count += 1;
    }
    let took = start.elapsed();
    assert_eq!((count, sum), (SENDERS as u64 * MESSAGES, SENDERS as u64 * MESSAGES * (MESSAGES - 1) / 2));
    count as f64 * 1000.0 / took.as_nanos() as f64
}

pub fn mpsc(bench: &Bench) {
    bench.measure("mpsc", "M msg/s", 11, mpsc_round);
}
