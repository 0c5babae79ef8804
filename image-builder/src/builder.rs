//! One build from its commit to its images: fetch, check, build. What it came to is a value; nothing here knows of queues,
//! audits or tables.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};

use crate::config::StaticKeys;
use crate::job::Job;
use crate::log::ExecutionLog;
use crate::packer::output::Image;
use crate::packer::output::Temporary;
use crate::packer::{Built, Packer, Progress, Stop, Work};
use crate::problem::Problem;
use crate::repository::{FullCommit, Mirror};

/// All that builds need of this machine.
#[derive(Debug)]
pub struct Builder {
    /// The repository of templates.
    pub mirror: Mirror,
    /// Packer.
    pub packer: Packer,
    /// Builds have a folder each below this one.
    pub folder: PathBuf,
    /// The longest that Packer may build.
    pub patience: Duration,
    /// Variables of all builds.
    pub variables: BTreeMap<String, String>,
    /// Static keys for templates that ask for them.
    pub keys: Option<StaticKeys>,
}

/// What is known of a build, as far as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// All digits of the commit.
    pub commit: Option<String>,
    /// `1.6.6`
    pub packer_version: Option<String>,
    /// Digest of all that the images are made from.
    pub inputs_digest: Option<String>,
    /// The images.
    pub images: Vec<Image>,
    /// What is left of a Packer that had to be killed.
    pub temporary: Temporary,
}

/// Why there are no images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `fetch`, `validate` or `build`.
    pub step: &'static str,
    /// One line.
    pub reason: String,
    /// The last lines of Packer.
    pub tail: Vec<String>,
    /// Why the build was stopped, if it was.
    pub stopped: Option<Stop>,
    /// Is it the network or the service, and not what was asked for?
    pub passes: bool,
}

impl Failure {
    /// A failure of a step before Packer.
    #[must_use]
    pub fn of(step: &'static str, problem: Problem) -> Self {
        let passes = matches!(problem.code, 69 | 75);
        Self { step, reason: problem.message, tail: Vec::new(), stopped: None, passes }
    }
}

impl Builder {
    /// Where the output of Packer of this build lies.
    #[must_use]
    pub fn output(&self, id: &str) -> PathBuf {
        self.folder.join(id).join("packer.log")
    }

    /// Builds `job` in a folder of its own, named by `id`. `facts` is filled as far as the build comes.
    ///
    /// # Errors
    /// The step that failed, and why.
    pub async fn build(
        &self,
        id: &str,
        job: &Job,
        facts: &mut Facts,
        log: &ExecutionLog,
        stop: watch::Receiver<Option<Stop>>,
        progress: mpsc::Sender<Progress>,
    ) -> Result<(), Failure> {
        let fetch = |problem| Failure::of("fetch", problem);
        let short = &job.commit;
        log.info(&format!("checking out local packer templates repo to SHA '{short}'"));
        self.mirror.update().await.map_err(fetch)?;
        let commit = self.mirror.resolve(short).await.map_err(fetch)?;
        facts.commit = Some(commit.as_str().to_owned());
        let checkout = self.mirror.checkout(&commit, &self.folder.join(id)).await.map_err(fetch)?;
        let template = checkout.template(&job.template).map_err(fetch)?;
        let work = Work::new(checkout.folder(), &template, &self.variables_of(job)).map_err(fetch)?;

        let validate = |problem| Failure::of("validate", problem);
        let version = self.packer.version().await.map_err(validate)?;
        facts.packer_version = Some(version.clone());
        facts.inputs_digest = Some(self.digest(&commit, job, &version).await.map_err(validate)?);
        self.packer.validate(&work, &version).await.map_err(validate)?;

        let program = self.packer.program.display();
        log.info(&format!(
            "Running Command: {program} build -machine-readable -var-file=<variables> {}",
            job.template
        ));
        let output = self.output(id);
        let built = self.packer.build(&work, &output, self.patience, stop, progress).await;
        let built = built.map_err(|problem| Failure::of("build", problem))?;
        facts.images.clone_from(&built.images);
        facts.temporary.clone_from(&built.temporary);
        judge(&built)
    }

    fn variables_of(&self, job: &Job) -> BTreeMap<String, String> {
        let mut variables = self.variables.clone();
        if let Some(keys) = &self.keys {
            variables.insert("aws_access_key".to_owned(), keys.access.clone());
            variables.insert("aws_secret_key".to_owned(), keys.secret.clone());
        }
        variables.extend(job.variables.clone());
        variables
    }

    /// Of all files of the commit, since a template's provisioners may read any of them.
    async fn digest(&self, commit: &FullCommit, job: &Job, version: &str) -> Result<String, Problem> {
        let tree = self.mirror.tree(commit, "").await?;
        let mut digest = Sha256::new();
        let variables = self.variables_of(job);
        let named = [("tree", tree.as_str()), ("template", job.template.as_str()), ("packer", version)];
        let variables = variables.iter().filter(|(name, _)| !name.starts_with("aws_"));
        let variables = variables.map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in named.into_iter().chain(variables) {
            // Lengths keep apart what would read the same in a row.
            digest.update(format!("{}:{name}={}:{value};", name.len(), value.len()));
        }
        Ok(hex::encode(digest.finalize()))
    }
}

/// Pure: did Packer do what it was asked for?
///
/// # Errors
/// It did not, and why.
pub fn judge(built: &Built) -> Result<(), Failure> {
    let failure = |reason: String| Failure {
        step: "build",
        reason,
        tail: built.tail.clone(),
        stopped: built.stopped,
        passes: false,
    };
    if let Some(stop) = built.stopped {
        let why = match stop {
            Stop::TimedOut => "it took too long and was stopped",
            Stop::HandedBack => "this worker ends, another one builds it",
        };
        return Err(failure(why.to_owned()));
    }
    match built.code {
        Some(0) if built.images.is_empty() => Err(failure(
            "packer ended well and told of no image: the template has no builder that makes AMIs".to_owned(),
        )),
        Some(0) => Ok(()),
        Some(code) => Err(failure(format!("The packer build execution returned non zero result: '{code}'"))),
        None => Err(failure("packer was killed".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clean_end_with_an_image_is_a_build() {
        let image = Image { builder: "b".to_owned(), region: "r".to_owned(), id: "ami-1".to_owned() };
        let built = |code, images: usize, stopped| Built {
            code,
            images: vec![image.clone(); images],
            stopped,
            ..Built::default()
        };
        for (built, fine) in [
            (built(Some(0), 1, None), true),
            (built(Some(0), 0, None), false),
            (built(Some(1), 1, None), false),
            (built(None, 1, None), false),
            (built(Some(0), 1, Some(Stop::TimedOut)), false),
        ] {
            assert_eq!(judge(&built).is_ok(), fine, "{built:?}");
        }
    }

    #[test]
    fn a_failure_of_the_network_passes() {
        for (code, passes) in [(69, true), (75, true), (1, false), (77, false), (78, false)] {
            assert_eq!(Failure::of("fetch", Problem::new(code, "x")).passes, passes);
        }
    }
}
