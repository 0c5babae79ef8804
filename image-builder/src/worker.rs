//! The worker: messages in, images and audits out. A message leaves the queue only after its audit; a build that is cut off
//! is taken up again by whoever receives the message next.

pub mod attempt;
pub mod end;
pub mod heart;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::audit_bucket::AuditBucket;
use crate::builder::Builder;
use crate::config::source::Loaded;
use crate::ledger::Ledger;
use crate::log::Log;
use crate::log::shipping::Shipping;
use crate::packer::{Packer, Stop};
use crate::problem::Problem;
use crate::publish::Publisher;
use crate::queue::BuildQueue;
use crate::repository::{Access, Mirror};
use attempt::Attempt;

/// The waits after failures to receive: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LAST_WAIT: Duration = Duration::from_mins(1);

/// All that a worker works with.
#[derive(Debug)]
pub struct Worker {
    /// Where messages come from.
    pub queue: BuildQueue,
    /// Who builds what.
    pub ledger: Option<Ledger>,
    /// Where audits go.
    pub audits: AuditBucket,
    /// What builds.
    pub builder: Builder,
    /// Who tells the world of images.
    pub publisher: Publisher,
    /// Where lines go.
    pub log: Log,
    /// A session for what is not behind one of these.
    pub session: aws::Session,
    /// From one sign of life to the next.
    pub heartbeat: Duration,
    /// How often a message is tried.
    pub attempts: u32,
    /// Builds beside each other.
    pub parallel: usize,
}

/// What one look at the queue came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There was no message.
    NoWork,
    /// The message is done: its images are there.
    Done,
    /// Its build failed.
    Failed,
    /// It is somebody else's, or was given back.
    Left,
}

impl Worker {
    /// Prepares a worker; asks nothing of it yet but the queue's attributes and secrets.
    ///
    /// # Errors
    /// The queue is not there, a secret cannot be read.
    pub async fn open(loaded: &Loaded, stream: &str, owner: &str) -> Result<Self, Problem> {
        let (config, session) = (&loaded.config, &loaded.session);
        let shipping = config.logs.group.as_ref().map(|group| Shipping::start(session, group, stream));
        let log = Log::new(config.log_level, config.logs.folder.clone(), shipping);
        if let Some(keys) = &config.packer.keys {
            log.keep_secret("aws_access_key", &keys.access);
            log.keep_secret("aws_secret_key", &keys.secret);
        }
        let (folder, heartbeat) = (&config.templates.folder, config.builds.heartbeat);
        let access = access(loaded).await?;
        Ok(Self {
            queue: BuildQueue::open(session, &config.queue, heartbeat).await?,
            ledger: config.builds.table.as_ref().map(|table| Ledger::new(session, table, owner, heartbeat)),
            audits: AuditBucket::new(session, &config.audit_bucket),
            builder: Builder {
                mirror: Mirror::new(&config.templates.repository, &folder.join("mirror.git"), access),
                packer: Packer { program: config.packer.program.clone(), environment: environment(loaded) },
                folder: folder.join("builds"),
                patience: config.builds.patience,
                variables: config.builds.variables.clone(),
                keys: config.packer.keys.clone(),
            },
            publisher: Publisher::new(session, &config.templates.repository, config.publish.as_ref()),
            log,
            session: session.clone(),
            heartbeat,
            attempts: config.builds.attempts,
            parallel: config.builds.parallel,
        })
    }

    /// At most one message.
    ///
    /// # Errors
    /// The queue, the table or the audit bucket fails; the message comes back by itself.
    pub async fn turn(&self, patient: bool, stop: &watch::Receiver<Option<Stop>>) -> Result<Turn, Problem> {
        let Some(received) = self.queue.receive(patient).await? else { return Ok(Turn::NoWork) };
        Attempt::new(self, received).run(stop).await
    }

    /// Works until `stop` says so; what is being built then is handed back.
    pub async fn serve(self: Arc<Self>, stop: watch::Receiver<Option<Stop>>) {
        let mut lanes = JoinSet::new();
        for _ in 0..self.parallel {
            let (worker, stop) = (Arc::clone(&self), stop.clone());
            lanes.spawn(async move { worker.lane(stop).await });
        }
        while lanes.join_next().await.is_some() {}
        self.log.flush().await;
    }

    async fn lane(&self, stop: watch::Receiver<Option<Stop>>) {
        let mut stopped = stop.clone();
        let mut wait = FIRST_WAIT;
        loop {
            // A message that arrives in the very moment of the stop is not lost: it is seen again soon.
            let received = tokio::select! {
                biased;
                _ = stopped.wait_for(Option::is_some) => return,
                received = self.queue.receive(true) => received,
            };
            let turn = match received {
                Ok(None) => Ok(Turn::NoWork),
                Ok(Some(received)) => Attempt::new(self, received).run(&stop).await,
                Err(problem) => Err(problem),
            };
            match turn {
                Ok(_) => wait = FIRST_WAIT,
                Err(problem) => {
                    eprintln!("image-builder: {problem}");
                    tokio::select! {
                        _ = stopped.wait_for(Option::is_some) => return,
                        () = tokio::time::sleep(wait) => wait = (wait * 2).min(LAST_WAIT),
                    }
                }
            }
        }
    }
}

/// What the remote asks for, from Secrets Manager.
async fn access(loaded: &Loaded) -> Result<Option<Access>, Problem> {
    let templates = &loaded.config.templates;
    let (setting, name) = match (&templates.deploy_key, &templates.token) {
        (Some(name), _) => ("templates.deployKeySecret", name),
        (None, Some(name)) => ("templates.tokenSecret", name),
        (None, None) => return Ok(None),
    };
    let answer = loaded.session.secretsmanager().get_secret_value().secret_id(name).send().await;
    let answer = answer
        .map_err(|error| aws::CallError::new(&error, "secretsmanager:GetSecretValue", name))
        .map_err(|error| Problem::of_call(setting, &error))?;
    let Some(text) = answer.secret_string() else {
        return Err(Problem::new(78, format!("{setting}: the secret {name} holds no text")));
    };
    let secret = secrecy::SecretString::from(text.to_owned());
    Ok(Some(if templates.deploy_key.is_some() { Access::DeployKey(secret) } else { Access::Token(secret) }))
}

/// Packer and our own calls go to the same region with the same profile.
fn environment(loaded: &Loaded) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    let region = loaded.session.region();
    let mut environment = vec![("AWS_REGION", region), ("AWS_DEFAULT_REGION", region)];
    if let Some(profile) = &loaded.config.aws.profile {
        environment.push(("AWS_PROFILE", profile));
    }
    environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}
