//! `build-server`: the work is in the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    build_server::cli::main()
}
