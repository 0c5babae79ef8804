//! `image-builder`: the work is in the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    image_builder::cli::main()
}
