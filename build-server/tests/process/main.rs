//! The program itself: its start, its end, its death, its commands.

#![allow(clippy::unwrap_used, clippy::panic)]

mod commands;
mod durability;
mod program;
