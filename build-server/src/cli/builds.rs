//! `build-server builds …`.

use std::{
    collections::BTreeMap,
    io::{Write, stdout},
    time::Duration,
};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;

use super::{
    client::{Access, Api, Fault, segment},
    print_json,
};
use crate::{
    output::Stripper,
    request::{BuildRequest, JobRequest, PullRequest},
    states::JobState,
    store::views::BuildView,
};

/// How often `--follow` looks for more.
const FOLLOW: Duration = Duration::from_millis(500);

#[derive(Args)]
pub struct BuildsArgs {
    #[command(flatten)]
    access: Access,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: BuildsCommand,
}

#[derive(Subcommand)]
enum BuildsCommand {
    /// Make a build; each --command is a job of its own
    Create(Box<CreateArgs>),
    /// List the newest builds
    List {
        /// Of this pipeline only
        #[arg(long)]
        pipeline: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 30)]
        limit: u32,
    },
    /// Show a build and its jobs
    Show {
        /// Build id or number
        id: String,
    },
    /// Print the log of a job, or of all jobs of a build
    Log {
        /// Build id or number, or job id
        id: String,
        /// Go on until the job ends
        #[arg(long)]
        follow: bool,
        /// Leave the agents' inline time marks in
        #[arg(long)]
        timestamps: bool,
    },
    /// Cancel a build
    Cancel {
        /// Build id or number
        id: String,
    },
}

#[derive(Args)]
struct CreateArgs {
    /// Pipeline slug
    #[arg(long)]
    pipeline: String,
    /// Git URL
    #[arg(long)]
    repo: String,
    /// Commit, or HEAD of the branch
    #[arg(long, default_value = "HEAD")]
    commit: String,
    /// Branch
    #[arg(long, default_value = "main")]
    branch: String,
    /// Shell text of a job; may be given several times
    #[arg(long, required = true)]
    command: Vec<String>,
    /// Queue of the jobs
    #[arg(long, default_value = "default")]
    queue: String,
    /// Tag an agent must have, key=value
    #[arg(long = "agent")]
    agents: Vec<String>,
    /// Higher is dispatched first
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i64,
    /// Minutes after which a running job is canceled
    #[arg(long)]
    timeout_minutes: Option<u32>,
    /// Variable of the jobs, NAME=VALUE
    #[arg(long = "env")]
    env: Vec<String>,
    /// Number of the pull request
    #[arg(long, requires = "pull_request_repo")]
    pull_request: Option<u64>,
    /// Git URL the pull request comes from
    #[arg(long, requires = "pull_request")]
    pull_request_repo: Option<String>,
    /// Message for people
    #[arg(long, default_value = "")]
    message: String,
    /// The same key with the same request makes one build
    #[arg(long)]
    idempotency_key: Option<String>,
}

#[derive(Deserialize, serde::Serialize)]
struct Builds {
    builds: Vec<BuildView>,
}

pub async fn run(args: BuildsArgs) -> Result<(), Fault> {
    let api = Api::new(args.access)?;
    match args.command {
        BuildsCommand::Create(create) => {
            let body =
                serde_json::to_vec(&request(*create)?).map_err(|fault| Fault::Usage(fault.to_string()))?;
            print(&api.json(Method::POST, "/api/builds", Some(body)).await?, args.json)
        }
        BuildsCommand::List { pipeline, limit } => {
            let pipeline = pipeline.map(|slug| format!("&pipeline={slug}")).unwrap_or_default();
            let list: Builds =
                api.json(Method::GET, &format!("/api/builds?limit={limit}{pipeline}"), None).await?;
            list_builds(&list, args.json)
        }
        BuildsCommand::Show { id } => print(&api.build(&id).await?, args.json),
        BuildsCommand::Log { id, follow, timestamps } => log(&api, &id, follow, timestamps).await,
        BuildsCommand::Cancel { id } => {
            let path = format!("/api/builds/{}/cancel", segment(&id)?);
            print(&api.json(Method::PUT, &path, None).await?, args.json)
        }
    }
}

fn request(args: CreateArgs) -> Result<BuildRequest, Fault> {
    let variable = |text: &String| {
        let (name, value) =
            text.split_once('=').ok_or_else(|| Fault::Usage(format!("--env {text:?}: use NAME=VALUE")))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    let env: BTreeMap<_, _> = args.env.iter().map(variable).collect::<Result<_, Fault>>()?;
    let pull_request = args.pull_request.zip(args.pull_request_repo);
    let job = |command: String| JobRequest {
        command,
        queue: args.queue.clone(),
        agents: args.agents.clone(),
        priority: args.priority,
        timeout_minutes: args.timeout_minutes,
        ..JobRequest::default()
    };
    Ok(BuildRequest {
        pipeline: args.pipeline,
        repo: args.repo,
        commit: args.commit,
        branch: args.branch,
        message: args.message,
        env,
        pull_request: pull_request.map(|(number, repo)| PullRequest {
            number,
            repo,
            ..PullRequest::default()
        }),
        idempotency_key: args.idempotency_key,
        jobs: args.command.into_iter().map(job).collect(),
    })
}

fn print(build: &BuildView, json: bool) -> Result<(), Fault> {
    if json {
        return print_json(build);
    }
    let mut out = stdout().lock();
    writeln!(out, "build {} {} {} {}", build.number, build.state, build.pipeline, build.id)?;
    for job in &build.jobs {
        let exit = job.exit_status.map(|status| format!(" exit {status}")).unwrap_or_default();
        let agent = job.agent_name.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
        let reason = job.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        writeln!(out, "  job {} {}{exit}{agent} queue {}{reason}", job.id, job.state, job.queue)?;
    }
    Ok(())
}

fn list_builds(list: &Builds, json: bool) -> Result<(), Fault> {
    if json {
        return print_json(list);
    }
    let mut out = stdout().lock();
    for build in &list.builds {
        let (number, state, pipeline) = (build.number, &build.state, &build.pipeline);
        writeln!(out, "{number}\t{state}\t{pipeline}\t{}\t{} jobs", build.created_at, build.jobs.len())?;
    }
    Ok(())
}

async fn log(api: &Api, id: &str, follow: bool, timestamps: bool) -> Result<(), Fault> {
    match api.build(id).await {
        Ok(build) => {
            for job in &build.jobs {
                job_log(api, &job.id, follow.then_some(&build.id), timestamps).await?;
            }
            Ok(())
        }
        // Not a build: a job. Its build is not known here, so it is printed as far as it is.
        Err(Fault::Refused { status: reqwest::StatusCode::NOT_FOUND, .. }) => {
            job_log(api, id, None, timestamps).await
        }
        Err(fault) => Err(fault),
    }
}

/// Prints a job's log, page by page; with `follow` (its build) until the job has ended.
async fn job_log(api: &Api, job: &str, follow: Option<&String>, timestamps: bool) -> Result<(), Fault> {
    let job = segment(job)?;
    let (mut after, mut stripper) = (0_i64, Stripper::default());
    loop {
        // Looked at before the page: a job that had ended then has its whole log there.
        let ended = match follow {
            Some(build) => {
                let build = api.build(build).await?;
                build.jobs.iter().any(|other| other.id == job && JobState::ended(other.state))
            }
            None => true,
        };
        let path = format!("/api/jobs/{job}/log?after={after}&timestamps=keep");
        let answer = api.send(Method::GET, &path, None).await?;
        let next = answer.headers().get("x-log-next").and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = answer.bytes().await.map_err(|fault| Fault::Answer(path, fault.to_string()))?;
        let mut out = stdout().lock();
        out.write_all(&if timestamps { bytes.to_vec() } else { stripper.strip(&bytes) })?;
        out.flush()?;
        drop(out);
        let more = next.filter(|next| *next > after);
        match more {
            Some(next) => after = next,
            None if ended => break,
            None => tokio::time::sleep(FOLLOW).await,
        }
    }
    stdout().lock().write_all(&stripper.finish())?;
    Ok(())
}
