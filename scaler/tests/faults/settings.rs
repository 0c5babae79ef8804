//! Settings that contradict themselves, or the environment: all of it is said, and nothing is touched.

use crate::good_answer;
use crate::stage::{Ci, Stage};

const FAULTY: &str = "
queue: other
idle-instances: -1
min-instances: 4
max-instances: 3
time-zone: Europe/Atlantis
buffer: 2
periods:
  - name: office
    when: '* 8-17 * * mon-fri'
  - name: friday
    when: '* 12 * * fri'
";

const SAID: [&str; 7] = [
    "scaler: settings: idle-instances is -1: give a whole number of at least 0",
    "scaler: settings: time-zone is `Europe/Atlantis`, which is no time zone of the IANA database: ",
    "scaler: settings: periods[0] and periods[1] overlap: `* 8-17 * * mon-fri` and `* 12 * * fri`",
    "scaler: settings: buffer is no key here: ",
    "scaler: AGENTS_PER_INSTANCE is `none`: give a number of at least 1",
    "scaler: BUILDKITE_QUEUE is `default`, but settings: queue says otherwise: give one of them",
    "scaler: settings: min-instances is 4, more than the maximum, 3",
];

#[tokio::test]
async fn a_document_with_many_faults_leaves_everything_untouched() {
    let stage = Stage::start(Ci::json(good_answer())).await;
    let environment =
        [("SCALER_SETTINGS", FAULTY), ("BUILDKITE_QUEUE", "default"), ("AGENTS_PER_INSTANCE", "none")];
    let run = stage.once(&environment).await;
    let said: Vec<&str> = run.stderr.lines().collect();
    assert_eq!((run.code, said.len()), (78, SAID.len()), "{}", run.stderr);
    for (said, expected) in said.iter().zip(SAID) {
        assert!(said.starts_with(expected), "{said}");
    }
    assert_eq!(run.stdout, "");
    assert!(stage.desired_set().is_empty() && stage.published() == 0);
    // The same environment without the faults does act.
    let run = stage.once(&[("SCALER_SETTINGS", "idle-instances: 1"), ("BUILDKITE_QUEUE", "default")]).await;
    assert_eq!((run.code, stage.desired_set()), (0, vec![1]), "{}", run.stderr);
}

#[tokio::test]
async fn check_prints_what_holds_and_calls_nobody() {
    let stage = Stage::start(Ci::Silent).await;
    let settings = "idle-instances: 1\nmax-instances: 5\n";
    let run = stage.run(&["check"], &[("SCALER_SETTINGS", settings)]).await;
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert!(run.stdout.contains("\nidle-instances: 1\n") && run.stdout.contains("\nmax-instances: 5\n"));
    let run = stage.run(&["check"], &[("SCALER_SETTINGS", FAULTY)]).await;
    assert_eq!((run.code, run.stdout.as_str()), (78, ""));
    let run = stage.run(&["check"], &[("SCALER_SETTINGS", "ssm:/tidemark/ci/scaler-settings")]).await;
    assert_eq!(run.code, 78);
    assert!(run.stderr.contains("scaler check --file -"), "{}", run.stderr);
    assert_eq!(stage.secret_reads(), 0);
}
