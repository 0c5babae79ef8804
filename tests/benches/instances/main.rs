//! `make bench`, its second part: boots, retires and services on container instances of the AMI, with systemd, the units,
//! the journal and Docker as they are shipped. A program of its own: the kernel counts the memory of whoever starts a
//! program as that program's, and the lab's would hide what `prelude` measures.
//!
//! Takes the programs from `target/dist`, or from the folder in `TIDEMARK_BENCH_PROGRAMS`.

#![expect(clippy::print_stdout, reason = "a bench's output is its table")]

mod container;
#[path = "../prelude/service.rs"]
mod service;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use container::Containers;

/// The goal for the slowest boots but one in twenty.
const SLOW_BOOT: Duration = Duration::from_millis(400);

fn programs() -> PathBuf {
    std::env::var_os("TIDEMARK_BENCH_PROGRAMS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist"), PathBuf::from)
}

fn main() -> ExitCode {
    let containers = match container::measure(&programs()) {
        Ok(containers) => containers,
        Err(reason) => {
            eprintln!("bench: SKIPPED, no container instances here: {reason:#}");
            return ExitCode::SUCCESS;
        }
    };
    print(&containers);
    let slow = p95(&containers.boots);
    let slow = (slow > SLOW_BOOT).then(|| format!("boot: p95 {slow:?} is over {SLOW_BOOT:?}"));
    let mut passed: Vec<String> = slow.into_iter().collect();
    passed.extend(containers.services.iter().flat_map(service::Service::check));
    for limit in &passed {
        eprintln!("bench: on a container instance: {limit}");
    }
    if passed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn p95(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() * 95 / 100]
}

fn print(containers: &Containers) {
    println!("\n| on a container instance | median | p95 |\n| --- | --- | --- |");
    for (what, took) in [
        ("boot to agent connected, without Docker's start", &containers.boots),
        ("idle instance retired", &containers.retires),
    ] {
        let ms = |time: Duration| time.as_millis();
        println!("| {what} | {} ms | {} ms |", ms(took[took.len() / 2]), ms(p95(took)));
    }
    println!("\n| service there, idle | resident | of a core |\n| --- | --- | --- |");
    for service in &containers.services {
        println!("{service}");
    }
}
