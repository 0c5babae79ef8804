//! Records that real ticks printed, told and replayed by the real program.

use serde_json::json;

use crate::stage::{Ci, Run, Stage};

fn jobs(scheduled: u64, running: u64) -> Ci {
    Ci::json(json!({
        "organization": {"slug": "acme"},
        "agents": {"idle": 0, "busy": running, "total": running},
        "jobs": {"scheduled": scheduled, "running": running, "waiting": 0, "total": scheduled + running},
    }))
}

/// `scaler explain --file` on these lines.
async fn explain(stage: &Stage, lines: &str, more: &[&str]) -> Run {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines).unwrap();
    let mut run =
        stage.run(&[&["explain", "--file", file.path().to_str().unwrap()], more].concat(), &[]).await;
    run.stderr = run.stderr.replace(file.path().to_str().unwrap(), "FILE");
    run
}

/// Without what differs from run to run: days, times of day, ports.
fn steady(text: &str) -> String {
    let is_time = |word: &str| word.len() == 8 && word.split(':').all(|part| part.parse::<u8>().is_ok());
    let hide = |word: &str| match word.split_once("127.0.0.1:") {
        Some((before, after)) => {
            format!("{before}127.0.0.1:PORT{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None if is_time(word) => "HH:MM:SS".to_owned(),
        None => word.to_owned(),
    };
    let lines = text.lines().filter(|line| !line.ends_with("times are UTC"));
    lines.map(|line| line.split(' ').map(hide).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn what_real_ticks_leave_is_told_and_replays() {
    let mut log = String::new();
    let mut add = |run: Run| log.push_str(&run.stdout);
    let mut last = None;
    for ci in [jobs(4, 0), jobs(90, 2), jobs(0, 0), Ci::status(500, "oops"), Ci::status(401, "no")] {
        let stage = Stage::start(ci).await;
        add(stage.once(&[("AGENTS_PER_INSTANCE", "2"), ("INSTANCE_BUFFER", "1")]).await);
        last = Some(stage);
    }
    let stage = Stage::start(jobs(4, 0)).await;
    stage.refuse_autoscaling("SetDesiredCapacity", 403, "AccessDenied", "not authorized");
    add(stage.once(&[]).await);
    add(stage.once(&[("DISABLE_SCALE_OUT", "true")]).await);
    add(stage.run(&["once", "--dry-run"], &[]).await);
    let stage = Stage::start(jobs(4, 0)).await;
    for _ in 0..3 {
        stage.fail_a_boot();
    }
    add(stage.once(&[]).await);

    let stage = last.unwrap();
    let told = explain(&stage, &log, &[]).await;
    assert_eq!((told.code, told.stderr.as_str()), (0, ""), "{}", told.stdout);
    insta::assert_snapshot!(steady(&told.stdout));
    let raw = explain(&stage, &log, &["--json"]).await;
    let records: Vec<&str> = log.lines().filter(|line| line.starts_with(r#"{"v":1,"#)).collect();
    assert_eq!(raw.stdout.lines().collect::<Vec<_>>(), records, "as they were written");
    assert!(!log.contains("the-token"), "no secret");

    // Another program would have decided otherwise.
    let other = records[0].replacen(r#""to":3"#, r#""to":4"#, 1);
    assert_ne!(other, records[0]);
    let told = explain(&stage, &other, &[]).await;
    assert!(told.stdout.contains("does not replay: scaler 0.1.0 decided 4"), "{}", told.stdout);
    let raw = explain(&stage, &other, &["--json"]).await;
    assert!(raw.stderr.contains("does not replay"), "{}", raw.stderr);
}

#[tokio::test]
async fn a_quiet_tick_leaves_its_decision_and_no_record() {
    let stage = Stage::start(jobs(0, 2)).await;
    let run = stage.once(&[]).await;
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
    assert_eq!(run.record()["step"], "hold");
    let told = explain(&stage, &run.stdout, &[]).await;
    assert_eq!((told.code, told.stderr.as_str()), (1, "scaler: FILE: no record: quiet ticks leave none\n"));
}

#[tokio::test]
async fn what_makes_no_sense_is_said_in_a_line_with_its_exit_code() {
    let stage = Stage::start(jobs(4, 0)).await;
    let record = stage.once(&[]).await.stdout;
    let mixed = format!("START\n{{\"v\":2}}\n{}\n{record}", &record[..99]);
    let told = explain(&stage, &mixed, &[]).await;
    assert_eq!(told.code, 0, "{}", told.stderr);
    insta::assert_snapshot!(told.stderr);
    let told = explain(&stage, "{\"v\":2}\n", &[]).await;
    assert_eq!(told.code, 1);
    assert!(told.stderr.contains("a record of version 2"), "{}", told.stderr);

    for (arguments, code, says) in [
        (
            &["--at", "yesterday"][..],
            2,
            "give a time like 2026-11-21T14:02:10Z, or how long ago: 90s, 10m, 2h, 1d",
        ),
        (&["--last", "0"], 2, "0 is not in"),
        (&["--instance", "web-1"], 2, "give an instance's id"),
        (&["--at", "10m", "--last", "3"], 2, "cannot be used with"),
        (&["--file", "x", "--log-group", "y"], 2, "cannot be used with"),
        (&["--file", "/nowhere/records"], 1, "read of the records in /nowhere/records: No such file"),
    ] {
        let run = stage.run(&[&["explain"], arguments].concat(), &[]).await;
        assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(says), "{arguments:?}: {}", run.stderr);
    }
    let nobody = stage.run(&["explain"], &[("AWS_ENDPOINT_URL", "http://127.0.0.1:9")]).await;
    assert_eq!(nobody.code, 69, "{}", nobody.stderr);
    assert!(nobody.stderr.contains("logs:FilterLogEvents on /tidemark/tidemark/scaler"), "{}", nobody.stderr);
}
