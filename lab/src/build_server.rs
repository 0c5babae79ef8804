//! The real `build-server`, as the CI of the lab.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use secrecy::{ExposeSecret, SecretString};

use crate::children::{Child, Helper};

const START: Duration = Duration::from_secs(60);

/// A running build-server.
#[derive(Debug)]
pub struct BuildServer {
    url: String,
    data: PathBuf,
    registration_token: SecretString,
    child: Child,
}

impl BuildServer {
    /// Starts `build-server` of the folder `programs` with its data in `folder`, and waits until it listens.
    ///
    /// # Errors
    /// It does not start, with its last words.
    pub async fn start(programs: &Path, folder: &Path) -> Result<Self> {
        let registration_token = SecretString::from(format!("lab-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let token_file = folder.join("registration-token");
        let mut file = std::fs::OpenOptions::new();
        let file = file.write(true).create(true).truncate(true).mode(0o600).open(&token_file);
        file.with_context(|| format!("write {}", token_file.display()))?
            .write_all(registration_token.expose_secret().as_bytes())?;
        let data = folder.join("data");
        let address = data.join("address");
        // A file of an earlier run names a server that is gone.
        let _ = std::fs::remove_file(&address);
        let log = folder.join("build-server.log");
        let mut child = Helper::new(programs.join("build-server"), folder, &log)
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--organization",
                "lab",
                "--metrics-poll-seconds",
                "1",
            ])
            .args([std::ffi::OsStr::new("--data"), data.as_os_str()])
            .args([std::ffi::OsStr::new("--registration-token-file"), token_file.as_os_str()])
            .start()?;
        let deadline = tokio::time::Instant::now() + START;
        let url = loop {
            match std::fs::read_to_string(&address) {
                Ok(text) if !text.trim().is_empty() => break text.trim().to_owned(),
                _ => {}
            }
            if child.ended()?.is_some() || tokio::time::Instant::now() > deadline {
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                bail!(
                    "start of build-server: {} (log: {})",
                    text.lines().last().unwrap_or("no output"),
                    log.display()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let url = if url.starts_with("http") { url } else { format!("http://{url}") };
        Ok(Self { url, data, registration_token, child })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where agents and the scaler find their API.
    #[must_use]
    pub fn agent_endpoint(&self) -> String {
        format!("{}/v3", self.url)
    }

    /// The token that agents register with.
    #[must_use]
    pub fn registration_token(&self) -> &SecretString {
        &self.registration_token
    }

    /// The file with the build API's token.
    #[must_use]
    pub fn api_token_file(&self) -> PathBuf {
        self.data.join("api-token")
    }

    /// Ends it.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop(self) -> Result<()> {
        self.child.stop().await
    }
}
