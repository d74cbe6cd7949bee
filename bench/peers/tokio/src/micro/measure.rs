//! What the works share: a runtime, rounds with their one line of output. The counterpart of bench/bench.h.
use std::env;
use std::fs;
use std::future::Future;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

const ROUNDS_MAX: usize = 64;

/// What one worker is.
#[derive(Clone, Copy, PartialEq)]
pub enum Alone {
    CurrentThread, // its queue needs no atomics
    MultiThread,   // what a task wakes runs next, past the queue
}

/// The arguments of this process, and the work's choice.
pub struct Bench {
    pub workers: usize,
    pub n: Option<usize>,
    pub alone: Alone,
}

impl Bench {
    pub fn runtime(&self) -> Runtime {
        if self.workers == 1 && self.alone == Alone::CurrentThread {
            return Builder::new_current_thread().enable_all().build().expect("a runtime");
        }
        Builder::new_multi_thread()
            .worker_threads(self.workers)
            .enable_all()
            .build()
            .expect("a runtime")
    }

    /// The name with "_w1" or "_w2" behind it.
    pub fn per_workers(&self, name: &str) -> String {
        format!("{}_w{}", name, self.workers)
    }

    /// Run a future, new for each round, as a task of one runtime. It returns the value of its round.
    pub fn measure<F>(&self, name: &str, unit: &str, usual: usize, round: impl Fn() -> F)
    where
        F: Future<Output = f64> + Send + 'static,
    {
        let runtime = self.runtime();
        measure(&self.per_workers(name), unit, usual, || {
            runtime.block_on(runtime.spawn(round())).expect("a round")
        });
    }
}

/// As many as BENCH_ROUNDS says.
pub fn rounds(usual: usize) -> usize {
    let told = env::var("BENCH_ROUNDS").ok().and_then(|text| text.parse().ok());
    told.filter(|&n| n > 0).unwrap_or(usual).min(ROUNDS_MAX)
}

/// Print "name  median unit  (min …)".
pub fn print(name: &str, mut values: Vec<f64>, unit: &str) {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    let median = (values[(n - 1) / 2] + values[n / 2]) / 2.0;
    println!("{:<28} {:>12.2} {}  (min {:.2}, {} rounds)", name, median, unit, values[0], n);
}

/// Call round once to warm up, then for each value.
pub fn measure(name: &str, unit: &str, usual: usize, mut round: impl FnMut() -> f64) {
    round();
    let values = (0..rounds(usual)).map(|_| round()).collect();
    print(name, values, unit);
}

/// Nanoseconds per each of n.
pub fn each(took: Duration, n: usize) -> f64 {
    took.as_nanos() as f64 / n as f64
}

/// A "VmRSS" or "VmHWM" line of /proc/self/status, in bytes.
pub fn memory(field: &str) -> f64 {
    let text = fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let line = text.lines().find(|line| line.split(':').next() == Some(field)).expect("the field");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("KiB");
    kib * 1024.0
}

/// The CPU time of the whole process.
pub fn cpu_time() -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // Safe: the call writes nothing but this.
    let err = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    assert_eq!(err, 0);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}
