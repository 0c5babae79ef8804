//! EventBridge schedules that invoke Lambda functions: the template's rule runs the real scaler program over the
//! Lambda runtime API.
//!
//! # Layout
//! - [`model`]: rates, functions, what an invocation came to. Pure.
//! - [`runtime`]: the runtime API that a function's program speaks.
//! - [`lambda`]: one function: its program, kept warm, invoked one at a time.
//! - [`log`]: what it prints, in its log group.
//! - this file: all schedules, each invoking on its rate.

pub mod lambda;
pub mod log;
pub mod model;
pub mod runtime;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::imds::RoleSessions;
use lambda::Lambda;
use model::{Invocation, Schedule};

/// What the functions run with.
#[derive(Debug, Clone)]
pub struct Workshop {
    /// Programs, logs and working folders of functions.
    pub folder: PathBuf,
    /// The program that a function's zip holds.
    pub program: PathBuf,
    /// `AWS_ENDPOINT_URL`.
    pub endpoint: String,
    /// Region.
    pub region: String,
    /// Variables that win over a function's own.
    pub environment: Vec<(String, String)>,
    /// How long a minute of schedules lasts.
    pub minute: Duration,
}

/// All schedules. Dropping it stops them.
pub struct Schedules {
    workshop: Workshop,
    sessions: Arc<dyn RoleSessions>,
    running: Mutex<BTreeMap<String, Running>>,
    /// Clocks stand still until it is true.
    released: watch::Sender<bool>,
}

struct Running {
    schedule: Schedule,
    lambda: Arc<Lambda>,
    clock: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.clock.abort();
    }
}

impl Schedules {
    /// None yet.
    #[must_use]
    pub fn new(workshop: Workshop, sessions: Arc<dyn RoleSessions>) -> Self {
        Self { workshop, sessions, running: Mutex::default(), released: watch::Sender::new(true) }
    }

    /// Runs exactly these from now on. A new or changed schedule fires at once (AWS: after its first interval).
    ///
    /// # Errors
    /// A function's program cannot be put in place.
    pub async fn set(&self, wanted: Vec<Schedule>) -> Result<()> {
        let mut gone = Vec::new();
        {
            let mut running = self.lock();
            let names: Vec<String> = running.keys().cloned().collect();
            for name in names {
                if !wanted.iter().any(|s| s.rule == name && running[&name].schedule == *s) {
                    gone.extend(running.remove(&name));
                }
            }
        }
        for running in gone {
            running.clock.abort();
            running.lambda.stop().await;
        }
        for schedule in wanted {
            if self.lock().contains_key(&schedule.rule) {
                continue;
            }
            let lambda =
                Lambda::new(self.workshop.clone(), schedule.function.clone(), Arc::clone(&self.sessions));
            let lambda = Arc::new(lambda.await.context("start of the Lambda runtime API")?);
            let clock = tokio::spawn(tick(
                Arc::clone(&lambda),
                schedule.clone(),
                self.workshop.minute,
                self.released.subscribe(),
            ));
            self.lock().insert(schedule.rule.clone(), Running { schedule, lambda, clock });
        }
        Ok(())
    }

    /// Lets no clock fire until [`Schedules::release`]: AWS's first invocation may be a minute away too.
    pub fn hold(&self) {
        self.released.send_replace(false);
    }

    /// Every clock fires from now on.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// What the functions' programs have printed so far, line by line.
    pub fn log_lines(&self) -> Vec<String> {
        let logs: Vec<PathBuf> = self.lock().values().map(|r| r.lambda.log()).collect();
        let texts = logs.iter().filter_map(|log| std::fs::read_to_string(log).ok());
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// Invokes the function of every schedule now, beside the clock.
    pub async fn invoke_now(&self) -> Vec<Invocation> {
        let now: Vec<_> = self
            .lock()
            .values()
            .map(|r| (Arc::clone(&r.lambda), r.schedule.event(Timestamp::now())))
            .collect();
        futures::future::join_all(
            now.into_iter().map(|(lambda, event)| async move { lambda.invoke(event).await }),
        )
        .await
    }

    /// What the invocations of all functions came to, oldest first.
    pub fn invocations(&self) -> Vec<Invocation> {
        self.lock().values().flat_map(|r| r.lambda.invocations()).collect()
    }

    /// The schedules that run.
    pub fn all(&self) -> Vec<Schedule> {
        self.lock().values().map(|r| r.schedule.clone()).collect()
    }

    /// Stops all.
    pub async fn stop(&self) {
        // With none wanted there is nothing that could fail.
        let _ = self.set(Vec::new()).await;
    }

    /// Nothing panics while it holds the lock, and if it did, the data would be whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fires on the rate; an invocation that outlasts it delays the next one, as EventBridge's next one would be queued.
async fn tick(
    lambda: Arc<Lambda>,
    schedule: Schedule,
    minute: Duration,
    mut released: watch::Receiver<bool>,
) {
    // The sender lives as long as this task; without it there is nothing to wait for.
    let _ = released.wait_for(|released| *released).await;
    let mut clock = tokio::time::interval(schedule.rate.every().mul_f64(minute.as_secs_f64() / 60.0));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let invocation = lambda.invoke(schedule.event(Timestamp::now())).await;
        if let Err(error) = &invocation.outcome {
            tracing::warn!(function = schedule.function.name, %error, "a scheduled invocation failed");
        }
    }
}

#[cfg(test)]
mod tests;
