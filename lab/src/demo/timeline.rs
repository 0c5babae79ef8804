//! What happened, told from two looks at the same things. Pure.

use std::collections::BTreeMap;

/// A job at one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSeen {
    /// For people: pipeline and label.
    pub title: String,
    /// Where it stands.
    pub stage: Stage,
    /// The agent that has it.
    pub agent: Option<String>,
}

/// The stages of a job that people care about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// No agent has begun it.
    Waiting,
    /// It runs.
    Running,
    /// It ended with this exit status.
    Ended(String),
}

/// Everything at one look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Jobs by id.
    pub jobs: BTreeMap<String, JobSeen>,
    /// Instances by id, with AWS's name of their state.
    pub instances: BTreeMap<String, String>,
    /// Desired capacity.
    pub desired: u32,
}

impl Look {
    /// Jobs that nobody has begun, and jobs that run.
    #[must_use]
    pub fn waiting_and_running(&self) -> (u32, u32) {
        let count = |stage: &Stage| {
            u32::try_from(self.jobs.values().filter(|job| job.stage == *stage).count()).unwrap_or(u32::MAX)
        };
        (count(&Stage::Waiting), count(&Stage::Running))
    }

    /// Instances in service.
    #[must_use]
    pub fn in_service(&self) -> u32 {
        let count = self.instances.values().filter(|state| *state == "InService").count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Have all jobs ended?
    #[must_use]
    pub fn done(&self) -> bool {
        self.jobs.values().all(|job| matches!(job.stage, Stage::Ended(_)))
    }
}

/// A line of the timeline: who, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `job`, `instance`.
    pub who: &'static str,
    /// What happened, for people.
    pub what: String,
}

/// What happened between two looks.
#[must_use]
pub fn between(before: &Look, after: &Look) -> Vec<Event> {
    let mut events = Vec::new();
    for (id, state) in &after.instances {
        if before.instances.get(id) != Some(state) {
            let what = match state.as_str() {
                "Pending" => "launched, booting".to_owned(),
                "InService" => "in service".to_owned(),
                "Terminating:Wait" => "told to go, finishes what it does".to_owned(),
                other => other.to_lowercase(),
            };
            events.push(Event { who: "instance", what: format!("{id} {what}") });
        }
    }
    for id in before.instances.keys().filter(|id| !after.instances.contains_key(*id)) {
        events.push(Event { who: "instance", what: format!("{id} gone") });
    }
    for (id, job) in &after.jobs {
        if before.jobs.get(id).is_some_and(|old| old.stage == job.stage) {
            continue;
        }
        let agent = job.agent.as_deref().unwrap_or("nobody");
        match &job.stage {
            Stage::Waiting => {}
            Stage::Running => {
                events.push(Event { who: "job", what: format!("{} runs on {agent}", job.title) })
            }
            Stage::Ended(status) if status == "0" => {
                events.push(Event { who: "job", what: format!("{} passed", job.title) });
            }
            Stage::Ended(status) => {
                events
                    .push(Event { who: "job", what: format!("{} FAILED ({status}) on {agent}", job.title) });
            }
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(jobs: &[(&str, Stage)], instances: &[(&str, &str)]) -> Look {
        let job = |(id, stage): &(&str, Stage)| {
            let seen =
                JobSeen { title: format!("web {id}"), stage: stage.clone(), agent: Some("a-1".into()) };
            ((*id).to_owned(), seen)
        };
        Look {
            jobs: jobs.iter().map(job).collect(),
            instances: instances.iter().map(|(id, state)| ((*id).to_owned(), (*state).to_owned())).collect(),
            desired: 0,
        }
    }

    fn told(before: &Look, after: &Look) -> Vec<String> {
        between(before, after).into_iter().map(|e| format!("{}: {}", e.who, e.what)).collect()
    }

    #[test]
    fn only_changes_are_told() {
        let first = look(&[("1", Stage::Waiting)], &[]);
        assert_eq!(told(&first, &first), Vec::<String>::new());
        let second = look(&[("1", Stage::Running)], &[("i-1", "InService")]);
        assert_eq!(told(&first, &second), ["instance: i-1 in service", "job: web 1 runs on a-1"]);
        let third = look(&[("1", Stage::Ended("0".into()))], &[]);
        assert_eq!(told(&second, &third), ["instance: i-1 gone", "job: web 1 passed"]);
    }

    #[test]
    fn a_failed_job_says_so_even_if_its_running_was_not_seen() {
        let first = look(&[("1", Stage::Waiting)], &[]);
        let second = look(&[("1", Stage::Ended("77".into()))], &[]);
        assert_eq!(told(&first, &second), ["job: web 1 FAILED (77) on a-1"]);
        assert!(second.done() && !first.done());
        assert_eq!(first.waiting_and_running(), (1, 0));
    }
}
