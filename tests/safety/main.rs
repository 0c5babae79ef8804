//! Scalers, the watches of all instances and Auto Scaling itself, together on a virtual clock: whatever happens in
//! whatever order, no job is killed, limits hold, and all comes to rest. The deciding code is the shipped one
//! (`scaler::tick`, `lifecycle::decide`), the group is the lab's.
//!
//! # Layout
//! - [`aws`]: groups, and calls that fail, answer late, twice or from the past.
//! - [`ci`]: jobs that wait, and who reads how many.
//! - [`scalers`]: they tick, fall and hear; [`publication`]: what CloudWatch makes of what they publish.
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
mod world;

use world::World;

/// Runs worlds of these seeds until so many transitions were seen: events, deeds of watches and scalers, and
/// steps of groups. Times at which nothing changes are none.
fn run(transitions: u64) {
    let mut seen = 0;
    let mut seed = std::env::var("SAFETY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    while seen < transitions {
        let mut world = World::new(seed);
        for _ in 0..300 {
            world.happen();
        }
        world.come_to_rest();
        seen += world.transitions;
        seed += 1;
    }
}

#[test]
fn no_job_is_killed_and_nothing_is_stranded_in_a_million_transitions() {
    run(1_000_000);
}

#[test]
fn nothing_that_can_happen_to_two_instances_and_three_jobs_harms_them() {
    assert_eq!(small::explore(), 14_641);
}

#[test]
#[ignore = "the same for long, which `make soak` runs"]
fn no_job_is_killed_and_nothing_is_stranded_in_a_hundred_million_transitions() {
    run(100_000_000);
}
