//! `make bench`: what a job waits for before it runs, what an instance's services take, how soon it goes. The real program against S3 in memory, at 0 and 20 ms of round
//! trip, with its calls counted; start-up and sizes of the shipped programs. Prints the table of `docs/benchmarks.md`
//! and fails when a limit of `limits` is passed.
//!
//! Takes the programs from `target/dist`, or from the folder in `TIDEMARK_BENCH_PROGRAMS`.

#![expect(clippy::print_stdout, reason = "a bench's output is its table")]

mod bucket;
mod instance;
mod lambda;
mod limits;
mod measure;
mod service;
mod services;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bucket::Bucket;
use instance::Surroundings;
use measure::{Measured, Prelude, measure};

fn programs() -> PathBuf {
    std::env::var_os("TIDEMARK_BENCH_PROGRAMS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist"), PathBuf::from)
}

fn main() -> ExitCode {
    let programs = programs();
    let bootstrap = programs.join("agent-bootstrap");
    if !bootstrap.is_file() {
        eprintln!("bench: {} is missing: make dist builds it", bootstrap.display());
        return ExitCode::FAILURE;
    }
    let mut rows = vec![startup(&bootstrap)];
    for delay in [0, 20] {
        let bucket = Bucket::start(Duration::from_millis(delay));
        let prelude = Prelude::new(&bootstrap, &bucket);
        rows.push(measure(&format!("environment hook, cold, {delay} ms"), 15, || prelude.run_cold()));
        rows.push(measure(&format!("environment hook, warm, {delay} ms"), 50, || prelude.run()));
        bucket.forget();
        let _ = prelude.run();
        let counted = bucket.counted();
        println!(
            "calls of one hook at {delay} ms: {} in {} round trips ({} connections)",
            counted.calls, counted.rounds, counted.connections
        );
    }
    let mut phases = BTreeMap::new();
    let around = Surroundings::start(Duration::from_millis(20));
    let boot = || instance::boot(&programs, &around, &mut phases);
    rows.push(measure("boot to agent connected, 20 ms", 40, boot));
    let retire = || instance::Living::start(&programs, &around).retire();
    rows.push(measure("idle instance retired, 20 ms", 20, retire));
    let services = services::idle(&programs, &around);
    let scaler = lambda::scaler(&programs);
    let writes = scaler.writes;
    let (hint, hint_p99) = scaler.hint;
    rows.extend([scaler.init, scaler.reaction, hint, scaler.by_url.warm, scaler.by_url.cold]);
    println!("\n| what | median | p95 | max RSS |\n| --- | --- | --- | --- |");
    for row in &rows {
        println!("{row}");
    }
    println!("\nwrite calls for 500 jobs: {writes}");
    println!("webhook sent to capacity asked for, p99: {:.1} ms", hint_p99.as_secs_f64() * 1e3);
    println!("the same at the function's URL, p99: {:.1} ms", scaler.by_url.warm_p99.as_secs_f64() * 1e3);
    println!("\n| phase of a boot | median |\n| --- | --- |");
    for (phase, mut took) in phases {
        took.sort_unstable();
        println!("| {phase} | {} ms |", took[took.len() / 2]);
    }
    println!("\n| service | resident | of a core |\n| --- | --- | --- |");
    for service in &services {
        println!("{service}");
    }
    println!(
        "\n| queues | moving | of a core | max RSS | describes a minute |\n| --- | --- | --- | --- | --- |"
    );
    for many in &scaler.many {
        println!("{many}");
    }
    let mut passed = limits::check(&rows);
    passed.extend(scaler.many.iter().flat_map(lambda::Many::check));
    passed.extend(services.iter().flat_map(service::Service::check));
    passed.extend(limits::check_writes(writes));
    passed.extend([hint_p99, scaler.by_url.warm_p99].into_iter().filter_map(limits::check_hint));
    sizes(&programs);
    if passed.is_empty() {
        return ExitCode::SUCCESS;
    }
    for limit in passed {
        eprintln!("bench: {limit}");
    }
    ExitCode::FAILURE
}

fn startup(program: &Path) -> Measured {
    measure("agent-bootstrap --version", 100, || measure::version(program))
}

fn sizes(programs: &Path) {
    println!("\n| program | size |\n| --- | --- |");
    for name in ["agent-bootstrap", "scaler", "build-agent", "build-server"] {
        if let Ok(metadata) = std::fs::metadata(programs.join(name)) {
            #[expect(clippy::cast_precision_loss, reason = "megabytes with one decimal")]
            let megabytes = metadata.len() as f64 / 1e6;
            println!("| {name} | {megabytes:.1} MB |");
        }
    }
}
