//! The long-lived side: registers, keeps sessions until they end, and turns signals into orders.

mod environment;
mod job;
mod session;
mod upload;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use agent_api::client::{ApiError, Client};
use agent_api::wire::{RegisterRequest, RegisterResponse};
use rand::RngExt as _;
use session::{Ended, Session};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::{self, Settings, StartArgs};

/// Exit code: the settings are wrong.
const EXIT_CONFIG: u8 = 78;
/// Exit code: the job to acquire can never be ours.
const EXIT_REFUSED: u8 = 27;
/// Exit code: the job to acquire stayed locked.
const EXIT_LOCKED: u8 = 28;

/// What a session is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Take jobs.
    Work,
    /// Finish the job, then leave.
    Finish,
    /// Cancel the job and leave.
    Cancel,
}

/// What all sessions of this process share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub settings: Settings,
    pub started: Instant,
    pub activity: session::Activity,
}

/// `build-agent start`.
pub fn main(args: &StartArgs) -> ExitCode {
    let (settings, warnings) = match config::load(args, |name| std::env::var(name).ok()) {
        Ok(loaded) => loaded,
        Err(faults) => {
            faults.iter().for_each(|fault| eprintln!("build-agent: configuration: {fault}"));
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    init_log(settings.debug);
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("build-agent: cannot start its threads: {error}; check the limits of this user");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(start(settings)) {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::Refused) => ExitCode::from(EXIT_REFUSED),
        Ok(Ended::Locked) => ExitCode::from(EXIT_LOCKED),
        Err(error) => {
            eprintln!("build-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn init_log(debug: bool) {
    let level = if debug { tracing::Level::DEBUG } else { tracing::Level::INFO };
    // A second initialization fails in tests only.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
}

async fn start(settings: Settings) -> Result<Ended, ApiError> {
    let orders = watch::Sender::new(Order::Work);
    let signals = tokio::spawn(follow_signals(orders.clone()));
    let client = Client::new(&settings.endpoint, settings.token.clone(), &crate::user_agent())?;
    let spawn = settings.spawn;
    let shared =
        Arc::new(Shared { settings, started: Instant::now(), activity: session::Activity::default() });
    let mut sessions = tokio::task::JoinSet::new();
    for index in 1..=spawn {
        let answer = client.register(&register_request(&shared.settings, index)).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if index == 1 => return Err(error),
            Err(error) => {
                tracing::error!("{error}; going on with {} agents", index - 1);
                break;
            }
        };
        sessions.spawn(session_of(&client, answer, &shared, &orders).run());
    }
    let mut ended = Ok(Ended::Done);
    while let Some(result) = sessions.join_next().await {
        match result {
            Ok(Ok(Ended::Done)) => {}
            Ok(other) => ended = other,
            Err(error) => tracing::error!("a session broke: {error}"),
        }
    }
    signals.abort();
    ended
}

fn session_of(
    client: &Client,
    answer: RegisterResponse,
    shared: &Arc<Shared>,
    all: &watch::Sender<Order>,
) -> Session {
    let mut client = client.with_token(answer.access_token.clone().into());
    if !answer.endpoint.is_empty() {
        client = client.at(&answer.endpoint);
    }
    if let Some(headers) = &answer.request_headers {
        client.set_request_headers(headers);
    }
    tracing::info!(agent = answer.name, id = answer.id, "registered");
    Session::new(client, answer, Arc::clone(shared), all.subscribe())
}

/// First TERM or INT: finish the job. Second, or QUIT: cancel it. Third: leave at once.
async fn follow_signals(orders: watch::Sender<Order>) {
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::hangup()];
    let [Ok(mut term), Ok(mut int), Ok(mut quit), Ok(mut hangup)] = kinds.map(signal) else {
        tracing::error!("signals cannot be handled; only SIGKILL will stop this agent");
        return;
    };
    loop {
        let cancel = tokio::select! {
            _ = term.recv() => false,
            _ = int.recv() => false,
            _ = quit.recv() => true,
            _ = hangup.recv() => continue,
        };
        let next = match *orders.borrow() {
            Order::Work if !cancel => Order::Finish,
            Order::Work | Order::Finish => Order::Cancel,
            Order::Cancel if cancel => Order::Cancel,
            Order::Cancel => std::process::exit(1),
        };
        tracing::info!(
            "asked to leave: {}",
            if next == Order::Finish { "after the job" } else { "cancelling the job" }
        );
        orders.send_replace(next);
    }
}

fn register_request(settings: &Settings, index: u32) -> RegisterRequest {
    let hostname =
        nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let random: String = (0..8).map(|_| char::from(rand::rng().random_range(b'a'..=b'z'))).collect();
    RegisterRequest {
        name: agent_name(&settings.name, &hostname, index, &random),
        hostname,
        os: std::fs::read_to_string("/etc/os-release").unwrap_or_else(|_| std::env::consts::OS.into()),
        arch: crate::go_arch().into(),
        script_eval_enabled: settings.command_eval,
        ignore_in_dispatches: settings.acquire_job.is_some(),
        priority: settings.priority.clone(),
        version: crate::VERSION.into(),
        build: "x".into(),
        tags: if settings.tags.is_empty() { vec!["queue=default".into()] } else { settings.tags.clone() },
        pid: Some(i64::from(std::process::id())),
        machine_id: None,
        features: vec!["acquire-job".into(), "disconnect-after-job".into()],
    }
}

fn agent_name(pattern: &str, hostname: &str, index: u32, random: &str) -> String {
    let index = index.to_string();
    let values = [("%hostname", hostname), ("%spawn", &index), ("%random", random), ("%n", &index)];
    values.iter().fold(pattern.to_owned(), |name, (holder, value)| name.replace(holder, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_placeholders() {
        assert_eq!(agent_name("%hostname-%spawn-%n-%random", "web", 2, "abc"), "web-2-2-abc");
    }
}
