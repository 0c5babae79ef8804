//! Packer as a program: which version, is a template valid, a build with its progress.

pub mod output;
mod output_file;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::Command;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::problem::Problem;
use crate::process::{Group, run};
use output::{Image, Line, Temporary, read};
pub use output_file::past;
use output_file::{Reader, alone};

/// The longest for what starts no instance.
const CHECK_PATIENCE: Duration = Duration::from_mins(10);

/// How long Packer may take away what it made, once it was told to stop.
const CLEANUP_PATIENCE: Duration = Duration::from_mins(5);

/// Of util-linux.
const SETPRIV: &str = "/usr/bin/setpriv";

/// From one look at the output to the next.
const LOOK: Duration = Duration::from_millis(100);

/// As many of the last lines are kept to tell why a build failed; kiln told as many.
pub const TAIL: usize = 20;

/// Packer on this machine.
#[derive(Debug, Clone)]
pub struct Packer {
    /// The program.
    pub program: PathBuf,
    /// Variables of its environment beside our own.
    pub environment: Vec<(OsString, OsString)>,
}

/// A template to be built, with its variables.
#[derive(Debug)]
pub struct Work {
    folder: PathBuf,
    template: PathBuf,
    /// Holds all values, so that none is an argument, which every user of the machine may read.
    variables: tempfile::NamedTempFile,
}

/// How a build ended that Packer itself ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Built {
    /// Packer's exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// All images, in the order in which they were told.
    pub images: Vec<Image>,
    /// So many of the template's builders failed.
    pub errors: u32,
    /// The last lines.
    pub tail: Vec<String>,
    /// What it may have left, which is nothing after a clean end.
    pub temporary: Temporary,
    /// Why it was told to stop.
    pub stopped: Option<Stop>,
}

/// Why a build is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It took too long.
    TimedOut,
    /// The machine goes away, or the worker ends: somebody else does it again.
    HandedBack,
}

/// What is told while a build runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A line for people.
    Line(String),
    /// All that was made for the time of the build, each time more of it is known.
    Temporary(Temporary),
}

impl Work {
    /// A template in its checkout. Values of variables lie in a file that only we read, and that goes with this.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(
        folder: &Path,
        template: &Path,
        variables: &BTreeMap<String, String>,
    ) -> Result<Self, Problem> {
        let failed = |error: std::io::Error| Problem::new(1, format!("variables of the template: {error}"));
        // HCL templates take `.pkrvars.json` files as JSON, JSON templates any.
        let mut file = tempfile::Builder::new()
            .prefix("variables-")
            .suffix(".pkrvars.json")
            .tempfile()
            .map_err(failed)?;
        serde_json::to_writer(&mut file, variables).map_err(|error| failed(error.into()))?;
        file.flush().map_err(failed)?;
        Ok(Self { folder: folder.to_owned(), template: template.to_owned(), variables: file })
    }

    fn is_hcl(&self) -> bool {
        self.template.to_string_lossy().ends_with(".pkr.hcl")
            || self.template.to_string_lossy().ends_with(".pkr.json")
    }
}

impl Packer {
    /// Its version, `1.6.6`.
    ///
    /// # Errors
    /// There is no such program, or it is another one.
    pub async fn version(&self) -> Result<String, Problem> {
        let mut command = self.command(Path::new("/"));
        command.args(["version", "-machine-readable"]);
        let ended = run(&mut command, Duration::from_mins(1), "Packer's version").await?;
        let version = ended.stdout.lines().find_map(|line| match read(line) {
            Line::Version(version) => Some(version),
            _ => None,
        });
        version.ok_or_else(|| {
            Problem::new(78, format!("{} is no Packer: {}", self.program.display(), ended.complaint()))
        })
    }

    /// Installs the plugins that an HCL template asks for, where this Packer can, and checks the template.
    ///
    /// # Errors
    /// The template is not valid; the problem has Packer's words.
    pub async fn validate(&self, work: &Work, version: &str) -> Result<(), Problem> {
        if work.is_hcl() && has_init(version) {
            let mut init = self.command(&work.folder);
            init.arg("init").arg(&work.template);
            let ended = run(&mut init, CHECK_PATIENCE, "packer init").await?;
            if !ended.status.success() {
                return Err(Problem::new(1, format!("packer init: {}", ended.complaint())));
            }
        }
        let mut command = self.command(&work.folder);
        command.arg("validate").arg(var_file(work)).arg(&work.template);
        let ended = run(&mut command, CHECK_PATIENCE, "packer validate").await?;
        if ended.status.success() {
            return Ok(());
        }
        let said = format!("{}\n{}", ended.stdout, ended.stderr);
        let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).take(12).collect();
        Err(Problem::new(1, format!("packer validate: {}", said.join(" / "))))
    }

    /// Builds, telling `progress`. Output goes to a file, not a pipe: a Packer whose worker died can still write while it
    /// cleans up, and what it wrote is there for the next worker ([`past`]). `stop` ends the build early: Packer is asked
    /// to clean up, and is killed if it does not.
    ///
    /// # Errors
    /// Packer does not start, or one of an earlier worker still writes to that file.
    pub async fn build(
        &self,
        work: &Work,
        output: &Path,
        patience: Duration,
        mut stop: watch::Receiver<Option<Stop>>,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Built, Problem> {
        let failed = |error: std::io::Error| {
            Problem::new(1, format!("output of Packer in {}: {error}", output.display()))
        };
        let file = alone(output, Duration::ZERO).await?;
        file.set_len(0).map_err(failed)?;
        let mut command = self.command(&work.folder);
        command.args(["build", "-machine-readable"]).arg(var_file(work)).arg(&work.template);
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(failed)?)
            .stderr(file.try_clone().map_err(failed)?);
        let mut group = Group::start(&mut command).map_err(|error| {
            Problem::new(78, format!("{} does not start: {error}", self.program.display()))
        })?;
        if let Some(id) = group.child().id() {
            std::fs::write(output.with_extension("pid"), id.to_string()).map_err(failed)?;
        }
        let mut reader = Reader::open(output).map_err(failed)?;
        let mut built = Built::default();
        let mut deadline = Instant::now() + patience;
        let status = loop {
            for line in reader.lines().map_err(failed)? {
                built.hear(&line, &progress).await;
            }
            tokio::select! {
                ended = group.child().wait() => break ended,
                () = tokio::time::sleep(LOOK) => {}
                why = asked(&mut stop), if built.stopped.is_none() => {
                    built.stopped = Some(why);
                    group.signal(Signal::SIGINT);
                    deadline = Instant::now() + CLEANUP_PATIENCE;
                }
                () = tokio::time::sleep_until(deadline) => {
                    if built.stopped.is_some() {
                        group.signal(Signal::SIGKILL);
                        break group.child().wait().await;
                    }
                    built.stopped = Some(Stop::TimedOut);
                    group.signal(Signal::SIGINT);
                    deadline = Instant::now() + CLEANUP_PATIENCE;
                }
            }
        };
        for line in reader.rest().map_err(failed)? {
            built.hear(&line, &progress).await;
        }
        built.code = status.map_err(|error| Problem::new(1, format!("packer: {error}")))?.code();
        if built.code.is_some() {
            // It ended by itself, so it took away what it had made.
            built.temporary = Temporary::default();
        }
        Ok(built)
    }

    fn command(&self, folder: &Path) -> Command {
        // Packer is asked to clean up when its worker dies, also by `kill -9`. The kernel does so when the thread that
        // started it ends, so this program has one thread.
        let mut command = if Path::new(SETPRIV).exists() {
            let mut command = Command::new(SETPRIV);
            command.args(["--pdeathsig", "INT", "--"]).arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        command.current_dir(folder).envs(self.environment.iter().map(|(name, value)| (name, value)));
        // No question to the vendor's server, no colours.
        command.env("CHECKPOINT_DISABLE", "1").env("PACKER_NO_COLOR", "1");
        command
    }
}

impl Built {
    async fn hear(&mut self, line: &str, progress: &mpsc::Sender<Progress>) {
        match read(line) {
            Line::Say { text, .. } => {
                for text in text.lines().filter(|text| !text.trim().is_empty()) {
                    if self.temporary.note(text) {
                        // Nobody who listens is no reason to stop.
                        let _ = progress.send(Progress::Temporary(self.temporary.clone())).await;
                    }
                    self.tail.push(text.to_owned());
                    if self.tail.len() > TAIL {
                        self.tail.remove(0);
                    }
                    let _ = progress.send(Progress::Line(text.to_owned())).await;
                }
            }
            Line::Images(images) => {
                for image in images {
                    if !self.images.contains(&image) {
                        self.images.push(image);
                    }
                }
            }
            Line::Errors(count) => self.errors = count,
            Line::Version(_) | Line::Other => {}
        }
    }
}

/// Waits until somebody wants the build to stop; forever once nobody can any more.
async fn asked(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    match stop.wait_for(Option::is_some).await.ok().and_then(|why| *why) {
        Some(why) => why,
        None => std::future::pending().await,
    }
}

fn var_file(work: &Work) -> OsString {
    let mut argument = OsString::from("-var-file=");
    argument.push(work.variables.path());
    argument
}

/// `packer init` came with 1.7.
fn has_init(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or_default());
    (numbers.next(), numbers.next()) >= (Some(1), Some(7))
}

#[cfg(test)]
mod tests;
