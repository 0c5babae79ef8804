//! A trace: which jobs became runnable when, and what was announced of them. Read from CSV with the header
//! `runnable_at,duration_s,queue,pipeline,build[,hinted_at,hinted_jobs]` ([`read`]).

pub mod command;
pub mod read;
pub mod write;

/// Milliseconds since the trace's beginning, or a period of so many.
pub type Millis = i64;

const DAY: Millis = 86_400_000;
/// Times from here on are Unix times (2001 and later): no trace lasts for thirty years.
const UNIX_TIMES: Millis = 1_000_000_000_000;

/// One job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// When an agent could start it.
    pub runnable_at: Millis,
    /// How long it runs.
    pub duration: Millis,
}

/// What is said of a build before its jobs are runnable. An estimate: it may be wrong, and the jobs may never come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    /// When it is said.
    pub at: Millis,
    /// How many jobs it announces.
    pub jobs: u32,
}

/// A build with all that is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Build {
    /// Its pipeline.
    pub pipeline: String,
    /// Its jobs; none in one that was announced and never came.
    pub jobs: Vec<Job>,
    /// What is said of it ahead of time.
    pub hint: Option<Hint>,
}

/// Jobs and hints, each in order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// By `runnable_at`.
    pub jobs: Vec<Job>,
    /// By `at`.
    pub hints: Vec<Hint>,
}

impl Trace {
    /// A trace of jobs and hints in any order.
    #[must_use]
    pub fn new(mut jobs: Vec<Job>, mut hints: Vec<Hint>) -> Self {
        jobs.sort_by_key(|job| (job.runnable_at, job.duration));
        hints.sort_by_key(|hint| (hint.at, hint.jobs));
        Self { jobs, hints }
    }

    /// The trace of some builds.
    #[must_use]
    pub fn of(builds: &[Build]) -> Self {
        let jobs = builds.iter().flat_map(|build| build.jobs.iter().copied()).collect();
        Self::new(jobs, builds.iter().filter_map(|build| build.hint).collect())
    }

    /// Times that are Unix times, counted from the midnight (UTC) before them; and when that was. Nothing for others.
    #[must_use]
    pub fn since_midnight(mut self) -> (Self, Millis) {
        let first =
            self.jobs.iter().map(|job| job.runnable_at).chain(self.hints.iter().map(|hint| hint.at)).min();
        let midnight = first.filter(|first| *first >= UNIX_TIMES).map_or(0, |first| first - first % DAY);
        self.jobs.iter_mut().for_each(|job| job.runnable_at -= midnight);
        self.hints.iter_mut().for_each(|hint| hint.at -= midnight);
        (self, midnight)
    }

    /// Time that agents are busy with it, whatever the policy.
    #[must_use]
    pub fn busy(&self) -> Millis {
        self.jobs.iter().map(|job| job.duration).sum()
    }
}
