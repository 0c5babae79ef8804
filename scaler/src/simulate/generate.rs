//! Traces from a seed: a week of a busy team, and four shapes that are hard on a policy.
//!
//! The week is that of the study behind our targets: builds arrive as a Poisson process with a day's rhythm, fan out
//! geometrically, and their jobs run as long as those of a large open-source project on Buildkite did.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use super::trace::{Build, Hint, Job, Millis};

const SECOND: Millis = 1000;
const HOUR: Millis = 3600 * SECOND;
const DAY: Millis = 24 * HOUR;

/// Quantiles of job durations in seconds, between which the logarithm is interpolated: 8,640 jobs of julia-master.
const DURATIONS: [(f64, f64); 6] =
    [(0.0, 3.0), (0.1, 17.0), (0.5, 214.0), (0.9, 3723.0), (0.99, 7998.0), (1.0, 12_000.0)];
/// Longer jobs are cut here, as in the study.
const LONGEST_S: f64 = 2400.0;

/// What is said ahead of time, and how wrong it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hints {
    /// How long ahead.
    pub lead: Millis,
    /// The estimate is off by up to this part, either way: 0.4 is ±40 %.
    pub error: f64,
    /// The part of builds of which nothing is said.
    pub missed: f64,
    /// Announcements without a build, as a part of the builds.
    pub ghosts: f64,
}

/// A week, in numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Week {
    /// Working days.
    pub days: u32,
    /// Builds of a day, on average.
    pub builds_a_day: f64,
    /// Jobs of a build, on average.
    pub fan_out: f64,
    /// `None`: nothing is said ahead.
    pub hints: Option<Hints>,
}

impl Default for Week {
    fn default() -> Self {
        let hints = Hints { lead: 45 * SECOND, error: 0.4, missed: 0.0, ghosts: 0.0 };
        Self { days: 5, builds_a_day: 120.0, fan_out: 10.0, hints: Some(hints) }
    }
}

impl Week {
    /// Its builds, in order of time. Jobs are the same whatever the hints.
    #[must_use]
    pub fn builds(&self, seed: u64) -> Vec<Build> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut said = Xoshiro256PlusPlus::seed_from_u64(!seed);
        let mut builds = Vec::new();
        for begins in self.begins(&mut random) {
            let size = geometric(&mut random, self.fan_out);
            let job = |_| Job { runnable_at: begins, duration: duration(&mut random) };
            let jobs: Vec<Job> = (0..size).map(job).collect();
            let pipeline = format!("pipeline-{}", random.random_range(1..=12));
            let (hint, ghost) = self.hints.map_or((None, None), |hints| {
                (hints.of(begins, size, &mut said), hints.ghost(begins, self.fan_out, &mut said))
            });
            builds.push(Build { pipeline: pipeline.clone(), jobs, hint });
            builds.extend(ghost.map(|hint| Build { pipeline, jobs: Vec::new(), hint: Some(hint) }));
        }
        builds.sort_by_key(|build| {
            build.hint.map_or_else(|| build.jobs.first().map_or(0, |job| job.runnable_at), |h| h.at)
        });
        builds
    }

    /// Arrivals by thinning: candidates at the highest rate, each kept by the hour's part of it.
    fn begins(&self, random: &mut Xoshiro256PlusPlus) -> Vec<Millis> {
        let average = self.builds_a_day / as_float(DAY);
        let highest = average * RHYTHM.iter().copied().fold(0.0, f64::max);
        let end = as_float(DAY) * f64::from(self.days);
        let mut begins = Vec::new();
        let mut at = 0.0;
        loop {
            at -= (1.0 - random.random::<f64>()).ln() / highest;
            if at >= end {
                return begins;
            }
            let now = as_millis(at);
            if random.random::<f64>() * highest < average * rhythm(now) {
                begins.push(now);
            }
        }
    }
}

/// The hours' parts of a day's average rate: nights are quiet, mornings and afternoons are not.
const RHYTHM: [f64; 24] = [
    0.15, 0.1, 0.1, 0.1, 0.1, 0.15, 0.3, 0.7, 1.4, 2.0, 2.3, 2.2, 1.6, 1.9, 2.3, 2.3, 2.1, 1.6, 0.9, 0.6,
    0.4, 0.3, 0.2, 0.2,
];

fn rhythm(at: Millis) -> f64 {
    let hour = usize::try_from(at % DAY / HOUR).unwrap_or(0);
    RHYTHM[hour]
}

impl Hints {
    fn of(&self, begins: Millis, size: u32, random: &mut Xoshiro256PlusPlus) -> Option<Hint> {
        let (missed, off) =
            (random.random::<f64>() < self.missed, 1.0 + self.error * (2.0 * random.random::<f64>() - 1.0));
        let jobs = as_count(f64::from(size) * off);
        (!missed).then(|| Hint { at: (begins - self.lead).max(0), jobs })
    }

    fn ghost(&self, begins: Millis, fan_out: f64, random: &mut Xoshiro256PlusPlus) -> Option<Hint> {
        let (comes, later, jobs) =
            (random.random::<f64>() < self.ghosts, random.random_range(0..HOUR), geometric(random, fan_out));
        comes.then(|| Hint { at: begins + later, jobs })
    }
}

/// At least 1, `mean` on average.
fn geometric(random: &mut Xoshiro256PlusPlus, mean: f64) -> u32 {
    let stop = 1.0 / mean.max(1.0);
    let trials = ((1.0 - random.random::<f64>()).ln() / (1.0 - stop).ln()).floor();
    as_count(trials).saturating_add(1).min(2000)
}

fn duration(random: &mut Xoshiro256PlusPlus) -> Millis {
    let part = random.random::<f64>();
    let above = DURATIONS.iter().position(|(quantile, _)| *quantile > part).unwrap_or(DURATIONS.len() - 1);
    let ((from, low), (to, high)) = (DURATIONS[above - 1], DURATIONS[above]);
    let seconds = low * (high / low).powf((part - from) / (to - from));
    as_millis(seconds.min(LONGEST_S) * 1000.0)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a week are far below 2^53")]
fn as_float(millis: Millis) -> f64 {
    millis as f64
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "weeks in milliseconds, drawn from bounded distributions"
)]
fn as_millis(millis: f64) -> Millis {
    millis.round() as Millis
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and counts are small"
)]
fn as_count(number: f64) -> u32 {
    number.round() as u32
}

/// Shapes that are hard on a policy, each for a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Monday 09:00: from nothing to eighty jobs within minutes.
    Burst,
    /// One job an hour: each one finds nothing.
    Hourly,
    /// One build of five hundred jobs.
    FanOut,
    /// A job whenever the last instance has just given up: the period of `idle`.
    Sawtooth,
}

impl Shape {
    /// Its builds. Nothing is said of them ahead of time. `idle`: the idle period to be hit.
    #[must_use]
    pub fn builds(self, idle: Millis) -> Vec<Build> {
        let build = |at: Millis, jobs: u32, duration: Millis| Build {
            pipeline: "app".to_owned(),
            jobs: (0..jobs).map(|_| Job { runnable_at: at, duration }).collect(),
            hint: None,
        };
        match self {
            // Twenty merges of four jobs, fifteen seconds apart.
            Self::Burst => (0..20).map(|n| build(9 * HOUR + n * 15 * SECOND, 4, 480 * SECOND)).collect(),
            Self::Hourly => (0..48).map(|n| build(n * HOUR, 1, 120 * SECOND)).collect(),
            Self::FanOut => vec![build(60 * SECOND, 500, 300 * SECOND)],
            Self::Sawtooth => {
                let run = 60 * SECOND;
                (0..200).map(|n| build(n * (run + idle + 5 * SECOND), 3, run)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::trace::Trace;

    #[test]
    fn a_week_has_the_quantiles_of_the_study() {
        let trace = Trace::of(&Week { days: 50, ..Week::default() }.builds(1));
        let mut seconds: Vec<Millis> = trace.jobs.iter().map(|job| job.duration / 1000).collect();
        seconds.sort_unstable();
        let quantile = |percent: usize| seconds[seconds.len() * percent / 100];
        assert!((15..=19).contains(&quantile(10)), "{}", quantile(10));
        assert!((200..=230).contains(&quantile(50)), "{}", quantile(50));
        assert_eq!(quantile(90), 2400, "cut");
        assert!((57_000..63_000).contains(&trace.jobs.len()), "1,200 a day: {}", trace.jobs.len());
    }

    #[test]
    fn a_seed_is_a_week_whatever_is_announced() {
        let told = Week::default().builds(3);
        let blind = Week { hints: None, ..Week::default() }.builds(3);
        assert_eq!(Trace::of(&told).jobs, Trace::of(&blind).jobs);
        assert!(blind.iter().all(|build| build.hint.is_none()));
        assert_eq!(told, Week::default().builds(3));
        assert_ne!(told, Week::default().builds(4));
    }

    #[test]
    fn estimates_are_off_by_as_much_as_is_said() {
        for build in Week::default().builds(5) {
            let (hint, size) = (build.hint.unwrap(), f64::from(u32::try_from(build.jobs.len()).unwrap()));
            let off = f64::from(hint.jobs) - size;
            assert!(off.abs() <= 0.4 * size + 0.5, "{} of {size}", hint.jobs);
        }
    }

    #[test]
    fn shapes_are_what_they_are_called() {
        let of = |shape: Shape| Trace::of(&shape.builds(40_000)).jobs;
        assert_eq!(of(Shape::Burst).len(), 80);
        assert!(
            of(Shape::Burst).iter().all(|job| (9 * HOUR..9 * HOUR + 300 * SECOND).contains(&job.runnable_at))
        );
        assert_eq!(of(Shape::FanOut).len(), 500);
        assert_eq!(of(Shape::Hourly)[1].runnable_at - of(Shape::Hourly)[0].runnable_at, HOUR);
        let teeth = of(Shape::Sawtooth);
        assert_eq!(teeth[3].runnable_at - (teeth[0].runnable_at + teeth[0].duration), 45_000);
    }
}
