//! The jobs that wait, one by one, and what the metrics count, as one answer. Pure.
//!
//! Both are asked at once, and a CI changes meanwhile. A job that starts between the two answers is in both (it is listed,
//! and counted as running) or in neither (counted as scheduled, and no more listed). One that is in both asks for an agent
//! too many until the next look. One that is in neither must not be lost: as many jobs as the metrics count as scheduled
//! beyond those that are listed count as scheduled, too. So capacity never falls because a job was between two answers, nor
//! where the metrics are some seconds behind, nor where there are more jobs than pages that are read.

use agent_api::stacks::ScheduledJobs;

use super::rules::can_run;
use crate::decide::Jobs;
use crate::ports::{Counts, RunnableJob};
use crate::reading::Reading;

/// What both say of a queue whose agents offer these tags.
pub fn joined(queue: &str, tags: Option<&[String]>, counts: Counts, listed: &ScheduledJobs) -> Counts {
    let matching = listed.jobs.iter().filter(|job| can_run(queue, tags, &job.agent_query_rules));
    let runnable: Vec<RunnableJob> =
        matching.map(|job| RunnableJob { since: job.scheduled_at, priority: job.priority }).collect();
    let all = listed.jobs.len() as u64;
    let matched = runnable.len() as u64;
    let between = counts.jobs.scheduled.saturating_sub(all);
    let jobs = Jobs { scheduled: matched.saturating_add(between), ..counts.jobs };
    Counts {
        jobs,
        unfinished: jobs.scheduled.saturating_add(jobs.running).saturating_add(jobs.waiting),
        reading: Reading {
            at: counts.reading.at,
            as_of: [counts.reading.as_of, listed.as_of].into_iter().flatten().min(),
            complete: listed.complete,
        },
        paused: Some(listed.paused),
        runnable: Some(runnable),
        unmatched: all - matched,
        ..counts
    }
}

#[cfg(test)]
mod tests {
    use agent_api::metrics::{Agents, Jobs as Counted, Organization, QueueAnswer, QueueMetrics};
    use agent_api::stacks::{JobBuild, JobPipeline, JobStep, ScheduledJob};
    use jiff::Timestamp;

    use super::super::counted;
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn counts(scheduled: u64, running: u64) -> Counts {
        let answer = QueueAnswer {
            metrics: QueueMetrics {
                agents: Agents { idle: 1, busy: running, total: running + 1 },
                jobs: Counted { scheduled, running, waiting: 2, total: scheduled + running + 2 },
                organization: Organization { slug: "acme".into() },
            },
            as_of: Some(second(95)),
            poll_after: Some(std::time::Duration::from_secs(7)),
        };
        counted(answer, second(100))
    }

    /// Each job's second, and a rule.
    fn listed(jobs: &[(i64, &str)]) -> ScheduledJobs {
        let job = |(place, (since, rule)): (usize, &(i64, &str))| ScheduledJob {
            id: place.to_string(),
            priority: *since,
            agent_query_rules: vec!["queue=linux".into(), (*rule).into()],
            scheduled_at: second(*since),
            pipeline: JobPipeline::default(),
            build: JobBuild::default(),
            step: JobStep::default(),
        };
        let jobs = jobs.iter().enumerate().map(job).collect();
        ScheduledJobs { jobs, paused: false, complete: true, as_of: Some(second(98)) }
    }

    fn join(counts: Counts, listed: &ScheduledJobs) -> Counts {
        joined("linux", Some(&["gpu=true".to_owned()]), counts, listed)
    }

    #[test]
    fn no_job_is_lost_between_two_answers() {
        let gpu = (50, "gpu=true");
        for (what, counted, jobs, scheduled, unmatched) in [
            ("both the same", (2, 3), &[gpu, gpu][..], 2, 0),
            ("one came since it was counted", (1, 3), &[gpu, gpu], 2, 0),
            ("one started or ended before it could be listed", (3, 3), &[gpu, gpu], 3, 0),
            ("the metrics lag behind an empty queue", (5, 0), &[], 5, 0),
            ("one is for other agents", (2, 0), &[gpu, (40, "os=mac")], 1, 1),
            ("one is for other agents, one started", (3, 0), &[gpu, (40, "os=mac")], 2, 1),
            ("nothing", (0, 0), &[], 0, 0),
        ] {
            let all = join(counts(counted.0, counted.1), &listed(jobs));
            let expected = Jobs { scheduled, running: counted.1, waiting: 2 };
            assert_eq!((all.jobs, all.unmatched), (expected, unmatched), "{what}");
            assert_eq!(all.unfinished, scheduled + counted.1 + 2, "{what}");
            assert_eq!(all.agents.total, counted.1 + 1, "{what}");
        }
    }

    #[test]
    fn jobs_have_their_age_and_the_answer_is_as_old_as_its_older_half() {
        let mut listed = listed(&[(70, "gpu=true"), (40, "os=mac"), (60, "gpu=true")]);
        let all = join(counts(3, 0), &listed);
        assert_eq!(all.runnable.as_ref().map(Vec::len), Some(2));
        assert_eq!(
            all.oldest_wait(second(100)).map(|wait| wait.as_secs()),
            Some(40),
            "the oldest that can run"
        );
        assert_eq!(all.reading, Reading { at: second(100), as_of: Some(second(95)), complete: true });
        assert_eq!(all.paused, Some(false));
        (listed.paused, listed.complete, listed.as_of) = (true, false, Some(second(20)));
        let all = join(counts(9, 0), &listed);
        assert_eq!((all.jobs.scheduled, all.paused, all.reading.complete), (8, Some(true), false));
        assert_eq!(all.reading.as_of, Some(second(20)));
    }
}
