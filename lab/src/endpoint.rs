//! The endpoint in front of moto: one URL for all services, deciding permissions as AWS does.

mod admin;
pub mod answer;
mod authorize;
pub mod autoscaling;
pub mod call;
pub mod caller;
pub mod calls;
pub mod cbor;
pub mod credentials;
mod ecr;
mod encryption;
pub mod faults;
mod needs;
mod policies;
pub mod refusal;
mod s3;
mod s3_route;
mod serve;
mod sts;
mod upstream;
mod used;

use std::sync::{Arc, OnceLock, Weak};

use anyhow::{Context, Result};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use autoscaling::AutoScaling;
use caller::Caller;
use calls::{CallCount, CallLog, CallRecord};
use credentials::{Credentials, Identities, SESSION, random_token};
use faults::Faults;
use policies::Policies;
use secrecy::SecretString;
use upstream::Upstream;
pub use used::UnusedAllow;
use used::Used;

/// The account that everything in the lab belongs to (moto's own default).
pub const ACCOUNT: &str = "123456789012";

/// What all requests share.
struct Shared {
    upstream: Upstream,
    identities: Identities,
    calls: CallLog,
    policies: Policies,
    used: Used,
    faults: Faults,
    token: SecretString,
    /// Weak, for the keeper's instances hold the endpoint that gives them their roles' credentials.
    autoscaling: OnceLock<Weak<dyn AutoScaling>>,
}

impl Shared {
    fn keeper(&self) -> Option<Arc<dyn AutoScaling>> {
        self.autoscaling.get()?.upgrade()
    }
}

/// The running endpoint. It ends when it is dropped.
pub struct Endpoint {
    url: String,
    shared: Arc<Shared>,
    admin: Credentials,
    server: JoinHandle<()>,
}

impl Endpoint {
    /// Starts the endpoint on a free port of 127.0.0.1 in front of the moto server at `moto`.
    ///
    /// # Errors
    /// When no port or no HTTP client can be had.
    pub async fn start(moto: &str) -> Result<Self> {
        // Installed already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let upstream = Upstream::new(moto)?;
        let shared = Arc::new(Shared {
            policies: Policies::new(upstream.clone()),
            used: Used::default(),
            faults: Faults::default(),
            token: random_token().into(),
            upstream,
            identities: Identities::default(),
            calls: CallLog::default(),
            autoscaling: OnceLock::new(),
        });
        let admin = shared.identities.issue(Caller::Admin, None);
        let listener = TcpListener::bind("127.0.0.1:0").await.context("start the endpoint")?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = serve::router(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            // Serving ends only with the task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, shared, admin, server })
    }

    /// The URL for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The lab user's credentials: allowed everything that no resource policy denies.
    #[must_use]
    pub fn admin(&self) -> &Credentials {
        &self.admin
    }

    /// Credentials of a session of a role (its name or ARN) for an hour, as an instance or a Lambda function gets them.
    #[must_use]
    pub fn mint_session(&self, role: &str, session: &str) -> Credentials {
        let caller = Caller::Role {
            role: sts::role_name(role).unwrap_or(role).to_owned(),
            session: session.to_owned(),
        };
        self.shared.identities.issue(caller, Some(Timestamp::now() + SESSION))
    }

    /// Hands the Auto Scaling calls to whoever keeps the groups, as long as it lives; the first one stays.
    pub fn set_autoscaling(&self, keeper: Arc<dyn AutoScaling>) {
        let _ = self.shared.autoscaling.set(Arc::downgrade(&keeper));
    }

    /// How often each caller made each action, for `report.json`.
    #[must_use]
    pub fn calls(&self) -> Vec<CallCount> {
        self.shared.calls.counts()
    }

    /// The faults that calls suffer.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// The token for the endpoint's own requests below `/_lab/` (`Authorization: Bearer …`).
    #[must_use]
    pub fn token(&self) -> &SecretString {
        &self.shared.token
    }

    /// The allows of the callers' own policies that no call has used: what the template could do without.
    ///
    /// # Errors
    /// When the policies cannot be read back.
    pub async fn unused_allows(&self) -> Result<Vec<UnusedAllow>> {
        used::unused_allows(&self.shared).await
    }

    /// The latest single calls, oldest first.
    #[must_use]
    pub fn latest_calls(&self) -> Vec<CallRecord> {
        self.shared.calls.latest()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}
