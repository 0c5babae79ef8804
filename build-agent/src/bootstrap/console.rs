//! The job's log as its process writes it: everything passes the redactor.

use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;

use crate::log::redact::{Redactor, is_secret_name};
use crate::vars::Vars;

/// Standard output behind a redactor. Clones write to the same log.
#[derive(Clone, Default)]
pub(super) struct Console(Arc<Mutex<Redactor>>);

impl Console {
    pub async fn write(&self, bytes: &[u8]) {
        let mut redactor = self.0.lock().await;
        show(&redactor.write(bytes)).await;
    }

    /// Writes what the redactor held back.
    pub async fn finish(&self) {
        let mut redactor = self.0.lock().await;
        show(&redactor.finish()).await;
    }

    /// Hides `value` from now on.
    pub async fn hide(&self, value: &[u8]) {
        self.0.lock().await.add(value);
    }

    /// Hides the values of all variables whose names are those of secrets.
    pub async fn hide_named(&self, vars: &Vars, patterns: &[String]) {
        let mut redactor = self.0.lock().await;
        for (name, value) in vars.iter() {
            if is_secret_name(&name.to_string_lossy(), patterns) {
                redactor.add(value.as_encoded_bytes());
            }
        }
    }

    /// A closed group.
    pub async fn header(&self, title: &str) {
        self.write(format!("~~~ {title}\n").as_bytes()).await;
    }

    /// A group that viewers show open.
    pub async fn open_header(&self, title: &str) {
        self.write(format!("+++ {title}\n").as_bytes()).await;
    }

    pub async fn comment(&self, text: &str) {
        self.write(format!("\x1b[90m# {text}\x1b[0m\n").as_bytes()).await;
    }

    /// A command line, as people would type it.
    pub async fn prompt(&self, line: &str) {
        self.write(format!("\x1b[90m$\x1b[0m {line}\n").as_bytes()).await;
    }

    /// An error; viewers open the group it is in.
    pub async fn error(&self, text: &str) {
        self.write(format!("\x1b[31m🚨 Error: {text}\x1b[0m\n^^^ +++\n").as_bytes()).await;
    }
}

async fn show(bytes: &[u8]) {
    let mut out = tokio::io::stdout();
    // The agent is gone when this fails; the job's end shows it.
    let _ = out.write_all(bytes).await;
    let _ = out.flush().await;
}
