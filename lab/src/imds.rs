//! The instance metadata service, version 2 only, one server per instance on the instance's own address.
//!
//! # Layout
//! - [`tree`]: pure: which text lies at which path.
//! - [`server`]: tokens and HTTP.

pub mod server;
pub mod tree;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;

use crate::endpoint::Endpoint;
use crate::endpoint::credentials::Credentials;
use crate::endpoint::faults::Effect;

pub use tree::{Facts, Notices, SpotNotice};

/// Makes sessions of roles, and knows what befalls requests: the endpoint does.
pub trait RoleSessions: Send + Sync {
    /// Credentials of `role` in a session of this name.
    fn issue(&self, role: &str, session: &str) -> Credentials;

    /// What happens to this request of an instance.
    fn fault(&self, _action: &str, _instance: &str, _path: &str) -> Option<Effect> {
        None
    }
}

impl RoleSessions for Endpoint {
    fn issue(&self, role: &str, session: &str) -> Credentials {
        self.mint_session(role, session)
    }

    fn fault(&self, action: &str, instance: &str, path: &str) -> Option<Effect> {
        self.faults().take(action, instance, Some(path))
    }
}

/// A running metadata service and the handle to what it tells. Dropping it stops the service.
pub struct Imds {
    state: Arc<server::State>,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl std::fmt::Debug for Imds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Imds").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Imds {
    /// Serves `facts` on the instance's address.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start(facts: Facts, sessions: Arc<dyn RoleSessions>) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind((facts.address, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(server::State::new(facts, sessions));
        let service = server::router(Arc::clone(&state));
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, service).await {
                tracing::warn!(%error, "a metadata service ended");
            }
        });
        Ok(Self { state, address, serving })
    }

    /// What `AWS_EC2_METADATA_SERVICE_ENDPOINT` shall be on this instance.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn socket_address(&self) -> SocketAddr {
        self.address
    }

    /// The instance's address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.state.facts.address
    }

    /// Changes what comes and goes: target lifecycle state, spot notice, rebalance recommendation, maintenance.
    pub fn notify(&self, change: impl FnOnce(&mut Notices)) {
        change(&mut lock(&self.state.notices));
    }
}

impl Drop for Imds {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Nothing panics while it holds one of these locks, and if it did, the data would be whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
