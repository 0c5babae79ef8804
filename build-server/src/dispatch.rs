//! Which waiting job goes to which agent. Pure.
//!
//! Jobs are taken by priority, then by age; each goes to the best free agent that matches it. An agent that let a
//! job's time to accept pass comes last for that job.

use std::cmp::Reverse;

/// An agent's tags, `key=value` each. Without a `queue` tag it serves the queue `default`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags(Vec<(String, String)>);

impl Tags {
    /// Reads tags as agents send them. One without `=` has the value `true`.
    pub fn parse<S: AsRef<str>>(tags: &[S]) -> Self {
        let split = |tag: &str| {
            let (key, value) = tag.split_once('=').unwrap_or((tag, "true"));
            (key.trim().to_owned(), value.trim().to_owned())
        };
        Self(tags.iter().map(|tag| split(tag.as_ref())).collect())
    }

    /// These and one more.
    pub fn and(mut self, key: &str, value: &str) -> Self {
        self.0.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The queue these tags serve.
    pub fn queue(&self) -> &str {
        self.0.iter().find(|(key, _)| key == "queue").map_or("default", |(_, value)| value)
    }

    /// Every `(key, value)`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Does every rule (`key=value`) hold?
    pub fn satisfy(&self, rules: &Self) -> bool {
        rules.iter().all(|(key, value)| match key {
            "queue" => self.queue() == value,
            _ => self.iter().any(|tag| tag == (key, value)),
        })
    }
}

/// An agent that could take a job now.
#[derive(Debug, Clone)]
pub struct FreeAgent {
    /// Its id.
    pub id: String,
    /// Higher is asked first.
    pub priority: i64,
    /// What it offers.
    pub tags: Tags,
}

/// A job that waits for an agent.
#[derive(Debug, Clone)]
pub struct WaitingJob {
    /// Its id.
    pub id: String,
    /// What its agent must offer, `queue` among them.
    pub rules: Tags,
    /// The agent it was taken back from.
    pub taken_from: Option<String>,
}

/// The job for the agent `asking`, when every waiting job (in dispatch order) goes to its best free agent.
/// Stops reading jobs as soon as the answer is certain.
pub fn job_for(
    asking: &str,
    agents: &[FreeAgent],
    jobs: impl IntoIterator<Item = WaitingJob>,
) -> Option<WaitingJob> {
    let mut free: Vec<&FreeAgent> = agents.iter().collect();
    for job in jobs {
        if !free.iter().any(|agent| agent.id == asking) {
            return None;
        }
        let Some(at) = best(&free, &job) else { continue };
        if free.remove(at).id == asking {
            return Some(job);
        }
    }
    None
}

/// The place of the best agent for a job; equals keep the order they came in.
fn best(free: &[&FreeAgent], job: &WaitingJob) -> Option<usize> {
    let matching = free.iter().enumerate().filter(|(_, agent)| agent.tags.satisfy(&job.rules));
    let rank = |agent: &FreeAgent| (job.taken_from.as_ref() == Some(&agent.id), Reverse(agent.priority));
    matching.min_by_key(|(_, agent)| rank(agent)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests;
