//! What a function's program prints, in its log group, under the function's role: as Lambda does it.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use aws::cloudwatchlogs::types::InputLogEvent;
use aws::{CallError, Session};
use jiff::Timestamp;

/// The log of one function.
#[derive(Debug)]
pub struct FunctionLog {
    group: String,
    stream: String,
    file: PathBuf,
    /// Bytes of the file that are in the group.
    sent: u64,
    made: bool,
}

impl FunctionLog {
    /// Of what is in `file` from now on.
    #[must_use]
    pub fn new(group: &str, stream: &str, file: PathBuf) -> Self {
        let sent = std::fs::metadata(&file).map_or(0, |file| file.len());
        Self { group: group.to_owned(), stream: stream.to_owned(), file, sent, made: false }
    }

    /// Delivers the lines that are new.
    ///
    /// # Errors
    /// The role may not, or the endpoint does not answer; the next delivery has these lines too.
    pub async fn deliver(&mut self, session: &Session) -> Result<()> {
        let (lines, sent) = self.new_lines()?;
        let now = Timestamp::now().as_millisecond();
        let event = |line: &str| InputLogEvent::builder().timestamp(now).message(line).build();
        let events: Vec<InputLogEvent> = lines.lines().map(event).collect::<Result<_, _>>()?;
        if events.is_empty() {
            return Ok(());
        }
        let client = session.cloudwatchlogs();
        if !self.made {
            let make = client.create_log_stream().log_group_name(&self.group).log_stream_name(&self.stream);
            match make.send().await {
                Err(error)
                    if !error
                        .as_service_error()
                        .is_some_and(|e| e.is_resource_already_exists_exception()) =>
                {
                    return Err(CallError::new(&error, "logs:CreateLogStream", &self.group).into());
                }
                _ => self.made = true,
            }
        }
        let put = client.put_log_events().log_group_name(&self.group).log_stream_name(&self.stream);
        let put = put.set_log_events(Some(events)).send().await;
        put.map_err(|e| CallError::new(&e, "logs:PutLogEvents", &self.group))?;
        self.sent = sent;
        Ok(())
    }

    /// Whole lines that are not delivered, and how far they reach.
    fn new_lines(&self) -> Result<(String, u64)> {
        let read = || {
            let mut file = std::fs::File::open(&self.file)?;
            file.seek(SeekFrom::Start(self.sent))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            std::io::Result::Ok(bytes)
        };
        let bytes = read().with_context(|| format!("read {}", self.file.display()))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        Ok((String::from_utf8_lossy(&bytes[..whole]).into_owned(), self.sent + whole as u64))
    }
}
