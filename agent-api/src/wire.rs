//! JSON bodies of the agent API. Unknown fields are ignored and absent ones have the meaning the protocol gives
//! them, so that agents of any 3.x or 4.x version can talk to the server and ours to theirs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `POST register`, sent with the registration token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegisterRequest {
    /// The agent's name; the server may answer with another.
    pub name: String,
    /// Host name of the machine.
    pub hostname: String,
    /// On Linux the whole text of `/etc/os-release`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub arch: String,
    /// May the agent run commands, or only scripts of the checkout?
    pub script_eval_enabled: bool,
    /// True for an agent that waits for one named job only.
    pub ignore_in_dispatches: bool,
    /// A number as text; higher is asked first. Absent counts as 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Agent version.
    pub version: String,
    /// Agent build.
    pub build: String,
    /// Tags, each `key=value`.
    #[serde(rename = "meta_data")]
    pub tags: Vec<String>,
    /// Process id on its machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i64>,
    /// Hash that names the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<String>,
    /// Names of optional abilities (newer agents).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

/// Answer to [`RegisterRequest`]. The three intervals are whole seconds and never 0: agents panic or spin on 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegisterResponse {
    /// The agent's id.
    pub id: String,
    /// The name the server keeps for it.
    pub name: String,
    /// Token of everything after the registration.
    pub access_token: String,
    /// Another base URL to use from now on; empty keeps the present one.
    pub endpoint: String,
    /// Seconds between pings.
    pub ping_interval: u32,
    /// Seconds between looks at a running job's state.
    pub job_status_interval: u32,
    /// Seconds between heartbeats.
    pub heartbeat_interval: u32,
    /// The tags as the server understood them.
    #[serde(rename = "meta_data")]
    pub tags: Vec<String>,
    /// Headers (`Buildkite-…` only) to send on every later request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<BTreeMap<String, String>>,
}

/// `POST heartbeat`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    /// RFC 3339 with nanoseconds.
    pub sent_at: String,
    /// Filled in by the server's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_at: Option<String>,
}

/// Answer to `GET ping`; `{}` when there is nothing to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ping {
    /// `disconnect` ends the agent, `pause` keeps it idle, anything else means nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// For the agent's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The job that waits for this agent's accept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<PingJob>,
    /// Another base URL to move to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Absent keeps the headers of before, an empty map clears them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<BTreeMap<String, String>>,
}

/// The job named by a ping: agents read the id only and get the rest from accept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PingJob {
    /// The job's id.
    pub id: String,
    /// The job's state at the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// Answer to `PUT jobs/:id/accept` and `/acquire`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Job {
    /// The job's id, used in every later path.
    pub id: String,
    /// The job's state at the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The job's environment; the command is `BUILDKITE_COMMAND` in it.
    pub env: BTreeMap<String, String>,
    /// Longest log chunk in uncompressed bytes, more than 0 (agents give the job up on 0).
    pub chunks_max_size_bytes: u64,
    /// Seconds between log uploads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunks_interval_seconds: Option<u32>,
    /// Longest log in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_max_size_bytes: Option<u64>,
    /// Replaces the access token for all calls of this job, when present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// `PUT jobs/:id/start`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobStart {
    /// RFC 3339, UTC.
    pub started_at: String,
}

/// Answer to `GET jobs/:id`. `canceling`, `canceled`, `timing_out` and `timed_out` end the job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobState {
    /// The job's state.
    pub state: String,
}

/// `PUT jobs/:id/finish`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobFinish {
    /// A number as text; `-1` when the process never ended by itself.
    pub exit_status: String,
    /// RFC 3339, UTC.
    pub finished_at: String,
    /// The signal that ended the job, for example `SIGTERM`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// `agent_refused`, `agent_stop`, `cancel`, `signature_rejected`, `process_run_error`, `stack_error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal_reason: Option<String>,
    /// Log chunks that could not be delivered: the log has holes when it is above 0.
    pub chunks_failed_count: u64,
    /// True when the agent disconnects after this job and must get no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_agent_in_dispatches: Option<bool>,
}

/// `POST jobs/:id/header_times`: RFC 3339 times by the 0-based index of the header line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderTimes {
    /// Only new ones in each call.
    pub header_times: BTreeMap<String, String>,
}

/// `POST jobs/:id/data/set`, and the answer of `data/get`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetaDataItem {
    /// Name, unique in the build.
    pub key: String,
    /// Any text.
    pub value: String,
}

/// `POST jobs/:id/data/set-batch`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetaDataBatch {
    /// All are set, or none.
    pub items: Vec<MetaDataItem>,
}

/// `POST jobs/:id/data/get` and `data/exists`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetaDataKey {
    /// Name, unique in the build.
    pub key: String,
}

/// Answer of `data/exists`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetaDataExists {
    /// Is it set?
    pub exists: bool,
}

/// The body of every error answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorBody {
    /// Shown in the agent's or the job's log.
    pub message: String,
}

/// `POST stop`: an agent asks to be stopped, from inside a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stop {
    /// Cancel the running job too. Omitted when false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// `POST pause`: keep the agent idle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pause {
    /// Why, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Minutes until the agent resumes by itself; absent or 0 is until `POST resume`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_in_minutes: Option<u32>,
}

/// Answer of `GET token`: what a registration token is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenInfo {
    /// Names the token without giving it away.
    pub uuid: String,
    /// For people.
    pub description: String,
    /// `registration`.
    pub token_type: String,
    /// Whose agents it registers.
    pub organization_slug: String,
    /// The same as an id.
    pub organization_uuid: String,
}
