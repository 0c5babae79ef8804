//! Scalers, the watches of all instances and Auto Scaling itself, together on a virtual clock: whatever happens in
//! whatever order, no job is killed, limits hold, and all comes to rest. The deciding code is the shipped one
//! (`scaler::tick`, `lifecycle::decide`), the group is the lab's.
//!
//! # Layout
//! - [`aws`]: groups, and calls that fail, answer late, twice or from the past.
//! - [`ci`]: jobs that wait, and who reads how many.
//! - [`scalers`]: they tick, fall and hear; [`publication`]: what CloudWatch makes of what they publish.
//! - [`table`]: where their lease lies, and what they learned.
//! - [`machine`]: one instance: its boot, its watch and its agents.
//! - [`world`]: all of it together, and time; [`happenings`]: what happens to it.
//! - [`small`]: the small case, explored wholly.
//! - [`calm`]: what must hold when nothing happens any more.

mod aws;
mod calm;
mod ci;
mod happenings;
mod machine;
mod publication;
mod scalers;
mod small;
mod table;
mod world;

use std::num::NonZero;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::{Builder, Runtime};
use world::{World, lock};

/// Breaches that are enough to look at.
const ENOUGH: usize = 10;

/// One world from its beginning until it has come to rest; its transitions: events, deeds of watches and scalers, and steps
/// of groups. Times at which nothing changes are none.
fn live(seed: u64) -> u64 {
    let mut world = World::new(seed);
    for _ in 0..300 {
        world.happen();
    }
    world.come_to_rest();
    world.transitions
}

/// What a scaler sets under its lease it gives up at the lease's end by tokio's clock, which never comes here.
fn timers() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// Lets worlds live on so many cores, until so many transitions were seen. The first one's seed is `SAFETY_SEED`.
fn run(transitions: u64, cores: usize) {
    let first = std::env::var("SAFETY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let (next, seen) = (AtomicU64::new(first), AtomicU64::new(0));
    let breached = Mutex::new(Vec::new());
    let worlds = || {
        let runtime = timers();
        let _entered = runtime.enter();
        while seen.load(Ordering::Relaxed) < transitions && lock(&breached).len() < ENOUGH {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            match catch_unwind(|| live(seed)) {
                Ok(more) => tell(seed, seen.fetch_add(more, Ordering::Relaxed), more),
                Err(_) => lock(&breached).push(seed),
            }
        }
    };
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(worlds))));
    let breached = lock(&breached);
    assert!(
        breached.is_empty(),
        "breaches in the worlds of {breached:?}; SAFETY_SEED=… begins with one of them"
    );
}

/// What came of each ten million.
fn tell(seed: u64, before: u64, more: u64) {
    const STEP: u64 = 10_000_000;
    if before / STEP < (before + more) / STEP {
        eprintln!("{} million transitions, the last world's seed is {seed}", (before + more) / 1_000_000);
    }
}

#[test]
fn no_job_is_killed_and_nothing_is_stranded_in_a_million_transitions() {
    run(1_000_000, 1);
}

#[test]
fn nothing_that_can_happen_to_two_instances_and_three_jobs_harms_them() {
    let runtime = timers();
    let _entered = runtime.enter();
    assert_eq!(small::explore(), 14_641);
}

#[test]
#[ignore = "the same for long, which `make soak` runs"]
fn no_job_is_killed_and_nothing_is_stranded_in_a_hundred_million_transitions() {
    run(100_000_000, std::thread::available_parallelism().map_or(1, NonZero::get));
}
