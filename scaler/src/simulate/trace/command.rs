//! `scaler trace`: its options, and what it prints: a trace that is made, or one of what the CI remembers.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, ValueEnum};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;

use super::write::{Row, rows, write};
use super::{Build, Millis};
use crate::check::environment;
use crate::ports::Problem;
use crate::simulate::command::{millis, of_file};
use crate::simulate::generate::{Hints, Shape, Week};
use crate::simulate::history::fetch::{Ci, fetch};
use crate::simulate::history::{History, Wanted};

/// Options of `scaler trace`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("past"))]
pub struct TraceOptions {
    /// What to make
    #[arg(long, value_enum, default_value_t = Kind::Week, conflicts_with = "past")]
    shape: Kind,
    /// Seed of a week
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Days of a week
    #[arg(long, default_value_t = 5)]
    days: u32,
    /// Builds of a day
    #[arg(long, default_value_t = 120.0)]
    builds_a_day: f64,
    /// Jobs of a build, on average
    #[arg(long, default_value_t = 10.0)]
    fan_out: f64,
    /// How long ahead builds are announced
    #[arg(long, default_value = "45s", value_parser = millis)]
    lead: Millis,
    /// By how much the announced number is off, at most: 0.4 is ±40 %
    #[arg(long, default_value_t = 0.4)]
    error: f64,
    /// The part of builds that is not announced
    #[arg(long, default_value_t = 0.0)]
    missed: f64,
    /// Announcements of builds that never come, as a part of the builds
    #[arg(long, default_value_t = 0.0)]
    ghosts: f64,
    /// Announce nothing
    #[arg(long)]
    blind: bool,
    /// The idle period that a sawtooth hits
    #[arg(long, default_value = "40s", value_parser = millis)]
    idle: Millis,
    #[command(flatten)]
    past: Past,
}

/// What the CI remembers, in place of what is made.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "From a CI's history")]
struct Past {
    /// Builds as JSON: pages of Buildkite's REST API, or of build-server; `-` is standard input
    #[arg(long, value_name = "FILE", num_args = 1.., group = "past")]
    history: Vec<PathBuf>,
    /// Ask Buildkite for this organization's builds, with the token BUILDKITE_API_TOKEN (scope read_builds)
    #[arg(long, value_name = "SLUG", group = "past")]
    organization: Option<String>,
    /// Where Buildkite's REST API is
    #[arg(long, value_name = "URL", default_value = "https://api.buildkite.com")]
    api: String,
    /// Ask this build-server, with the API token in the file BUILD_SERVER_TOKEN_FILE
    #[arg(long, value_name = "URL", group = "past")]
    build_server: Option<String>,
    /// Jobs of this queue only
    #[arg(long, requires = "past")]
    queue: Option<String>,
    /// Jobs that were runnable from here on
    #[arg(long, value_name = "TIME", requires = "past")]
    from: Option<Timestamp>,
    /// Jobs that were runnable before this
    #[arg(long, value_name = "TIME", requires = "past")]
    until: Option<Timestamp>,
}

/// What `scaler trace` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A team's week
    Week,
    /// Monday 09:00: from nothing to eighty jobs within five minutes
    Burst,
    /// One job an hour
    Hourly,
    /// One build of five hundred jobs
    FanOut,
    /// Jobs that come whenever instances have just gone
    Sawtooth,
}

/// Prints a trace.
///
/// # Errors
/// A history that cannot be had or makes no sense; standard output that cannot be written.
pub async fn trace(options: &TraceOptions) -> Result<(), Problem> {
    let Past { queue, from, until, .. } = options.past.clone();
    let wanted = Wanted { queue, from, until, blind: options.blind };
    match options.past.read(&wanted).await? {
        None => print(rows("default", &builds(options))),
        Some((history, place)) => {
            let told = history.trace(&wanted);
            let told = told.map_err(|faults| Problem::new(78, format!("history of {place}:\n{faults}")))?;
            eprintln!("scaler: {}", told.summary());
            print(told.rows)
        }
    }
}

fn print(rows: impl IntoIterator<Item = Row>) -> Result<(), Problem> {
    let out = BufWriter::new(io::stdout().lock());
    write(out, rows).map_err(|e| of_file("write", Path::new("standard output"), &e))
}

fn builds(options: &TraceOptions) -> Vec<Build> {
    let shape = match options.shape {
        Kind::Burst => Shape::Burst,
        Kind::Hourly => Shape::Hourly,
        Kind::FanOut => Shape::FanOut,
        Kind::Sawtooth => Shape::Sawtooth,
        Kind::Week => {
            let TraceOptions { lead, error, missed, ghosts, .. } = *options;
            let hints = (!options.blind).then_some(Hints { lead, error, missed, ghosts });
            let TraceOptions { days, builds_a_day, fan_out, .. } = *options;
            return Week { days, builds_a_day, fan_out, hints }.builds(options.seed);
        }
    };
    shape.builds(options.idle)
}

impl Past {
    /// The history, and where it is from; nothing where none is asked for.
    async fn read(&self, wanted: &Wanted) -> Result<Option<(History, String)>, Problem> {
        let slashless = |url: &str| url.trim_end_matches('/').to_owned();
        if let Some(organization) = &self.organization {
            let token = environment("BUILDKITE_API_TOKEN").filter(|token| !token.is_empty());
            let token = token.ok_or_else(|| {
                Problem::new(78, "BUILDKITE_API_TOKEN: give an API access token with the scope read_builds")
            })?;
            let ci = Ci::Buildkite { api: slashless(&self.api), organization: organization.clone() };
            let history = fetch(&ci, &SecretString::from(token), wanted).await?;
            return Ok(Some((history, organization.clone())));
        }
        if let Some(url) = &self.build_server {
            let ci = Ci::BuildServer { url: slashless(url) };
            return Ok(Some((fetch(&ci, &build_server_token()?, wanted).await?, url.clone())));
        }
        if self.history.is_empty() {
            return Ok(None);
        }
        let mut history = History::default();
        for file in &self.history {
            if file == Path::new("-") {
                pages(&mut history, "standard input", io::stdin().lock());
            } else {
                let open = File::open(file).map_err(|e| of_file("open", file, &e))?;
                pages(&mut history, &file.display().to_string(), BufReader::new(open));
            }
        }
        let names: Vec<String> = self.history.iter().map(|file| file.display().to_string()).collect();
        Ok(Some((history, names.join(", "))))
    }
}

/// All pages of a file, one after the other.
fn pages(history: &mut History, name: &str, file: impl Read) {
    let mut pages = serde_json::Deserializer::from_reader(file).into_iter::<Value>();
    for number in 1u32.. {
        let place = if number == 1 { name.to_owned() } else { format!("{name}, page {number}") };
        match pages.next() {
            Some(Ok(page)) => {
                history.take(&place, &page);
            }
            Some(Err(error)) => return history.fault(format!("{place}: {error}")),
            None if number == 1 => return history.fault(format!("{place}: is empty")),
            None => return,
        }
    }
}

/// As `build-server`'s own command line reads it: the first line that is no comment.
fn build_server_token() -> Result<SecretString, Problem> {
    let variable = "BUILD_SERVER_TOKEN_FILE";
    let file = environment(variable).filter(|file| !file.is_empty());
    let file =
        file.ok_or_else(|| Problem::new(78, format!("{variable}: name the server's DATA/api-token")))?;
    let text = std::fs::read_to_string(&file).map_err(|e| of_file(variable, Path::new(&file), &e))?;
    let token = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let token = token.ok_or_else(|| Problem::new(78, format!("{variable}: {file} holds no token")))?;
    Ok(SecretString::from(token))
}
