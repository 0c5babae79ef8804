//! One running server: its folder, its tokens, its time limits, its end.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    config::Config,
    connections::Bounded,
    deadlines::{self, Connected, Step},
    http::{self, Clock, Server},
    presence::Presence,
    refusal::Refusal,
    store::{Store, agents, jobs},
    token::{self, Tokens},
};

/// How long open requests may take to end when the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// How often time limits are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Agents that left are forgotten after a day.
const FORGET_AFTER: i64 = 24 * 3600 * 1000;

/// A server that listens.
pub struct Running {
    /// Its own address as a URL.
    pub address: String,
    stop: watch::Sender<bool>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Running {
    /// Takes no new requests and lets open ones end, within limits.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        match tokio::time::timeout(GRACE, self.serving).await {
            Ok(ended) => ended?.context("serve requests"),
            // Whatever is still open lost nothing: an answer is sent only after its commit.
            Err(_) => Ok(()),
        }
    }
}

/// Starts a server by the system's clock. Returns once it listens and `address` stands in its folder.
pub async fn start(config: Config) -> anyhow::Result<Running> {
    start_at(config, Arc::new(|| Timestamp::now().as_millisecond())).await
}

/// The same by another clock.
pub async fn start_at(config: Config, clock: Clock) -> anyhow::Result<Running> {
    let faults = config.faults();
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.data).with_context(|| {
        format!("make the data folder {}: choose one you may write", config.data.display())
    })?;
    let database = config.data.join("build-server.db");
    let store = Store::open(&database).with_context(|| {
        format!("open {}: is another build-server using this folder?", database.display())
    })?;
    let registration_tokens = read_tokens(&config.registration_token_file)?;
    let api_tokens = read_or_make_tokens(&config.api_token_file)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listen on {}: choose a free --listen address", config.listen))?;
    let address = format!("http://{}", listener.local_addr()?);
    write_address(&config.data, &address)?;
    let base_url =
        config.base_url.clone().unwrap_or_else(|| address.clone()).trim_end_matches('/').to_owned();
    let presence = Presence::starting(clock());
    let server =
        Arc::new(Server { store, presence, clock, config, base_url, registration_tokens, api_tokens });
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(watch_limits(Arc::clone(&server), stopped.clone()));
    let until = wait_for(stopped);
    let serving = axum::serve(Bounded::new(listener), http::router(server)).with_graceful_shutdown(until);
    Ok(Running { address, stop, serving: tokio::spawn(serving.into_future()) })
}

async fn wait_for(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone: then the server goes too.
    let _ = stopped.wait_for(|stop| *stop).await;
}

fn read_tokens(file: &Path) -> anyhow::Result<Tokens> {
    let text = fs::read_to_string(file).with_context(|| format!("read the tokens in {}", file.display()))?;
    Tokens::parse(&text).with_context(|| format!("{} holds no token: write one a line", file.display()))
}

fn read_or_make_tokens(file: &Path) -> anyhow::Result<Tokens> {
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    match made {
        Ok(mut made) => {
            writeln!(made, "{}", token::fresh().expose_secret()).and_then(|()| made.sync_all())?;
        }
        Err(fault) if fault.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(fault) => return Err(fault).with_context(|| format!("make the API token {}", file.display())),
    }
    read_tokens(file)
}

/// Readers see the whole address or none.
fn write_address(data: &Path, address: &str) -> anyhow::Result<()> {
    let (file, part) = (data.join("address"), data.join("address.part"));
    fs::write(&part, format!("{address}\n"))
        .and_then(|()| fs::rename(&part, &file))
        .with_context(|| format!("write {}", file.display()))
}

async fn watch_limits(server: Arc<Server>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Looks that are further apart mean that the server stood still (a suspended machine, a stopped process, a hanging
    // disk): agents that it could not hear then are not lost. Half the limit leaves a beating agent its other half.
    let standstill = Duration::from_millis(server.config.limits().lost.unsigned_abs() / 2);
    let mut looked = SystemTime::now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => return,
        }
        // An error means that the clock was set back, which says as little about agents.
        if looked.elapsed().map_or(true, |apart| apart > standstill) {
            tracing::warn!("the server stood still; agents get their full time to be heard of again");
            server.presence.excuse_all(server.now());
        }
        looked = SystemTime::now();
        if let Err(fault) = enforce_limits(&server, server.now()).await {
            tracing::error!("time limits could not be enforced, trying again: {fault}");
        }
    }
}

/// One look at all time limits.
async fn enforce_limits(server: &Arc<Server>, now: i64) -> Result<(), Refusal> {
    let limits = server.config.limits();
    let shared = Arc::clone(server);
    let (steps, gone) = server
        .store
        .run(move |db| {
            let held = jobs::held(db, &shared.presence)?;
            let seen = |agent: String| Connected { seen: shared.presence.of(&agent).seen, agent };
            let connected: Vec<_> = agents::connected(db)?.into_iter().map(seen).collect();
            let steps = deadlines::overdue(now, &held, &connected, &limits);
            for step in &steps {
                match step {
                    Step::Lose { agent } => agents::leave(db, agent, "lost", now)?,
                    step => jobs::apply(db, step, now)?,
                }
            }
            Ok((steps, agents::drop_gone(db, now - FORGET_AFTER)?))
        })
        .await?;
    for step in steps {
        tracing::warn!(?step, "a time limit passed");
    }
    gone.iter().for_each(|agent| server.presence.forget(agent));
    Ok(())
}
