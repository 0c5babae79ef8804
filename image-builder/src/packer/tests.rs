//! With small programs in Packer's place; the real one builds in tests/journeys.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

struct Stand {
    folder: tempfile::TempDir,
    packer: Packer,
}

/// A program in Packer's place: `script` runs with Packer's arguments.
fn stand(script: &str) -> Stand {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("packer");
    std::fs::write(&program, format!("#!/bin/bash\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(folder.path().join("t.json"), "{}").unwrap();
    Stand { packer: Packer { program, environment: Vec::new() }, folder }
}

impl Stand {
    fn work(&self, variables: &[(&str, &str)]) -> Work {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Work::new(self.folder.path(), &self.folder.path().join("t.json"), &variables).unwrap()
    }

    async fn build(&self, patience: Duration, stop: Option<Stop>) -> (Result<Built, Problem>, Vec<Progress>) {
        let (asks, asked) = watch::channel(None);
        let (sender, mut progress) = mpsc::channel(8);
        let work = self.work(&[("secret", "s3cret")]);
        let listen = async {
            let mut heard = Vec::new();
            while let Some(one) = progress.recv().await {
                if one == Progress::Line("ready".to_owned()) {
                    asks.send_replace(stop);
                }
                heard.push(one);
            }
            heard
        };
        let output = self.folder.path().join("packer.log");
        tokio::join!(self.packer.build(&work, &output, patience, asked, sender), listen)
    }
}

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn k6_images_of_all_builders_and_regions_are_collected() {
    let stand = stand(
        r#"echo '1,,ui,say,==> a: Instance ID: i-0123456789abcdef0'
           echo '1,a,artifact,0,id,us-east-1:ami-0a%!(PACKER_COMMA)eu-west-1:ami-0b'
           echo '1,b,artifact,0,id,us-east-1:ami-0c'
           echo; echo 'trailing words'"#,
    );
    let (built, heard) = stand.build(MINUTE, None).await;
    let built = built.unwrap();
    let images: Vec<_> =
        built.images.iter().map(|i| format!("{} {} {}", i.builder, i.region, i.id)).collect();
    assert_eq!(images, ["a us-east-1 ami-0a", "a eu-west-1 ami-0b", "b us-east-1 ami-0c"]);
    assert_eq!((built.code, built.stopped, built.temporary.is_empty()), (Some(0), None, true));
    assert!(
        heard.iter().any(|one| matches!(one, Progress::Temporary(t) if t.instances.len() == 1)),
        "{heard:?}"
    );
    assert_eq!(built.tail.last().map(String::as_str), Some("trailing words"));
}

#[tokio::test]
async fn a_failure_has_its_code_and_the_last_twenty_lines() {
    let stand = stand("for n in $(seq 50); do echo \"1,,ui,message,line $n\"; done; exit 3");
    let built = stand.build(MINUTE, None).await.0.unwrap();
    assert_eq!((built.code, built.tail.len(), built.tail[0].as_str()), (Some(3), 20, "line 31"));
}

#[tokio::test]
async fn values_of_variables_are_in_no_argument() {
    let stand = stand(
        r#"[[ "$*" != *s3cret* ]] || exit 9
           for a; do case $a in -var-file=*) file=${a#-var-file=};; esac; done
           [ "$(stat -c %a "$file")" = 600 ] || exit 8
           echo "1,,ui,say,$(cat "$file" | tr , ' ')""#,
    );
    let built = stand.build(MINUTE, None).await.0.unwrap();
    assert_eq!((built.code, built.tail.as_slice()), (Some(0), &[r#"{"secret":"s3cret"}"#.to_owned()][..]));
}

#[tokio::test]
async fn a_build_that_is_stopped_may_clean_up_itself() {
    let stand = stand(
        r#"trap 'echo "1,,ui,say,cleaned"; exit 1' INT
           echo '1,,ui,say,Instance ID: i-0123456789abcdef0'; echo ready
           while :; do sleep 0.05; done"#,
    );
    for why in [Stop::TimedOut, Stop::HandedBack] {
        let built = stand.build(MINUTE, Some(why)).await.0.unwrap();
        assert_eq!((built.code, built.stopped), (Some(1), Some(why)));
        assert!(built.temporary.is_empty());
        assert_eq!(built.tail.last().map(String::as_str), Some("cleaned"));
    }
}

#[tokio::test]
async fn what_a_killed_build_leaves_is_known() {
    let stand = stand("echo '1,,ui,say,Instance ID: i-0123456789abcdef0'; kill -9 $$");
    let built = stand.build(MINUTE, None).await.0.unwrap();
    assert_eq!(
        (built.code, built.temporary.instances.as_slice()),
        (None, &["i-0123456789abcdef0".to_owned()][..])
    );
}

#[tokio::test]
async fn what_a_build_came_to_is_read_from_its_output_once_its_packer_has_ended() {
    let stand = stand("");
    let output = stand.folder.path().join("packer.log");
    assert_eq!(past(&output).await.unwrap(), None);
    std::fs::write(
        &output,
        "1,,ui,say,Instance ID: i-0123456789abcdef0\n1,a,artifact,0,id,r:ami-0a\n1,,ui,say,cut of",
    )
    .unwrap();
    let read = past(&output).await.unwrap().unwrap();
    assert_eq!((read.images.len(), read.temporary.instances.len(), read.tail.len()), (1, 1, 2));
    // A Packer that nobody waits for holds its output as long as it lives.
    let script = format!("exec 9>>'{}'; flock 9; echo locked; exec sleep 600", output.display());
    let mut orphan = std::process::Command::new("bash");
    let mut orphan = orphan.args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(orphan.stdout.take().unwrap()), &mut said)
        .unwrap();
    let problem = alone(&output, Duration::ZERO).await.unwrap_err();
    assert!(problem.code == 75 && problem.message.contains("still runs"), "{problem}");
    orphan.kill().unwrap();
    orphan.wait().unwrap();
    alone(&output, MINUTE).await.unwrap();
}

#[tokio::test]
async fn a_build_takes_no_longer_than_it_may() {
    let stand = stand("trap 'exit 1' INT; while :; do sleep 0.05; done");
    let built = stand.build(Duration::from_millis(200), None).await.0.unwrap();
    assert_eq!((built.code, built.stopped), (Some(1), Some(Stop::TimedOut)));
}

#[tokio::test]
async fn a_packer_that_is_absent_or_another_program_is_told() {
    let mut stand = stand("echo hello");
    let problem = stand.packer.version().await.unwrap_err();
    assert!(problem.code == 78 && problem.message.contains("is no Packer"), "{problem}");
    stand.packer.program = stand.folder.path().join("absent");
    assert_eq!(stand.packer.version().await.unwrap_err().code, 78);
    let built = stand.build(MINUTE, None).await.0.unwrap();
    assert!(built.code == Some(127) && built.tail[0].contains("failed to execute"), "{built:?}");
}

#[tokio::test]
async fn an_invalid_template_is_told_in_packers_words() {
    let stand = stand("echo 'Error: no builders'; exit 1");
    let problem = stand.packer.validate(&stand.work(&[]), "1.6.6").await.unwrap_err();
    assert_eq!(problem.message, "packer validate: Error: no builders");
}

#[test]
fn init_is_for_packers_that_have_it() {
    for (version, init) in [("1.6.6", false), ("1.7.0", true), ("1.11.2", true), ("2.0.0", true), ("", false)]
    {
        assert_eq!(has_init(version), init, "{version}");
    }
}
