//! Many policies at once, alarms mode among them, and times that are Unix times.

use super::{made, scaler, simulated, text};

#[test]
fn alternatives_are_compared_and_a_table_shows_those_that_none_beats() {
    let trace = made(&["--days", "1", "--seed", "3"]);
    let few = simulated(&["--policy", "tidemark:blind,idle=30s|60s,floor=0|1", "--seeds", "1"], &trace);
    let names: Vec<&str> =
        few["policies"].as_array().unwrap().iter().map(|policy| policy["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "tidemark:blind,idle=30s,floor=0",
            "tidemark:blind,idle=30s,floor=1",
            "tidemark:blind,idle=60s,floor=0",
            "tidemark:blind,idle=60s,floor=1"
        ]
    );
    let alone = simulated(&["--policy", "tidemark:blind,idle=60s,floor=1", "--seeds", "1"], &trace);
    assert_eq!(alone["policies"][0], few["policies"][3], "the same as by itself");
    let many = "tidemark:blind,idle=20s|40s|80s|160s|320s|640s,floor=0|1|2|4|8";
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("sweep.svg");
    let asked =
        ["simulate", "--trace", "-", "--policy", many, "--seeds", "1", "--plot", picture.to_str().unwrap()];
    let output = scaler(&asked, &trace);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(table.contains("of 30 policies those that none beats in both p95 and cost"), "{table}");
    let rows = table.lines().filter(|line| line.starts_with("tidemark:")).count();
    assert!((2..20).contains(&rows), "{table}");
    let panels = std::fs::read_to_string(picture).unwrap().matches(">tidemark:").count();
    assert_eq!(panels, rows, "the picture has those of the table");
    let all = simulated(&["--policy", many, "--seeds", "1"], &trace);
    assert_eq!(all["policies"].as_array().unwrap().len(), 30, "JSON has all");
}

#[test]
fn too_many_alternatives_are_refused() {
    let floors: Vec<String> = (0..400).map(|n| n.to_string()).collect();
    let many = format!("tidemark:floor={0},buffer={0}", floors.join("|"));
    let output = scaler(&["simulate", "--trace", "-", "--policy", &many], "");
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).ends_with("more than 100000 alternatives\n"));
}

#[test]
fn alarms_mode_waits_longer_than_direct_mode_and_runs_every_job() {
    let trace = made(&["--days", "1", "--seed", "3", "--blind"]);
    let policies = ["--policy", "tidemark", "--policy", "tidemark:alarms", "--seeds", "2"];
    let report = simulated(&policies, &trace);
    let of = |policy: usize, key: &str| report["policies"][policy][key].as_f64().unwrap();
    assert!(of(1, "wait_p50_s") > of(0, "wait_p50_s") + 30.0, "{report}");
    // Publication, evaluation and the warm-up of what came before: bounded, not lost.
    assert!(of(1, "wait_p95_s") < 900.0, "{report}");
}

#[test]
fn unix_times_are_simulated_from_the_midnight_before_them() {
    let rows = |second: u64| {
        let job =
            |at: u64, build: u64| format!("{},30,default,app,{build},{},1", second + at, second + at - 5);
        format!(
            "runnable_at,duration_s,queue,pipeline,build,hinted_at,hinted_jobs\n{}\n{}\n",
            job(30_600, 1),
            job(40_600, 2)
        )
    };
    // A Monday, in seconds since 1970; half past eight UTC is half past nine in Berlin.
    let monday = 1_795_392_000;
    let by = ["--policy", "tidemark", "--policy", "idle-count", "--seeds", "2", "--capacity-errors"];
    let times = [[&by[..], &["30000s-31000s"]].concat(), [&by[..], &["1795422000s-1795423000s"]].concat()];
    assert_eq!(simulated(&times[0], &rows(0)), simulated(&times[1], &rows(monday)));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.yml");
    let document = "time-zone: Europe/Berlin\nperiods:\n  - name: early\n    when: '* 9 * * mon'\n    idle-instances: 1\n";
    std::fs::write(&file, document).unwrap();
    let by = ["--policy", "tidemark:blind,settings", "--settings", file.to_str().unwrap(), "--seeds", "1"];
    let report = simulated(&by, &rows(monday));
    assert_eq!(
        report["policies"][0]["wait_p50_s"], 0.0,
        "an instance is there at nine, no --starts is needed: {report}"
    );
    let tuesday = simulated(&by, &rows(monday + 86_400));
    assert!(tuesday["policies"][0]["wait_p50_s"].as_f64().unwrap() > 30.0, "{tuesday}");
}
