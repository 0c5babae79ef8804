//! The program itself: its start, its end, its death, its commands.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod commands;
mod durability;
mod program;
mod throughput;
