//! A job's life: given to an agent, accepted, started, ended. Every change names the state it starts from.

use agent_api::wire::JobFinish;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    deadlines::{self, Held, Step},
    dispatch::{Tags, WaitingJob},
    presence::Presence,
    refusal::Refusal,
    request::JobRequest,
    states::JobState,
};

/// A job's row, as far as agents' requests need it.
#[derive(Debug, Clone)]
pub struct Record {
    /// Key of the row; jobs are dispatched in its order within a priority.
    pub place: i64,
    /// Its id.
    pub id: String,
    /// Its build's number.
    pub build: i64,
    /// Where it stands.
    pub state: JobState,
    /// The agent that holds it, or held it at its end.
    pub agent: Option<String>,
    /// The agent it was taken back from.
    pub taken_from: Option<String>,
    /// Did it end otherwise than by its agent's word?
    pub cut_off: bool,
    /// How often it went back to the queue.
    pub attempts: i64,
    /// What the user asked for.
    pub definition: JobRequest,
}

const COLUMNS: &str = "place, id, build, state, agent, taken_from, reason, attempts, definition";

fn read(row: &Row<'_>) -> rusqlite::Result<(Record, String)> {
    let state: String = row.get(3)?;
    // An unknown word can only come from a newer version, whose database is refused at start.
    let state = JobState::parse(&state).unwrap_or(JobState::Failed);
    let record = Record {
        place: row.get(0)?,
        id: row.get(1)?,
        build: row.get(2)?,
        state,
        agent: row.get(4)?,
        taken_from: row.get(5)?,
        cut_off: state.ended() && row.get::<_, Option<String>>(6)?.is_some(),
        attempts: row.get(7)?,
        definition: JobRequest::default(),
    };
    Ok((record, row.get(8)?))
}

fn one(db: &Connection, condition: &str, value: &str) -> Result<Option<Record>, Refusal> {
    let mut statement = db.prepare_cached(&format!("SELECT {COLUMNS} FROM jobs WHERE {condition}"))?;
    let Some((record, definition)) = statement.query_row([value], read).optional()? else { return Ok(None) };
    Ok(Some(Record { definition: serde_json::from_str(&definition)?, ..record }))
}

/// The job of this id.
pub fn by_id(db: &Connection, id: &str) -> Result<Record, Refusal> {
    one(db, "id = ?", id)?.ok_or_else(|| Refusal::not_found("job", id))
}

/// The job that this agent holds.
pub fn held_by(db: &Connection, agent: &str) -> Result<Option<Record>, Refusal> {
    one(db, "agent = ? AND finished_at IS NULL", agent)
}

/// Waiting jobs of a queue in dispatch order, given to `choose` one by one.
pub fn choose_waiting<T>(
    db: &Connection,
    queue: &str,
    choose: impl FnOnce(&mut dyn Iterator<Item = WaitingJob>) -> T,
) -> Result<T, Refusal> {
    let mut statement = db.prepare_cached(
        "SELECT id, definition, taken_from FROM jobs
         WHERE agent IS NULL AND finished_at IS NULL AND queue = ? ORDER BY priority DESC, place",
    )?;
    let rows = statement.query_map([queue], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Option<String>>(2)?))
    })?;
    // A row that cannot be read is passed over, so that it does not hold up the queue.
    let mut waiting = rows.flatten().filter_map(|(id, definition, taken_from)| {
        let definition: JobRequest = serde_json::from_str(&definition).ok()?;
        let rules = Tags::parse(&definition.agents).and("queue", &definition.queue);
        Some(WaitingJob { id, rules, taken_from })
    });
    Ok(choose(&mut waiting))
}

/// Ties a waiting job to an agent. False when it no longer waits.
pub fn assign(db: &Connection, job: &str, agent: &str, name: &str, now: i64) -> Result<bool, Refusal> {
    let mut statement = db.prepare_cached(
        "UPDATE jobs SET state = 'assigned', since = ?1, assigned_at = ?1, agent = ?2, agent_name = ?3
         WHERE id = ?4 AND agent IS NULL AND finished_at IS NULL",
    )?;
    Ok(statement.execute(params![now, agent, name, job])? == 1)
}

/// Moves a job on, if it is still in `from`.
pub fn advance(db: &Connection, job: &str, from: JobState, to: JobState, now: i64) -> Result<bool, Refusal> {
    let mut statement = db.prepare_cached(
        "UPDATE jobs SET state = ?1, since = ?2, started_at = CASE ?1 WHEN 'running' THEN ?2 ELSE started_at END
         WHERE id = ?3 AND state = ?4",
    )?;
    Ok(statement.execute(params![to.as_str(), now, job, from.as_str()])? == 1)
}

/// The agent reported the job's end.
pub fn finish(db: &Connection, job: &Record, finish: &JobFinish, now: i64) -> Result<(), Refusal> {
    let exit_status = finish.exit_status.trim().parse::<i32>();
    let reason = exit_status.is_err().then(|| {
        let told: String = finish.exit_status.chars().take(20).collect();
        format!("its agent reported the exit status {told:?}")
    });
    let exit_status = exit_status.unwrap_or(-1);
    db.prepare_cached(
        "UPDATE jobs SET state = ?, since = ?3, finished_at = ?3, exit_status = ?2, signal = ?4, signal_reason = ?5,
           chunks_failed = ?6, reason = ?7 WHERE id = ?8",
    )?
    .execute(params![
        job.state.finished_with(exit_status).as_str(),
        exit_status,
        now,
        finish.signal,
        finish.signal_reason,
        i64::try_from(finish.chunks_failed_count).unwrap_or(i64::MAX),
        reason,
        job.id
    ])?;
    Ok(())
}

/// All held jobs, for the time limits.
pub fn held(db: &Connection, presence: &Presence) -> Result<Vec<Held>, Refusal> {
    let mut statement = db.prepare_cached(
        "SELECT id, agent, state, since, started_at, time_limit, attempts FROM jobs
         WHERE agent IS NOT NULL AND finished_at IS NULL",
    )?;
    let rows = statement.query_map([], |row| {
        let agent: String = row.get(1)?;
        let heard = presence.of(&agent);
        let state: String = row.get(2)?;
        let since: i64 = row.get(3)?;
        Ok(Held {
            job: row.get(0)?,
            agent,
            state: JobState::parse(&state).unwrap_or(JobState::Failed),
            since,
            started_at: row.get(4)?,
            time_limit: row.get(5)?,
            attempts: row.get(6)?,
            agent_pinged: heard.pinged,
            job_heard: heard.job.max(since),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Does a step of the time limits to a job, if the job is still as it was. Steps for agents do nothing here.
pub fn apply(db: &Connection, step: &Step, now: i64) -> Result<(), Refusal> {
    match step {
        Step::GiveBack { job, from } => db
            .prepare_cached(
                "UPDATE jobs SET state = 'scheduled', since = ?1, taken_from = agent, agent = NULL, agent_name = NULL,
                   assigned_at = NULL, attempts = attempts + (state = 'accepted') WHERE id = ?2 AND state = ?3",
            )?
            .execute(params![now, job, from.as_str()])?,
        Step::End { job, from, reason } => db
            .prepare_cached(
                "UPDATE jobs SET state = ?1, since = ?2, finished_at = ?2, exit_status = -1, reason = ?3
                 WHERE id = ?4 AND state = ?5",
            )?
            .execute(params![from.without_agent().as_str(), now, reason, job, from.as_str()])?,
        Step::TimeOut { job } => usize::from(advance(db, job, JobState::Running, JobState::TimingOut, now)?),
        Step::Lose { .. } => 0,
    };
    Ok(())
}

/// What becomes of an agent's job when the agent goes away by itself.
pub fn give_up(db: &Connection, agent: &str, now: i64) -> Result<(), Refusal> {
    let Some(job) = held_by(db, agent)? else { return Ok(()) };
    let step = deadlines::without_agent(&job.id, job.state, job.attempts, "its agent disconnected");
    apply(db, &step, now)
}

/// Cancels one job, or all of a build, by the column that names them: what no agent runs yet ends now, what runs
/// ends when its agent says so.
fn cancel_where(db: &Connection, column: &str, value: i64, now: i64) -> Result<(), Refusal> {
    db.prepare_cached(&format!(
        "UPDATE jobs SET state = 'canceled', since = ?1, finished_at = ?1, reason = 'canceled before it ran'
         WHERE {column} = ?2 AND state IN ('scheduled', 'assigned', 'accepted')"
    ))?
    .execute(params![now, value])?;
    db.prepare_cached(&format!(
        "UPDATE jobs SET state = 'canceling', since = ?1 WHERE {column} = ?2 AND state = 'running'"
    ))?
    .execute(params![now, value])?;
    Ok(())
}

/// Cancels a job.
pub fn cancel(db: &Connection, job: &Record, now: i64) -> Result<(), Refusal> {
    cancel_where(db, "place", job.place, now)
}

/// Cancels all jobs of a build.
pub fn cancel_build(db: &Connection, build: i64, now: i64) -> Result<(), Refusal> {
    cancel_where(db, "build", build, now)
}
