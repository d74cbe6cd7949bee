//! peer_tokio_micro - Tokio's side of the works of bench/README.md.   peer_tokio_micro WORK [WORKERS [N]]
//!
//! Tokio as its documentation teaches it: spawned tasks, JoinHandles, its own channels and timers, all drivers on, as #[tokio::main] has them. WORKERS is
//! worker_threads, 1 where it does not matter; one worker is the runtime that is quicker with that work, as its user would choose. A work runs in a spawned
//! task, because the thread of block_on() is none of the workers. What each work is, and why that is how Tokio does it:
//!
//! - yield: a task wakes itself, which is a third of the price of yield_now()
//! - spawn_join: a JoinHandle is awaited
//! - million: the JoinHandles in a Vec, which is cheaper than a JoinSet
//! - skynet: a function that spawns and returns the JoinHandle, so that no future of it is boxed
//! - grow_tasks: all wait for one Notify, and notify_waiters() wakes everybody
//! - pingpong: two bounded mpsc channels of one place
//! - pingpong_notify: two Notify, the cheapest that Tokio has where no value goes with it
//! - forced: pingpong between two current_thread runtimes, as one runtime would take both tasks to one worker
//! - mpsc: a bounded mpsc channel of 1,024
//! - idle: a Sleep is the task's whole future
//! - timers, grow_timers: Sleeps in one task, polled where they lie, without a task, a Box or a set of futures for them
//! - cold: a runtime, one task, and the runtime's end
mod channels;
mod idle;
mod measure;
mod poll_fn;
mod tasks;
mod timers;

use measure::{Alone, Bench};
use std::env;
use std::process::{exit, Command};

/// A work measures itself.
struct Work {
    run: fn(&Bench),
    per_worker: bool, // it depends on WORKERS: without them both 1 and 2 are measured
    alone: Alone,
}

fn find(name: &str) -> Option<Work> {
    let (run, per_worker, alone): (fn(&Bench), _, _) = match name {
        "yield" => (tasks::yields, true, Alone::CurrentThread),
        "spawn_join" => (tasks::spawn_join, true, Alone::MultiThread),
        "million" => (tasks::million, true, Alone::CurrentThread),
        "skynet" => (tasks::skynet, true, Alone::CurrentThread),
        "cold" => (tasks::cold, false, Alone::CurrentThread),
        "grow_tasks" => (tasks::grow_tasks, true, Alone::CurrentThread),
        "pingpong" => (channels::pingpong, true, Alone::MultiThread),
        "pingpong_notify" => (channels::pingpong_notify, true, Alone::MultiThread),
        "forced" => (channels::forced, false, Alone::CurrentThread),
        "mpsc" => (channels::mpsc, true, Alone::MultiThread),
        "idle" => (idle::idle, false, Alone::MultiThread),
        "idle_one" => (idle::idle_one, false, Alone::MultiThread),
        "timers" => (timers::timers, false, Alone::MultiThread),
        "grow_timers" => (timers::grow_timers, false, Alone::MultiThread),
        _ => return None,
    };
    Some(Work { run, per_worker, alone })
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
    let work = find(&name).unwrap_or_else(|| exit(2));
    let workers = number(2);
    if workers.is_none() && work.per_worker {
        return both(&name);
    }
    (work.run)(&Bench {
        workers: workers.unwrap_or(1),
        n: number(3),
        alone: work.alone,
    });
}
