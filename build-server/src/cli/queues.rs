//! `build-server queues …`.

use std::io::{Write, stdout};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    client::{Access, Api, Fault},
    print_json,
};
use crate::{request::is_slug, store::queues::QueueView};

#[derive(Args)]
pub struct QueuesArgs {
    #[command(flatten)]
    access: Access,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: QueuesCommand,
}

#[derive(Subcommand)]
enum QueuesCommand {
    /// List the queues that have jobs or agents, or are paused
    List,
    /// Give no job of a queue to an agent until it is resumed; what runs goes on
    Pause {
        /// Queue
        name: String,
        /// Why, for people
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Give out the jobs of a queue again
    Resume {
        /// Queue
        name: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Queues {
    queues: Vec<QueueView>,
}

pub async fn run(args: QueuesArgs) -> Result<(), Fault> {
    let api = Api::new(args.access)?;
    match args.command {
        QueuesCommand::List => {
            let list: Queues = api.json(Method::GET, "/api/queues", None).await?;
            if args.json {
                return print_json(&list);
            }
            list.queues.iter().try_for_each(print)
        }
        QueuesCommand::Pause { name, note } => {
            let body = Some(json!({ "note": note }).to_string().into_bytes());
            show(&api.json(Method::PUT, &path(&name, "pause")?, body).await?, args.json)
        }
        QueuesCommand::Resume { name } => {
            show(&api.json(Method::PUT, &path(&name, "resume")?, None).await?, args.json)
        }
    }
}

fn path(name: &str, what: &str) -> Result<String, Fault> {
    if is_slug(name) {
        return Ok(format!("/api/queues/{name}/{what}"));
    }
    Err(Fault::Usage(format!("{name:?} is no queue's name")))
}

fn show(queue: &QueueView, json: bool) -> Result<(), Fault> {
    if json { print_json(queue) } else { print(queue) }
}

fn print(queue: &QueueView) -> Result<(), Fault> {
    let QueueView { name, paused_at, note, scheduled, running, agents } = queue;
    let note = if note.is_empty() { String::new() } else { format!(": {note}") };
    let paused = paused_at.map(|at| format!(" paused since {at:.0}{note}")).unwrap_or_default();
    let mut out = stdout().lock();
    Ok(writeln!(out, "queue {name} {scheduled} scheduled {running} running {agents} agents{paused}")?)
}
