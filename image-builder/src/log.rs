//! The log of builds, in kiln's format (seed-systems.md §1.2): to kiln's daily files, to CloudWatch Logs, and to stderr.
//! Every line names the execution it belongs to; values that are secret never reach any of the three.

pub mod shipping;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::audit::ExecutionId;
use crate::config::LogLevel;
use shipping::{Event, Shipping};

/// Where lines go.
#[derive(Debug, Clone)]
pub struct Log {
    level: LogLevel,
    folder: Option<PathBuf>,
    shipping: Option<Shipping>,
    secrets: Arc<Mutex<Vec<(String, String)>>>,
}

/// The log of one execution.
#[derive(Debug, Clone)]
pub struct ExecutionLog {
    log: Log,
    execution: ExecutionId,
}

impl Log {
    /// Lines of `level` and graver, into daily files below `folder` and to CloudWatch.
    #[must_use]
    pub fn new(level: LogLevel, folder: Option<PathBuf>, shipping: Option<Shipping>) -> Self {
        Self { level, folder, shipping, secrets: Arc::default() }
    }

    /// Whenever `value` would stand in a line, `<name>` does.
    pub fn keep_secret(&self, name: &str, value: &str) {
        // What is so short stands in every other word.
        if value.len() < 4 {
            return;
        }
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = (name.to_owned(), value.to_owned());
        if !secrets.contains(&pair) {
            secrets.push(pair);
        }
    }

    /// The log of one execution.
    #[must_use]
    pub fn of(&self, execution: &ExecutionId) -> ExecutionLog {
        ExecutionLog { log: self.clone(), execution: execution.clone() }
    }

    /// Sends what is waiting, for as long as that may take at an end.
    pub async fn flush(&self) {
        if let Some(shipping) = &self.shipping {
            shipping.flush().await;
        }
    }

    fn censored(&self, text: &str) -> String {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = text.to_owned();
        for (name, value) in secrets.iter() {
            if text.contains(value) {
                text = text.replace(value, &format!("<{name}>"));
            }
        }
        text
    }

    fn write(&self, at: Timestamp, text: &str) {
        eprintln!("{text}");
        if let Some(folder) = &self.folder
            && let Err(error) = append(folder, at, text)
        {
            eprintln!("image-builder: log file in {}: {error}", folder.display());
        }
        if let Some(shipping) = &self.shipping {
            shipping.send(Event { at: at.as_millisecond(), message: text.to_owned() });
        }
    }
}

impl ExecutionLog {
    /// What is done.
    pub fn info(&self, message: &str) {
        self.line(LogLevel::Info, message, &[]);
    }

    /// What may become a failure.
    pub fn warning(&self, message: &str) {
        self.line(LogLevel::Warning, message, &[]);
    }

    /// A failure.
    pub fn error(&self, message: &str) {
        self.line(LogLevel::Error, message, &[]);
    }

    /// A failure, with lines that show it.
    pub fn error_with(&self, message: &str, context: &[String]) {
        self.line(LogLevel::Error, message, context);
    }

    /// Where the lines of this execution are, if they are sent anywhere: group and stream.
    #[must_use]
    pub fn place(&self) -> Option<(String, String)> {
        self.log.shipping.as_ref().map(|shipping| shipping.place().clone())
    }

    /// The execution.
    #[must_use]
    pub fn execution(&self) -> &ExecutionId {
        &self.execution
    }

    fn line(&self, level: LogLevel, message: &str, context: &[String]) {
        if level > self.log.level {
            return;
        }
        let at = Timestamp::now();
        let text = format(at, self.execution.as_str(), level, message, context);
        self.log.write(at, &self.log.censored(&text));
    }
}

/// Pure: a line of kiln's log. The hour has no leading zero; lines of context are indented and numbered.
#[must_use]
pub fn format(at: Timestamp, execution: &str, level: LogLevel, message: &str, context: &[String]) -> String {
    let zoned = at.to_zoned(TimeZone::UTC);
    let micros = zoned.subsec_nanosecond() / 1000;
    let level = match level {
        LogLevel::Error => "ERROR",
        LogLevel::Warning => "WARNING",
        LogLevel::Info => "INFO",
        LogLevel::Debug => "DEBUG",
    };
    let mut text = format!(
        "[{} {}:{:02}:{:02}.{micros:06}] [{execution}] [{level}] {message}",
        zoned.strftime("%Y-%m-%d"),
        zoned.hour(),
        zoned.minute(),
        zoned.second(),
    );
    for (number, line) in context.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n    {number}: '{}'", line.replace('\'', "\\'"));
    }
    text
}

fn append(folder: &std::path::Path, at: Timestamp, text: &str) -> std::io::Result<()> {
    let folder = folder.join("app");
    std::fs::create_dir_all(&folder)?;
    let day = at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d");
    let file = folder.join(format!("log_{day}.log"));
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
    // One write: lines of builds beside each other do not mix.
    file.write_all(format!("{text}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k13_a_line_is_kilns() {
        let at: Timestamp = "2026-01-02T03:04:05.006007Z".parse().unwrap();
        let line = |level, message: &str, context: &[String]| {
            format(at, "60a248ca3d5f0a1b2", level, message, context)
        };
        assert_eq!(
            line(LogLevel::Info, "No work found", &[]),
            "[2026-01-02 3:04:05.006007] [60a248ca3d5f0a1b2] [INFO] No work found"
        );
        assert_eq!(
            line(LogLevel::Error, "Last 20 lines of output: ", &["one".to_owned(), "it's".to_owned()]),
            "[2026-01-02 3:04:05.006007] [60a248ca3d5f0a1b2] [ERROR] Last 20 lines of output: \n    0: 'one'\n    1: 'it\\'s'"
        );
    }

    #[test]
    fn k13_files_are_daily_and_secrets_in_none() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::new(LogLevel::Info, Some(folder.path().to_owned()), None);
        log.keep_secret("aws_secret_key", "abc/def+ghi");
        log.keep_secret("size", "8");
        let log = log.of(&ExecutionId::new(Timestamp::now()));
        log.info("key abc/def+ghi, size 8");
        log.error_with("Last 20 lines of output: ", &["abc/def+ghi".to_owned()]);
        let files: Vec<_> =
            std::fs::read_dir(folder.path().join("app")).unwrap().map(|f| f.unwrap()).collect();
        assert!(files[0].file_name().to_string_lossy().starts_with("log_20"));
        let text: String = files.iter().map(|file| std::fs::read_to_string(file.path()).unwrap()).collect();
        assert!(text.contains("key <aws_secret_key>, size 8") && !text.contains("abc/def"), "{text}");
    }

    #[test]
    fn what_is_less_grave_than_the_level_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::new(LogLevel::Error, Some(folder.path().to_owned()), None);
        log.of(&ExecutionId::new(Timestamp::now())).info("quiet");
        assert!(!folder.path().join("app").exists());
    }
}
