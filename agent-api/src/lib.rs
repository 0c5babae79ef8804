//! The CI's agent API, version 3, typed once for server, agent and scaler.
//!
//! # Layout
//! - [`wire`]: the JSON bodies of every route, as agents and servers really send them.
//! - [`metrics`]: job and agent counts, and the client the scaler reads them with.
//! - [`stacks`]: jobs that wait, one by one, and the client the scaler reads them with.
//! - [`client`]: the agent's side of the API: authentication, retries and give-up rules per call.
//!
//! Source of every form: `agent-api.md` of the project's references (the open-source buildkite-agent, 3.18 to 4.0 beta).

pub mod client;
pub mod metrics;
pub mod stacks;
pub mod wire;
