//! moto, the AWS control plane behind the endpoint, as a child process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::children::{Child, Helper};

/// The environment variable that names the Python venv with moto, where it is not `.venv` upwards of here.
pub const VENV: &str = "TIDEMARK_VENV";

/// moto with the resource kinds that it lacks; written beside its log.
const SERVER: &str = include_str!("../moto_server.py");

/// How long moto may take until it answers: a cold Python on a busy laptop.
const START: Duration = Duration::from_secs(90);

/// A running moto server.
#[derive(Debug)]
pub struct Moto {
    url: String,
    child: Child,
}

impl Moto {
    /// Starts moto on a free port of 127.0.0.1, with its log `moto.log` in `folder`, and waits until it answers.
    ///
    /// # Errors
    /// When there is no venv (the message names `make setup`), or moto ends or stays silent; its last line is told.
    pub async fn start(folder: &Path) -> Result<Self> {
        let log = folder.join("moto.log");
        let program = venv()?.join("bin/python");
        let server = folder.join("moto_server.py");
        std::fs::write(&server, SERVER).with_context(|| format!("start moto: write {}", server.display()))?;
        // Port 0: the system chooses, and moto's log tells which; nobody can take the port in between.
        let helper = Helper::new(program, folder, &log)
            .args([server.as_os_str()])
            .args(["-H", "127.0.0.1", "-p", "0"])
            .env("PYTHONUNBUFFERED", "1")
            .env("MOTO_ACCOUNT_ID", crate::endpoint::ACCOUNT);
        let begin = std::fs::metadata(&log).map_or(0, |meta| meta.len());
        let mut child = helper.start()?;
        let deadline = tokio::time::Instant::now() + START;
        loop {
            let text = read_from(&log, begin);
            if let Some(url) = announced(&text) {
                return Ok(Self { url: url.to_owned(), child });
            }
            if let Some(code) = child.ended()? {
                let last = text.lines().last().unwrap_or("no output");
                bail!("start moto: it ended with {code}: {last} (log: {})", log.display());
            }
            if tokio::time::Instant::now() > deadline {
                bail!("start moto: silent for {} s (log: {})", START.as_secs(), log.display());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Where moto answers, such as `http://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends moto and waits until it has gone.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(self) -> Result<()> {
        self.child.stop().await
    }
}

fn read_from(log: &Path, begin: u64) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let begin = usize::try_from(begin).unwrap_or(0).min(bytes.len());
    String::from_utf8_lossy(&bytes[begin..]).into_owned()
}

/// The address in werkzeug's start line, printed once the socket listens.
fn announced(log: &str) -> Option<&str> {
    let (_, after) = log.split_once("Running on ")?;
    after.contains('\n').then(|| after.split_whitespace().next()).flatten()
}

/// The Python venv with moto, awscli and cfn-lint: `$TIDEMARK_VENV`, else `.venv` in a folder above the working
/// folder or above this program.
///
/// # Errors
/// When there is none.
pub fn venv() -> Result<PathBuf> {
    let named = std::env::var_os(VENV).map(PathBuf::from);
    let folder = std::env::current_dir().ok();
    let program = std::env::current_exe().ok();
    let above = [folder, program]
        .into_iter()
        .flatten()
        .flat_map(|start| start.ancestors().map(|folder| folder.join(".venv")).collect::<Vec<_>>());
    named.into_iter().chain(above).find(|venv| venv.join("bin/moto_server").is_file()).with_context(|| {
        format!("start moto: no Python venv with moto_server; run `make setup` (or set {VENV})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_taken_from_a_whole_line() {
        assert_eq!(announced("WARNING: dev server\n * Running on http://127.0.0.1:4"), None);
        assert_eq!(
            announced(" * Running on http://127.0.0.1:40123\nPress CTRL+C to quit\n"),
            Some("http://127.0.0.1:40123")
        );
    }
}
