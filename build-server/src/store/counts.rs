//! Counts of jobs and agents, for scalers.

use std::collections::BTreeMap;

use agent_api::metrics::{Agents, AllMetrics, ByQueue, Jobs, Organization, QueueMetrics};
use rusqlite::Connection;

use crate::refusal::Refusal;

/// Everything, in all and by queue.
pub fn all(db: &Connection, slug: &str) -> Result<AllMetrics, Refusal> {
    let mut jobs = ByQueue::<Jobs>::default();
    for (queue, held, count) in jobs_by_queue(db)? {
        let of_queue = jobs.queues.entry(queue).or_default();
        for all in [of_queue, &mut jobs.total] {
            *if held { &mut all.running } else { &mut all.scheduled } += count;
            all.total += count;
        }
    }
    let mut agents = ByQueue::<Agents>::default();
    for (queue, busy, count) in agents_by_queue(db)? {
        let of_queue = agents.queues.entry(queue).or_default();
        for all in [of_queue, &mut agents.total] {
            *if busy { &mut all.busy } else { &mut all.idle } += count;
            all.total += count;
        }
    }
    Ok(AllMetrics { agents, jobs, organization: Organization { slug: slug.to_owned() } })
}

/// One queue. A queue that nobody named has no jobs and no agents: this server knows them all.
pub fn of_queue(db: &Connection, slug: &str, queue: &str) -> Result<QueueMetrics, Refusal> {
    let AllMetrics { agents, jobs, organization } = all(db, slug)?;
    let of = |all: &BTreeMap<String, Agents>| all.get(queue).copied().unwrap_or_default();
    Ok(QueueMetrics {
        agents: of(&agents.queues),
        jobs: jobs.queues.get(queue).copied().unwrap_or_default(),
        organization,
    })
}

fn jobs_by_queue(db: &Connection) -> Result<Vec<(String, bool, u64)>, Refusal> {
    let sql = "SELECT queue, agent IS NOT NULL, count(*) FROM jobs WHERE finished_at IS NULL GROUP BY 1, 2";
    grouped(db, sql)
}

fn agents_by_queue(db: &Connection) -> Result<Vec<(String, bool, u64)>, Refusal> {
    let sql =
        "SELECT queue, EXISTS (SELECT 1 FROM jobs WHERE jobs.agent = agents.id AND jobs.finished_at IS NULL),
                 count(*) FROM agents WHERE state = 'connected' GROUP BY 1, 2";
    grouped(db, sql)
}

fn grouped(db: &Connection, sql: &str) -> Result<Vec<(String, bool, u64)>, Refusal> {
    let mut statement = db.prepare_cached(sql)?;
    let rows =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, u64::from(row.get::<_, u32>(2)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
