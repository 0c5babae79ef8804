//! A trace as CSV.

use std::io::{self, Write};

use super::{Build, Hint, Job, Millis};

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// None in an announcement alone, of a build that never came.
    pub job: Option<Job>,
    /// Its queue.
    pub queue: String,
    /// Its pipeline.
    pub pipeline: String,
    /// Its build.
    pub build: String,
    /// What was said of the build ahead of time.
    pub hint: Option<Hint>,
}

/// Writes a trace.
///
/// # Errors
/// Those of the writer.
pub fn write(out: impl Write, rows: impl IntoIterator<Item = Row>) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record([
        "runnable_at",
        "duration_s",
        "queue",
        "pipeline",
        "build",
        "hinted_at",
        "hinted_jobs",
    ])?;
    for Row { job, queue, pipeline, build, hint } in rows {
        let [runnable_at, duration] =
            job.map(|job| [seconds(job.runnable_at), seconds(job.duration)]).unwrap_or_default();
        let [hinted_at, hinted_jobs] =
            hint.map(|hint| [seconds(hint.at), hint.jobs.to_string()]).unwrap_or_default();
        csv.write_record([runnable_at, duration, queue, pipeline, build, hinted_at, hinted_jobs])?;
    }
    csv.flush()
}

/// The rows of builds of the queue `queue`, which are numbered.
pub fn rows<'a>(queue: &'a str, builds: &'a [Build]) -> impl Iterator<Item = Row> + 'a {
    builds.iter().enumerate().flat_map(move |(number, build)| {
        let jobs = build.jobs.iter().copied().map(Some);
        let alone = build.jobs.is_empty().then_some(None);
        jobs.chain(alone).map(move |job| Row {
            job,
            queue: queue.to_owned(),
            pipeline: build.pipeline.clone(),
            build: (number + 1).to_string(),
            hint: build.hint,
        })
    })
}

fn seconds(millis: Millis) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}
