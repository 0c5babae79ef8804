//! Everything a server is told at its start.

use std::{net::SocketAddr, path::PathBuf};

use crate::{deadlines::Limits, request::is_slug};

/// Intervals that agents are told, in seconds, each at least 1: agents panic or spin on 0.
#[derive(Debug, Clone, Copy)]
pub struct Intervals {
    /// Between pings.
    pub ping: u32,
    /// Between looks at a running job's state.
    pub job_status: u32,
    /// Between heartbeats.
    pub heartbeat: u32,
}

/// A server's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Database, tokens and `address` live here.
    pub data: PathBuf,
    /// Tokens that register agents, one a line.
    pub registration_token_file: PathBuf,
    /// Tokens of the build API, one a line; made when absent.
    pub api_token_file: PathBuf,
    /// Slug in `BUILDKITE_ORGANIZATION_SLUG` and in the metrics.
    pub organization: String,
    /// How people reach the server; the listening address when absent.
    pub base_url: Option<String>,
    /// Seconds that readers of the metrics are asked to wait.
    pub metrics_poll: u32,
    /// What agents are told.
    pub intervals: Intervals,
    /// Longest log of a job, bytes.
    pub log_bytes_limit: u64,
}

impl Config {
    /// Every fault at once, each with its setting.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !is_slug(&self.organization) {
            faults.push(format!("--organization {:?}: use letters, digits, - _ .", self.organization));
        }
        let named = [
            ("--ping-interval", self.intervals.ping),
            ("--job-status-interval", self.intervals.job_status),
            ("--heartbeat-interval", self.intervals.heartbeat),
            ("--metrics-poll-seconds", self.metrics_poll),
        ];
        for (name, seconds) in named {
            if !(1..=3600).contains(&seconds) {
                faults.push(format!("{name} {seconds}: use 1 to 3600 seconds"));
            }
        }
        if let Some(url) = &self.base_url
            && !url.starts_with("http://")
            && !url.starts_with("https://")
        {
            faults.push(format!("--base-url {url:?}: begin with http:// or https://"));
        }
        faults
    }

    /// Time limits that follow from the intervals.
    pub fn limits(&self) -> Limits {
        let seconds = |n: u32| i64::from(n) * 1000;
        Limits {
            // Agents add up to one interval of jitter to a ping.
            accept: seconds(self.intervals.ping * 3).max(30_000),
            start: 300_000,
            cancel: 600_000,
            lost: seconds(self.intervals.heartbeat * 4),
            abandoned: seconds(self.intervals.job_status * 4).max(30_000),
        }
    }
}
