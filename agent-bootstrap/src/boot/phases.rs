//! The phases of a boot: each timed, held to its budget, and tried again while its fault may pass.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::failure::Failure;

/// A phase and the longest it may take, all attempts included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phase {
    /// What is done.
    pub name: &'static str,
    /// The longest it may take.
    pub budget: Duration,
    /// What to say when it took longer, and nothing else is known.
    unfinished: &'static str,
}

impl Phase {
    const fn new(name: &'static str, seconds: u64) -> Self {
        Self { name, budget: Duration::from_secs(seconds), unfinished: "no answer" }
    }
}

/// Who this instance is, and its user data.
pub const IDENTITY: Phase = Phase::new("identity", 60);
/// Region and credentials.
pub const SESSION: Phase = Phase::new("session", 60);
/// Its Auto Scaling group.
pub const GROUP: Phase = Phase::new("group", 60);
/// The settings, references resolved.
pub const SETTINGS: Phase = Phase::new("settings", 60);
/// The agents' registration token.
pub const TOKEN: Phase = Phase::new("agent token", 60);
/// More variables of the agents' environment.
pub const ENVIRONMENT: Phase = Phase::new("agent environment", 60);
/// The stack's own script is fetched.
pub const SCRIPT_FETCH: Phase = Phase::new("script fetch", 60);
/// The SSH keys of those who may log in.
pub const KEYS: Phase = Phase::new("authorized keys", 60);
/// The instance type's own disks.
pub const STORAGE: Phase = Phase::new("storage", 120);
/// Docker's daemon is configured, and answers.
pub const DOCKER: Phase = Phase::new("docker", 60);
/// Everything that is written for agents, hooks and `watch`.
pub const FILES: Phase = Phase::new("files", 60);
/// The stack's own script runs, as long as the whole boot may take.
pub const SCRIPT: Phase = Phase { unfinished: "it did not end", ..Phase::new("bootstrap script", 840) };
/// The group is told that the instance came up.
pub const LAUNCH_ACTION: Phase = Phase::new("launch action", 60);
/// The start of the agents.
pub const AGENTS: Phase = Phase::new("agents", 60);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// When a phase began and how long it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Took {
    /// The phase.
    pub name: String,
    /// Milliseconds from the boot's start to its own.
    pub began: u64,
    /// Milliseconds from its start to its end.
    pub milliseconds: u64,
}

/// The clock of one boot, and the phases that ended well.
#[derive(Debug)]
pub struct Phases {
    done: RefCell<Vec<Took>>,
    start: Cell<Instant>,
    end: Cell<Instant>,
}

impl Phases {
    /// Starts the clock; the whole boot may take `budget`.
    #[must_use]
    pub fn new(budget: Duration) -> Self {
        let now = Instant::now();
        Self { done: RefCell::default(), start: Cell::new(now), end: Cell::new(now + budget) }
    }

    /// The settings know another budget of the whole.
    pub fn limit(&self, budget: Duration) {
        self.end.set(self.start.get() + budget);
    }

    /// Forgets what was done: a boot that waited begins anew.
    pub fn restart(&self, budget: Duration) {
        self.done.borrow_mut().clear();
        self.start.set(Instant::now());
        self.limit(budget);
    }

    /// Runs one phase and says on stderr how long it took. A fault that may pass (no answer, throttled) is met by
    /// another attempt, as long as the budgets of phase and boot last; every other one ends the phase at once.
    ///
    /// # Errors
    /// The phase's own, with its name in front.
    pub async fn run<T>(
        &self,
        phase: Phase,
        work: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let start = Instant::now();
        let end = self.end.get().min(start + phase.budget);
        let named = |f: Failure| Failure { message: format!("boot: {}: {}", phase.name, f.message), ..f };
        let result = within(end, phase.unfinished, work).await.map_err(named)?;
        let took = Took {
            name: phase.name.to_owned(),
            began: milliseconds(start - self.start.get()),
            milliseconds: milliseconds(start.elapsed()),
        };
        eprintln!("boot: {} {} ms", took.name, took.milliseconds);
        self.done.borrow_mut().push(took);
        Ok(result)
    }

    /// The phases so far, in the order of their ends, and the milliseconds since the start.
    #[must_use]
    pub fn so_far(&self) -> (Vec<Took>, u64) {
        (self.done.borrow().clone(), milliseconds(self.start.get().elapsed()))
    }
}

/// The outcome of `work`, tried again until `end` while its fault may pass.
///
/// # Errors
/// Its last one.
pub async fn within<T>(
    end: Instant,
    unfinished: &str,
    mut work: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut last = None;
    let mut pause = FIRST_PAUSE;
    let begun = Instant::now();
    let attempts = async {
        loop {
            match work().await {
                Err(failure) if failure.may_pass() => last = Some(failure),
                ended => return ended,
            }
            // Instances that boot together should not ask together again.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    };
    match tokio::time::timeout_at(end, attempts).await {
        Ok(ended) => ended,
        Err(_) => {
            let waited = end.saturating_duration_since(begun).as_secs_f64();
            let last = last.unwrap_or_else(|| Failure::unavailable(unfinished));
            Err(Failure { message: format!("{}; given up after {waited:.1} s", last.message), ..last })
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Duration = Duration::from_secs(300);
    const LONG: Phase = Phase::new("long", 60);

    #[tokio::test]
    async fn what_may_pass_is_tried_again_and_the_rest_is_not() {
        let phases = Phases::new(WHOLE);
        let mut answers =
            vec![Ok(7), Err(Failure::try_again("slow down")), Err(Failure::unavailable("gone"))];
        let seen = phases.run(LONG, async || answers.pop().unwrap_or(Ok(0))).await;
        assert_eq!(seen, Ok(7));
        let mut asked = 0;
        let refused: Result<(), _> = phases
            .run(LONG, async || {
                asked += 1;
                Err(Failure::denied("no"))
            })
            .await;
        assert_eq!((refused, asked), (Err(Failure::denied("boot: long: no")), 1));
        let (done, total) = phases.so_far();
        assert_eq!((done.len(), done[0].name.as_str()), (1, "long"), "a phase that failed is not done");
        assert!(
            done[0].milliseconds >= 150 && total >= 150,
            "{done:?}: two pauses, the second twice as long"
        );
    }

    #[tokio::test]
    async fn the_smaller_budget_ends_it() {
        let short = Duration::from_millis(250);
        for (whole, phase) in [(WHOLE, Phase { budget: short, ..LONG }), (short, LONG)] {
            let begun = Instant::now();
            let never: Result<(), _> = Phases::new(whole).run(phase, std::future::pending).await;
            assert_eq!(never, Err(Failure::unavailable("boot: long: no answer; given up after 0.2 s")));
            assert!(begun.elapsed() >= short && begun.elapsed() < WHOLE / 10);
            let throttled: Result<(), _> =
                Phases::new(whole).run(phase, async || Err(Failure::try_again("rate"))).await;
            assert_eq!(throttled, Err(Failure::try_again("boot: long: rate; given up after 0.2 s")));
        }
    }

    #[tokio::test]
    async fn phases_run_side_by_side_and_a_boot_may_begin_anew() {
        let phases = Phases::new(WHOLE);
        let (left, right) = (tokio::sync::Barrier::new(2), ());
        let meet = async || {
            left.wait().await;
            Ok(right)
        };
        let both = futures::future::try_join(phases.run(LONG, meet), phases.run(LONG, meet)).await;
        assert_eq!(both, Ok(((), ())), "one waits for the other");
        assert_eq!(phases.so_far().0.len(), 2);
        phases.restart(WHOLE);
        assert_eq!(phases.so_far().0, []);
    }
}
