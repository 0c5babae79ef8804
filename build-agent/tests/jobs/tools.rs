//! `buildkite-agent` inside a job (row 9, as far as it holds now).

use crate::rig::Rig;

async fn run(command: &str) -> Vec<String> {
    let mut rig = Rig::new(command).await;
    rig.config.push("no-pty=true".into());
    rig.run().await.lines("> ")
}

#[tokio::test]
async fn row_09_meta_data() {
    let lines = run("buildkite-agent meta-data exists k || echo \"> exists $?\"\n\
        buildkite-agent meta-data get k || echo \"> get $?\"\n\
        echo \"> default $(buildkite-agent meta-data get k --default d)\"\n\
        buildkite-agent meta-data set k 'a b'\n\
        printf 'from stdin' | buildkite-agent meta-data set k2\n\
        buildkite-agent meta-data exists k && echo \"> exists $?\"\n\
        echo \"> get $(buildkite-agent meta-data get k) $(buildkite-agent meta-data get k2)\"\n\
        echo \"> keys\" $(buildkite-agent meta-data keys)")
    .await;
    let expected = [
        "> exists 100",
        "> get 1",
        "> default d",
        "> exists 0",
        "> get a b from stdin",
        "> keys buildkite:git:commit k k2",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn row_09_what_is_not_there_yet_says_so() {
    for verb in ["artifact upload x", "annotate hello", "pipeline upload", "step get label"] {
        let lines = run(&format!("out=$(buildkite-agent {verb} 2>&1) || echo \"> $? $out\"")).await;
        assert_eq!(lines.len(), 1, "{verb}");
        assert!(
            lines[0].starts_with("> 1 ") && lines[0].contains("not supported by this agent yet"),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn row_09_redactor_help_is_there_to_be_probed() {
    assert_eq!(run("buildkite-agent redactor add --help >/dev/null && echo '> has it'").await, ["> has it"]);
}
