//! What a stock agent needs of the server: one test for each row of the compliance list (`agent-api.md` §6.1),
//! named after it. Real HTTP against a server in this process, whose clock the tests move.

#![allow(clippy::unwrap_used, clippy::panic)]

mod agents;
mod jobs;
mod logs;
mod stacks;
mod stage;
mod users;
