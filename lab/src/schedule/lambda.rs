//! One function: its program, started when first needed, kept warm, invoked one at a time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Workshop;
use super::log::FunctionLog;
use super::model::{Failed, Function, Invocation};
use super::runtime::{Event, RuntimeApi};
use crate::children::{Child, Helper};
use crate::imds::RoleSessions;

/// A warm program is started anew before its credentials end, as Lambda retires old environments.
const FRESH: SignedDuration = SignedDuration::from_mins(10);

/// The log stream; AWS has one for each environment.
const STREAM: &str = "lab";

/// A function ready to be invoked.
pub struct Lambda {
    workshop: Workshop,
    function: Function,
    sessions: Arc<dyn RoleSessions>,
    api: RuntimeApi,
    warm: tokio::sync::Mutex<Option<Warm>>,
    record: Mutex<Vec<Invocation>>,
    log_group: tokio::sync::Mutex<Option<FunctionLog>>,
}

struct Warm {
    program: Child,
    /// The function's role, for its log.
    session: aws::Session,
    ends: Option<Timestamp>,
}

impl Lambda {
    /// Serves the runtime API; the program starts with the first invocation.
    ///
    /// # Errors
    /// No port.
    pub async fn new(
        workshop: Workshop,
        function: Function,
        sessions: Arc<dyn RoleSessions>,
    ) -> Result<Self> {
        let api = RuntimeApi::start(&function.arn).await?;
        let mut lambda = Self {
            workshop,
            function,
            sessions,
            api,
            warm: tokio::sync::Mutex::default(),
            record: Mutex::default(),
            log_group: tokio::sync::Mutex::default(),
        };
        let log = lambda.function.log_group.as_deref();
        lambda.log_group =
            tokio::sync::Mutex::new(log.map(|group| FunctionLog::new(group, STREAM, lambda.log())));
        Ok(lambda)
    }

    /// The function.
    #[must_use]
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// Runs the function once. Every failure is an outcome.
    pub async fn invoke(&self, payload: Value) -> Invocation {
        let mut warm = self.warm.lock().await;
        let (at, begun) = (Timestamp::now(), Instant::now());
        let id = uuid::Uuid::new_v4().to_string();
        let outcome = match self.warm_up(&mut warm, at).await {
            Ok(program) => self.run(program, &id, payload, at).await,
            Err(error) => Err(Failed::NotStarted(format!("{error:#}"))),
        };
        if let (Some(log), Some(warm)) = (self.log_group.lock().await.as_mut(), warm.as_ref())
            && let Err(error) = log.deliver(&warm.session).await
        {
            tracing::warn!(
                function = self.function.name,
                error = format!("{error:#}"),
                "a log is not delivered"
            );
        }
        // After a timeout or an error the environment is not trusted; after an exit there is none.
        if !matches!(outcome, Ok(_) | Err(Failed::Told(_)))
            && let Some(old) = warm.take()
            && let Err(error) = old.program.stop().await
        {
            tracing::warn!(function = self.function.name, %error, "a function's program did not end well");
        }
        let invocation =
            Invocation { function: self.function.name.clone(), id, at, took: begun.elapsed(), outcome };
        self.record.lock().unwrap_or_else(PoisonError::into_inner).push(invocation.clone());
        invocation
    }

    /// What its invocations came to, oldest first.
    pub fn invocations(&self) -> Vec<Invocation> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the program.
    pub async fn stop(&self) {
        if let Some(warm) = self.warm.lock().await.take()
            && let Err(error) = warm.program.stop().await
        {
            tracing::warn!(function = self.function.name, %error, "a function's program did not end well");
        }
    }

    async fn run(&self, warm: &mut Warm, id: &str, payload: Value, at: Timestamp) -> Result<String, Failed> {
        let timeout = self.function.timeout;
        let deadline = at.saturating_add(SignedDuration::try_from(timeout).unwrap_or(SignedDuration::MAX));
        let event = Event {
            id: id.to_owned(),
            payload: payload.to_string(),
            deadline: deadline.unwrap_or(Timestamp::MAX),
        };
        let outcome = self.api.offer(event);
        tokio::select! {
            // A program that answers and exits at once has answered.
            biased;
            answered = outcome => answered.unwrap_or(Err(Failed::Exited(1))),
            status = warm.program.wait() => Err(Failed::Exited(status.unwrap_or(1))),
            () = tokio::time::sleep(timeout) => Err(Failed::TimedOut(timeout.as_secs())),
        }
    }

    async fn warm_up<'w>(&self, warm: &'w mut Option<Warm>, now: Timestamp) -> Result<&'w mut Warm> {
        let soon = now.saturating_add(FRESH).unwrap_or(Timestamp::MAX);
        if let Some(mut old) = warm.take() {
            if old.program.ended()?.is_none() && old.ends.is_none_or(|end| end > soon) {
                return Ok(warm.insert(old));
            }
            old.program.stop().await?;
        }
        Ok(warm.insert(self.start().await?))
    }

    /// Starts the program as Lambda does: `bootstrap` without arguments, the function's variables, the role's
    /// credentials in the environment.
    async fn start(&self) -> Result<Warm> {
        let folder = self.folder();
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let bootstrap = folder.join("bootstrap");
        // Left there by an earlier start.
        let _ = std::fs::remove_file(&bootstrap);
        std::os::unix::fs::symlink(&self.workshop.program, &bootstrap)
            .with_context(|| format!("link {}", bootstrap.display()))?;
        let credentials = self.sessions.issue(&self.function.role, &self.function.name);
        let mut helper = Helper::new(&bootstrap, &folder, &self.log());
        helper.clean_environment = true;
        let of_its_own = || format!("/aws/lambda/{}", self.function.name);
        let group = self.function.log_group.clone().unwrap_or_else(of_its_own);
        let own = [
            ("AWS_LAMBDA_RUNTIME_API", self.api.address().to_string()),
            ("AWS_LAMBDA_FUNCTION_NAME", self.function.name.clone()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", self.function.memory.to_string()),
            ("AWS_LAMBDA_LOG_GROUP_NAME", group),
            ("AWS_LAMBDA_LOG_STREAM_NAME", STREAM.to_owned()),
            ("AWS_ENDPOINT_URL", self.workshop.endpoint.clone()),
            ("AWS_REGION", self.workshop.region.clone()),
            ("AWS_DEFAULT_REGION", self.workshop.region.clone()),
            ("LAMBDA_TASK_ROOT", folder.display().to_string()),
            ("_HANDLER", "bootstrap".to_owned()),
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("TZ", ":UTC".to_owned()),
        ];
        for (name, value) in own.into_iter().chain(credentials.environment()) {
            helper = helper.env(name, value);
        }
        for (name, value) in &self.function.environment {
            helper = helper.env(name, value);
        }
        // Last, so that a rehearsal can be quicker than the template says.
        for (name, value) in &self.workshop.environment {
            helper = helper.env(name, value);
        }
        let session = aws::Session::at(
            &self.workshop.endpoint,
            &self.workshop.region,
            &credentials.access_key_id,
            &credentials.secret_access_key,
            credentials.session_token.as_ref(),
        );
        let session = session.await;
        Ok(Warm { program: helper.start()?, session, ends: credentials.expires })
    }

    /// What the function's program prints, decision log and complaints.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder().join("function.log")
    }

    /// Where the function's program and log lie.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.workshop.folder.join(&self.function.name)
    }
}
