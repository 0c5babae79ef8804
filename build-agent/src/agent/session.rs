//! One registered agent: connect, heartbeats, pings, one job at a time, disconnect.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agent_api::client::{ApiError, Client};
use agent_api::wire::{Job, Ping, RegisterResponse};
use tokio::sync::watch;

use super::job::{self, JobRun};
use super::{Order, Shared};

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// As it was asked to.
    Done,
    /// The job to acquire was refused.
    Refused,
    /// The job to acquire stayed locked.
    Locked,
}

/// Since when no agent of this process had a job.
#[derive(Debug)]
pub(crate) struct Activity(Mutex<(usize, Instant)>);

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new((0, Instant::now())))
    }
}

impl Activity {
    /// A job begins; it ends when the answer is dropped.
    fn begin(&self) -> BusyGuard<'_> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 += 1;
        BusyGuard(self)
    }

    /// Pretends that there was something to do just now.
    fn touch(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = Instant::now();
    }

    fn idle_for(&self) -> Duration {
        let (busy, since) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if busy > 0 { Duration::ZERO } else { since.elapsed() }
    }
}

struct BusyGuard<'a>(&'a Activity);

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (state.0.saturating_sub(1), Instant::now());
    }
}

/// A registered agent.
pub(crate) struct Session {
    client: Client,
    answer: RegisterResponse,
    shared: Arc<Shared>,
    /// Orders to this session: the process's, or its own when the server has forgotten it.
    orders: watch::Sender<Order>,
    from_process: watch::Receiver<Order>,
}

impl Session {
    pub fn new(
        client: Client,
        answer: RegisterResponse,
        shared: Arc<Shared>,
        from_process: watch::Receiver<Order>,
    ) -> Self {
        Self { client, answer, shared, orders: watch::Sender::new(Order::Work), from_process }
    }

    /// Until the session ends. Disconnects whatever happens, also after a panic.
    pub async fn run(mut self) -> Result<Ended, ApiError> {
        self.client.connect().await?;
        tracing::info!("connected");
        let forward = tokio::spawn(forward(self.from_process.clone(), self.orders.clone()));
        let beats = tokio::spawn(heartbeats(
            self.client.clone(),
            self.answer.heartbeat_interval,
            self.orders.clone(),
        ));
        let client = self.client.clone();
        let work = tokio::spawn(async move {
            let result = match self.shared.settings.acquire_job.clone() {
                Some(id) => self.acquire(&id).await,
                None => self.pings().await,
            };
            (result, self.client)
        });
        let (result, client) = work.await.unwrap_or_else(|error| {
            tracing::error!("the session broke: {error}");
            (Ok(Ended::Done), client)
        });
        beats.abort();
        forward.abort();
        if let Err(error) = client.disconnect().await {
            tracing::warn!("{error}");
        }
        result
    }

    fn order(&self) -> Order {
        (*self.orders.borrow()).max(*self.from_process.borrow())
    }

    async fn acquire(&mut self, id: &str) -> Result<Ended, ApiError> {
        match self.client.acquire(id).await {
            Ok(job) => {
                self.run_job(job).await;
                Ok(Ended::Done)
            }
            Err(error) => {
                tracing::error!("{error}");
                Ok(if error.status() == Some(423) { Ended::Locked } else { Ended::Refused })
            }
        }
    }

    async fn pings(&mut self) -> Result<Ended, ApiError> {
        let interval = Duration::from_secs(u64::from(self.answer.ping_interval.max(1)));
        let mut wait = interval.mul_f64(rand::random());
        loop {
            if self.sleep_unless_ordered(wait).await != Order::Work || self.is_time_to_leave() {
                return Ok(Ended::Done);
            }
            wait = interval + interval.mul_f64(rand::random());
            let ping = match self.client.ping().await {
                Ok(ping) => self.move_endpoint(ping).await,
                Err(error) if error.is_refusal() => {
                    tracing::error!("{error}; this agent is not wanted any more");
                    return Ok(Ended::Done);
                }
                Err(error) => {
                    tracing::warn!("{error}; trying again at the next ping");
                    continue;
                }
            };
            match self.act_on(ping).await {
                After::Wait => {}
                After::PingNow => wait = Duration::ZERO,
                After::Leave => return Ok(Ended::Done),
            }
        }
    }

    async fn act_on(&mut self, ping: Ping) -> After {
        if let Some(headers) = &ping.request_headers {
            self.client.set_request_headers(headers);
        }
        if let Some(message) = ping.message.filter(|message| !message.is_empty()) {
            tracing::info!("the server says: {message}");
        }
        match ping.action.as_deref() {
            Some("disconnect") => return After::Leave,
            Some("pause") => {
                self.shared.activity.touch();
                return After::Wait;
            }
            _ => {}
        }
        let Some(job) = ping.job else { return After::Wait };
        let ran = match self.client.accept(&job.id).await {
            Ok(job) => self.run_job(job).await,
            Err(error) => {
                tracing::warn!(job = job.id, "{error}; not taking this job");
                false
            }
        };
        match (ran, self.shared.settings.disconnect_after_job) {
            (true, true) => After::Leave,
            (true, false) => After::PingNow,
            (false, _) => After::Wait,
        }
    }

    /// Follows the server to another base URL, when that one answers.
    async fn move_endpoint(&mut self, ping: Ping) -> Ping {
        let Some(endpoint) = ping.endpoint.as_deref().filter(|new| !new.is_empty()) else { return ping };
        let there = self.client.at(endpoint);
        if there.endpoint() == self.client.endpoint() {
            return ping;
        }
        match there.ping().await {
            Ok(second) => {
                tracing::info!("moved to {endpoint}");
                self.client = there;
                second
            }
            Err(error) => {
                tracing::warn!("{error}; staying at {}", self.client.endpoint());
                ping
            }
        }
    }

    /// Runs a job; was it run at all?
    async fn run_job(&mut self, job: Job) -> bool {
        let _busy = self.shared.activity.begin();
        let id = job.id.clone();
        let run = JobRun {
            client: match &job.token {
                Some(token) => self.client.with_token(token.clone().into()),
                None => self.client.clone(),
            },
            token: job.token.clone().unwrap_or_else(|| self.answer.access_token.clone()),
            agent: self.answer.name.clone(),
            state_interval: Duration::from_secs(u64::from(self.answer.job_status_interval.max(1))),
            shared: Arc::clone(&self.shared),
            orders: self.orders.subscribe(),
            job,
        };
        match job::run(run).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(job = id, "{error}; the job was not run");
                false
            }
        }
    }

    fn is_time_to_leave(&self) -> bool {
        let settings = &self.shared.settings;
        let idle =
            settings.disconnect_after_idle.is_some_and(|limit| self.shared.activity.idle_for() >= limit);
        let old =
            settings.disconnect_after_uptime.is_some_and(|limit| self.shared.started.elapsed() >= limit);
        if idle || old {
            tracing::info!("leaving: {}", if idle { "idle for too long" } else { "up for too long" });
        }
        idle || old
    }

    /// Sleeps, shorter when an order comes.
    async fn sleep_unless_ordered(&self, time: Duration) -> Order {
        let mut orders = self.orders.subscribe();
        let order = async { orders.wait_for(|order| *order != Order::Work).await.map(|_| ()) };
        if self.order() == Order::Work {
            // An error means that the sender is gone, and the sender is `self`.
            let _ = tokio::time::timeout(time, order).await;
        }
        self.order()
    }
}

/// What comes after a ping.
enum After {
    Wait,
    PingNow,
    Leave,
}

async fn forward(mut from: watch::Receiver<Order>, to: watch::Sender<Order>) {
    loop {
        let order = *from.borrow_and_update();
        to.send_if_modified(|current| {
            let stronger = order > *current;
            *current = order.max(*current);
            stronger
        });
        if from.changed().await.is_err() {
            return;
        }
    }
}

/// Beats until the server refuses one: then it knows this agent no more, and its job is another's.
async fn heartbeats(client: Client, seconds: u32, orders: watch::Sender<Order>) {
    let interval = Duration::from_secs(u64::from(seconds.max(1)));
    loop {
        tokio::time::sleep(interval).await;
        match client.heartbeat(jiff::Timestamp::now()).await {
            Err(error) if error.is_refusal() => {
                tracing::error!("{error}; cancelling the job and leaving");
                orders.send_replace(Order::Cancel);
                return;
            }
            Err(error) => tracing::warn!("{error}"),
            Ok(_) => {}
        }
    }
}
