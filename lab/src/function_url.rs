//! Lambda function URLs: each request is an invocation of the function's real program.
//!
//! The lab serves them on loopback, `http://127.0.0.1:<port>/<function>/`; moto's CloudFormation learns that address
//! from the file [`ADDRESS`] beside its program. As on AWS since October 2025 a URL without authentication answers only
//! where the function's policy lets everybody both invoke the URL and, by the URL, the function.

pub mod model;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::imds::RoleSessions;
use crate::schedule::Workshop;
use crate::schedule::lambda::Lambda;
use crate::schedule::model::Invocation;
use model::{Asked, FunctionUrl, answer};

/// Where `moto_server.py` looks for the address.
const ADDRESS: &str = "function-urls";

/// Lambda's limit of a request.
const LARGEST: usize = 6 * 1024 * 1024;

/// All function URLs. Dropping it ends them.
pub struct FunctionUrls {
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    workshop: Workshop,
    sessions: Arc<dyn RoleSessions>,
    /// By the function's name.
    open: Mutex<BTreeMap<String, Arc<Open>>>,
}

struct Open {
    url: FunctionUrl,
    lambda: Lambda,
}

impl Shared {
    /// Nothing panics while it holds the lock, and if it did, the data would be whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Open>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FunctionUrls {
    /// Listens; there are no URLs yet. `folder` is that of moto's program.
    ///
    /// # Errors
    /// No port, or no file.
    pub async fn start(workshop: Workshop, sessions: Arc<dyn RoleSessions>, folder: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for function URLs")?;
        let file = folder.join(ADDRESS);
        std::fs::write(&file, format!("http://{}", listener.local_addr()?))
            .with_context(|| format!("write {}", file.display()))?;
        let shared = Arc::new(Shared { workshop, sessions, open: Mutex::default() });
        let router = Router::new()
            .fallback(serve)
            .layer(DefaultBodyLimit::max(LARGEST))
            .with_state(Arc::clone(&shared))
            .into_make_service_with_connect_info::<SocketAddr>();
        let serving = tokio::spawn(async move {
            // Serving ends only with the task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { shared, serving })
    }

    /// Serves exactly these from now on.
    ///
    /// # Errors
    /// A function's runtime API does not start.
    pub async fn set(&self, wanted: Vec<FunctionUrl>) -> Result<()> {
        let gone: Vec<Arc<Open>> = {
            let mut open = self.shared.lock();
            open.extract_if(.., |_, open| !wanted.contains(&open.url)).map(|(_, open)| open).collect()
        };
        for open in gone {
            open.lambda.stop().await;
        }
        for url in wanted {
            let name = url.function.name.clone();
            if self.shared.lock().contains_key(&name) {
                continue;
            }
            let (workshop, sessions) = (self.shared.workshop.clone(), Arc::clone(&self.shared.sessions));
            let lambda = Lambda::new(workshop, url.function.clone(), sessions).await;
            let lambda = lambda.context("start of the Lambda runtime API")?;
            self.shared.lock().insert(name, Arc::new(Open { url, lambda }));
        }
        Ok(())
    }

    /// What the invocations by URL came to, oldest first.
    #[must_use]
    pub fn invocations(&self) -> Vec<Invocation> {
        self.shared.lock().values().flat_map(|open| open.lambda.invocations()).collect()
    }

    /// Ends all programs.
    pub async fn stop(&self) {
        self.serving.abort();
        // With none wanted there is nothing that could fail.
        let _ = self.set(Vec::new()).await;
    }
}

impl Drop for FunctionUrls {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let name = uri.path().trim_start_matches('/').split('/').next().unwrap_or_default();
    let Some(open) = shared.lock().get(name).cloned() else {
        return (StatusCode::NOT_FOUND, r#"{"Message":null}"#).into_response();
    };
    if !open.url.open {
        let words = r#"{"Message":"Forbidden. For troubleshooting Function URL authorization issues, see the documentation"}"#;
        return (StatusCode::FORBIDDEN, words).into_response();
    }
    let path = uri.path().trim_start_matches('/').strip_prefix(name).filter(|rest| !rest.is_empty());
    let asked = Asked {
        function: name,
        method: method.as_str(),
        path: path.unwrap_or("/"),
        query: uri.query().unwrap_or_default(),
        headers: &headers,
        body: &body,
        from: from.ip(),
    };
    let invocation = open.lambda.invoke(asked.event(Timestamp::now())).await;
    match &invocation.outcome {
        Ok(text) => answer(text),
        Err(error) => {
            tracing::warn!(function = name, %error, "an invocation by URL failed");
            (StatusCode::BAD_GATEWAY, "Internal Server Error").into_response()
        }
    }
}
