//! From the job's process to the server: times, chunks of the asked size, three uploads at a time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use agent_api::client::{ApiError, Client};
use agent_api::wire::HeaderTimes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::log::stamp::{HeaderCounter, Stamper};

/// So many uploads run at once.
const PARALLEL: usize = 3;

/// With so much waiting, nothing more is read: the job waits for the server rather than this process growing.
const MOST_WAITING: usize = 8 * 1024 * 1024;

/// How a job's log is sent.
pub(super) struct Upload {
    pub client: Client,
    pub job: String,
    /// Bytes.
    pub chunk_size: usize,
    pub interval: Duration,
    /// Times inside the lines, or header times beside them?
    pub inline_times: bool,
    /// A copy for people on the instance.
    pub copy: Option<PathBuf>,
}

/// Sends everything `reader` gives until its end; all uploads have ended then. The answer is how many were lost.
pub(super) async fn stream(upload: Upload, mut reader: impl AsyncRead + Unpin) -> u64 {
    let mut log = Pending::new(upload).await;
    let mut tick = tokio::time::interval(log.upload.interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        tokio::select! {
            read = reader.read(&mut buffer), if log.waiting.len() < MOST_WAITING => match read {
                Ok(0) | Err(_) => break,
                Ok(count) => log.take(&buffer[..count], jiff::Timestamp::now()).await,
            },
            _ = tick.tick() => {
                log.send(1);
                log.send_header_times();
            }
            Some(result) = log.uploads.join_next() => log.ended(result),
        }
        log.send(log.upload.chunk_size);
    }
    log.finish().await
}

struct Pending {
    upload: Upload,
    copy: Option<tokio::fs::File>,
    stamper: Stamper,
    headers: HeaderCounter,
    header_times: BTreeMap<String, String>,
    waiting: Vec<u8>,
    sequence: u64,
    offset: u64,
    uploads: JoinSet<Result<(), ApiError>>,
    lost: u64,
}

impl Pending {
    async fn new(upload: Upload) -> Self {
        let copy = match &upload.copy {
            Some(path) => private_file(path).await,
            None => None,
        };
        Self {
            upload,
            copy,
            stamper: Stamper::default(),
            headers: HeaderCounter::default(),
            header_times: BTreeMap::new(),
            waiting: Vec::new(),
            sequence: 0,
            offset: 0,
            uploads: JoinSet::new(),
            lost: 0,
        }
    }

    async fn take(&mut self, bytes: &[u8], now: jiff::Timestamp) {
        if let Some(copy) = &mut self.copy {
            // The copy is a convenience: a full disk must not end the job.
            let _ = copy.write_all(bytes).await;
        }
        if self.upload.inline_times {
            self.waiting.extend(self.stamper.write(bytes, now.as_millisecond()));
        } else {
            let found = self.headers.write(bytes).into_iter();
            self.header_times.extend(found.map(|index| (index.to_string(), now.to_string())));
            self.waiting.extend_from_slice(bytes);
        }
    }

    /// Sends chunks while at least `least` bytes wait and an upload is free.
    fn send(&mut self, least: usize) {
        while self.waiting.len() >= least.max(1) && self.uploads.len() < PARALLEL {
            let rest = self.waiting.split_off(self.waiting.len().min(self.upload.chunk_size));
            let chunk = std::mem::replace(&mut self.waiting, rest);
            self.sequence += 1;
            let (sequence, offset) = (self.sequence, self.offset);
            self.offset += chunk.len() as u64;
            let (client, job) = (self.upload.client.clone(), self.upload.job.clone());
            self.uploads.spawn(async move { client.chunk(&job, sequence, offset, &chunk).await });
        }
    }

    fn send_header_times(&mut self) {
        if self.header_times.is_empty() {
            return;
        }
        let body = HeaderTimes { header_times: std::mem::take(&mut self.header_times) };
        let (client, job) = (self.upload.client.clone(), self.upload.job.clone());
        self.uploads.spawn(async move {
            // Lost times are no hole in the log.
            client.header_times(&job, &body).await.or_else(|error| {
                tracing::warn!("{error}");
                Ok(())
            })
        });
    }

    fn ended(&mut self, result: Result<Result<(), ApiError>, tokio::task::JoinError>) {
        if !matches!(result, Ok(Ok(()))) {
            tracing::error!("a piece of the log is lost: {result:?}");
            self.lost += 1;
        }
    }

    async fn finish(mut self) -> u64 {
        self.send_header_times();
        self.send(1);
        while let Some(result) = self.uploads.join_next().await {
            self.ended(result);
            self.send(1);
        }
        if let Some(copy) = &mut self.copy {
            let _ = copy.flush().await;
        }
        self.lost
    }
}

async fn private_file(path: &std::path::Path) -> Option<tokio::fs::File> {
    let opened =
        tokio::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path).await;
    opened
        .inspect_err(|error| tracing::warn!("cannot keep a copy of the log in {}: {error}", path.display()))
        .ok()
}
