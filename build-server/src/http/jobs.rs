//! A job at its agent: accept, acquire, start, state, finish.

use std::sync::Arc;

use agent_api::wire::{Job, JobFinish, JobState as StateAnswer};
use axum::{
    Json,
    extract::{Path, State},
};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{Server, Shared, authority::Session, reply::Payload};
use crate::{
    environment::{self, Facts},
    output::CHUNK_BYTES,
    refusal::Refusal,
    request::BuildRequest,
    states::JobState,
    store::{
        agents::Agent,
        builds,
        jobs::{self, Record},
    },
};

pub async fn accept(
    State(server): Shared,
    Path(id): Path<String>,
    Session(agent): Session,
) -> Result<Json<Job>, Refusal> {
    let (shared, now) = (Arc::clone(&server), server.now());
    let accept = move |db: &Connection| {
        let job = own(db, &id, &agent)?;
        match job.state {
            JobState::Assigned => drop(jobs::advance(db, &job.id, job.state, JobState::Accepted, now)?),
            // The answer to the first accept was lost.
            JobState::Accepted => {}
            state => return Err(Refusal::invalid(format!("job {id} cannot be accepted: it is {state}"))),
        }
        hand_over(db, &shared, &job, &agent)
    };
    server.store.run(accept).await.map(Json)
}

pub async fn acquire(
    State(server): Shared,
    Path(id): Path<String>,
    Session(agent): Session,
) -> Result<Json<Job>, Refusal> {
    let (shared, now) = (Arc::clone(&server), server.now());
    let acquire = move |db: &Connection| {
        let refuse = |why: String| Err(Refusal::invalid(format!("job {id} cannot be acquired: {why}")));
        let job = match jobs::by_id(db, &id) {
            Err(Refusal::NotFound(_)) => return refuse("it does not exist".into()),
            found => found?,
        };
        let mine = job.agent.as_ref() == Some(&agent.id);
        if !mine {
            if jobs::held_by(db, &agent.id)?.is_some() {
                return refuse("this agent has another job".into());
            }
            if !jobs::assign(db, &job.id, &agent.id, &agent.name, now)? {
                return refuse(format!("it is {}", job.state));
            }
        }
        if !mine || job.state == JobState::Assigned {
            jobs::advance(db, &job.id, JobState::Assigned, JobState::Accepted, now)?;
        } else if job.state != JobState::Accepted {
            return refuse(format!("it is {}", job.state));
        }
        hand_over(db, &shared, &job, &agent)
    };
    server.store.run(acquire).await.map(Json)
}

/// The job of this id, if this agent holds it or held it at its end.
pub(super) fn own(db: &Connection, id: &str, agent: &Agent) -> Result<Record, Refusal> {
    let refuse = || Refusal::invalid(format!("job {id} is not this agent's"));
    match jobs::by_id(db, id) {
        Ok(job) if job.agent.as_ref() == Some(&agent.id) => Ok(job),
        Ok(_) | Err(Refusal::NotFound(_)) => Err(refuse()),
        Err(fault) => Err(fault),
    }
}

/// Everything the agent needs to run the job.
fn hand_over(db: &Connection, server: &Server, job: &Record, agent: &Agent) -> Result<Job, Refusal> {
    let (build, definition): (String, BuildRequest) = builds::definition(db, job.build)?;
    let tags = agent.tags();
    let facts = Facts {
        organization: &server.config.organization,
        base_url: &server.base_url,
        build: &build,
        number: job.build,
        job: &job.id,
        agent: &agent.id,
        agent_name: &agent.name,
        tags: &tags,
        attempts: job.attempts,
    };
    Ok(Job {
        id: job.id.clone(),
        state: Some(JobState::Accepted.as_str().to_owned()),
        env: environment::of_job(&definition, &job.definition, &facts),
        chunks_max_size_bytes: CHUNK_BYTES,
        chunks_interval_seconds: Some(1),
        log_max_size_bytes: Some(server.config.log_bytes_limit),
        token: None,
    })
}

pub async fn start(
    State(server): Shared,
    Path(id): Path<String>,
    Session(agent): Session,
) -> Result<Json<Value>, Refusal> {
    let now = server.now();
    let start = move |db: &Connection| {
        let job = own(db, &id, &agent)?;
        match job.state {
            JobState::Accepted => drop(jobs::advance(db, &job.id, job.state, JobState::Running, now)?),
            // The answer to the first start was lost; a cancel since then reaches the agent by the state.
            JobState::Running | JobState::Canceling | JobState::TimingOut => {}
            state => return Err(Refusal::invalid(format!("job {id} cannot start: it is {state}"))),
        }
        Ok(())
    };
    server.store.run(start).await?;
    Ok(Json(json!({})))
}

pub async fn state(
    State(server): Shared,
    Path(id): Path<String>,
    Session(agent): Session,
) -> Result<Json<StateAnswer>, Refusal> {
    let state = move |db: &Connection| {
        let job = jobs::by_id(db, &id)?;
        if job.agent.as_ref() == Some(&agent.id) {
            return Ok(seen_by(&agent.definition.version, &job));
        }
        if job.taken_from.as_ref() == Some(&agent.id) {
            return Ok("canceled");
        }
        Err(Refusal::not_found("job", &id))
    };
    let state = server.store.run(state).await?.to_owned();
    Ok(Json(StateAnswer { state }))
}

/// The word that makes this version of the agent do the right thing: 3.137 and later know `timing_out`, earlier
/// ones only `canceling`; a job that ended without its agent must not go on there.
fn seen_by(version: &str, job: &Record) -> &'static str {
    match job.state {
        _ if job.cut_off => "canceled",
        JobState::TimingOut if !knows_time_outs(version) => "canceling",
        state => state.as_str(),
    }
}

fn knows_time_outs(version: &str) -> bool {
    let mut parts = version.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    (major, minor) >= (3, 137)
}

pub async fn finish(
    State(server): Shared,
    Path(id): Path<String>,
    Session(agent): Session,
    payload: Payload,
) -> Result<Json<Value>, Refusal> {
    let finish: JobFinish = payload.json()?;
    let now = server.now();
    let end = move |db: &Connection| {
        let job = own(db, &id, &agent)?;
        if !job.state.ended() {
            jobs::finish(db, &job, &finish, now)?;
        }
        if finish.ignore_agent_in_dispatches == Some(true) {
            crate::store::agents::ignore(db, &agent.id)?;
        }
        Ok(())
    };
    server.store.run(end).await?;
    Ok(Json(json!({})))
}

#[cfg(test)]
mod tests {
    use super::knows_time_outs;

    #[test]
    fn versions_that_know_time_outs() {
        for (version, known) in
            [("3.18.0", false), ("3.136.9", false), ("3.137.0", true), ("4.0.0-beta.15", true), ("", false)]
        {
            assert_eq!(knows_time_outs(version), known, "{version:?}");
        }
    }
}
