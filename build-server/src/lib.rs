//! A CI server that speaks the open-source agent's API, version 3. Operations are in `docs/build-server.md`.
//!
//! # Layout
//! - Pure: [`states`], [`request`], [`environment`], [`dispatch`], [`deadlines`], [`output`], [`token`].
//! - [`store`]: builds, jobs, agents and logs in SQLite, behind one thread.
//! - [`http`]: the agent API under `/v3`, the build API under `/api`.
//! - [`serve`]: one running server; [`connections`]: its bounds; [`cli`]: the commands.

pub mod cli;
pub mod config;
pub mod connections;
pub mod deadlines;
pub mod dispatch;
pub mod environment;
pub mod http;
pub mod output;
pub mod presence;
pub mod refusal;
pub mod request;
pub mod serve;
pub mod states;
pub mod store;
pub mod token;
