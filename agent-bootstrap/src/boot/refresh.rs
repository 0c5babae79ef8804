//! What is fetched again while agents run: the token after an agent failed, the keys of those who may log in.

use aws::session::Patience;
use aws::{Imds, Session};

use super::files::{self, Owner};
use super::identity::InstanceFile;
use super::settings::{self, Settings};
use super::{access, agent_config, fetch, user_data};
use crate::failure::Failure;
use crate::layout::Layout;

/// What to fetch again.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Refresh {
    /// The agents' token, into their configuration
    Token {
        /// How the agent ended, in systemd's words ($SERVICE_RESULT); after `success` nothing is fetched
        #[arg(long, default_value = "")]
        after: String,
    },
    /// The SSH keys of those who may log in (authorized-keys-url)
    AuthorizedKeys,
}

/// Fetches it. What was there stays if that fails.
///
/// # Errors
/// Says what could not be fetched or written.
pub async fn run(layout: &Layout, what: Refresh) -> Result<(), Failure> {
    if matches!(&what, Refresh::Token { after } if after == "success") {
        return Ok(());
    }
    let Some(instance) = InstanceFile::read(layout)? else {
        return Err(Failure::failed("refresh: this instance has not booted yet"));
    };
    let session = Session::load(Some(&instance.identity.region), Patience::default()).await?;
    let settings = settings(&session).await?;
    match what {
        Refresh::Token { .. } => token(layout, &session, &settings).await,
        Refresh::AuthorizedKeys => authorized_keys(layout, &session, &settings).await,
    }
}

/// The settings as the user data has them now.
///
/// # Errors
/// As a boot's.
pub async fn settings(session: &Session) -> Result<Settings, Failure> {
    let user_data = Imds::new().get("user-data").await?.unwrap_or_default();
    let parts = user_data::settings_parts(&user_data).map_err(|e| Failure::config(e.to_string()))?;
    let resolved = parts.into_iter().map(|part| fetch::resolve(session, part));
    let resolved = futures::future::try_join_all(resolved).await?;
    settings::read(&resolved).map_err(|faults| Failure::config(faults.to_string()))
}

async fn token(layout: &Layout, session: &Session, settings: &Settings) -> Result<(), Failure> {
    let token = fetch::agent_token(session, &settings.agents.token).await?;
    let path = layout.agent_config();
    let config =
        std::fs::read_to_string(&path).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    let renewed = agent_config::with_token(&config, &token);
    if *renewed == config {
        eprintln!("refresh: the agents have the token that is stored");
        return Ok(());
    }
    files::file(&path, renewed.as_bytes(), 0o640, Owner::of_agents())?;
    eprintln!("refresh: the agents' token was replaced; agents take it when they start");
    Ok(())
}

async fn authorized_keys(layout: &Layout, session: &Session, settings: &Settings) -> Result<(), Failure> {
    let Some(from) = &settings.access.authorized_keys else { return Ok(()) };
    let keys = from.read(layout, session, access::MOST_BYTES).await?;
    access::authorize(layout, &settings.access, &keys)
}
