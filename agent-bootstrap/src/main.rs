//! `agent-bootstrap`: the program on every instance. The work is in the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_bootstrap::cli::main()
}
