//! The program `lab`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else, and before any thread: the same program supervises the lab's helpers,
    // guards its containers, begins inside of them, and gives dockerd mounts of its own.
    if let Some(code) = lab::children::supervise_when_asked(std::env::args_os()) {
        return code;
    }
    if let Some(code) = lab::instances::containers::inside::inside_when_asked(std::env::args_os()) {
        return code;
    }
    if let Some(code) = lab::engine::guard_when_asked(std::env::args_os()) {
        return code;
    }
    if let Some(code) = lab::engine::own_mounts_when_asked(std::env::args_os()) {
        return code;
    }
    lab::cli::main()
}
