use super::*;

use crate::boot::files::{self, Owner};
use tokio::net::UnixListener;

fn stack_instance() -> (tempfile::TempDir, Layout) {
    let root = tempfile::tempdir().unwrap();
    let layout = Layout::below(root.path());
    files::folder(layout.instance_file().parent().unwrap(), 0o755, Owner::own()).unwrap();
    files::folder(&layout.run(), 0o755, Owner::own()).unwrap();
    files::file(&layout.instance_file(), b"{}", 0o644, Owner::own()).unwrap();
    (root, layout)
}

/// Answers one connection with `answer` and gives back what was asked.
async fn answer_once(listener: &UnixListener, answer: &str) -> String {
    let (stream, _) = listener.accept().await.unwrap();
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).await.unwrap();
    writer.write_all(answer.as_bytes()).await.unwrap();
    line
}

const PATIENT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn off_a_stack_it_is_no_op() {
    let root = tempfile::tempdir().unwrap();
    let layout = Layout::below(root.path());
    started(&layout, "j", None, PATIENT).await.unwrap();
    assert_eq!(job_finished(&layout, "j").await, None);
}

#[tokio::test]
async fn on_a_stack_a_missing_watch_fails_the_job_with_a_clear_line() {
    let (_root, layout) = stack_instance();
    let failure = started(&layout, "j", None, Duration::ZERO).await.unwrap_err();
    assert_eq!(failure.code, 69);
    assert!(failure.message.contains("the job would run unprotected"), "{failure}");
    // A socket that a dead watch left is the same.
    drop(UnixListener::bind(layout.watch_socket()).unwrap());
    assert_eq!(started(&layout, "j", None, Duration::ZERO).await.unwrap_err().code, 69);
}

#[tokio::test]
async fn a_refusal_fails_the_job_with_its_reason() {
    let (_root, layout) = stack_instance();
    let listener = UnixListener::bind(layout.watch_socket()).unwrap();
    let (started, asked) = tokio::join!(
        started(&layout, "j", Some(7), PATIENT),
        answer_once(&listener, "{\"ok\":false,\"reason\":\"it drains\"}\n")
    );
    let failure = started.unwrap_err();
    assert!(failure.code == 75 && failure.message.contains("it drains"), "{failure}");
    assert_eq!(asked, "{\"event\":\"job-started\",\"job\":\"j\",\"pid\":7}\n");
}

#[tokio::test]
async fn a_watch_that_ends_before_it_answers_is_asked_again() {
    let (_root, layout) = stack_instance();
    let listener = UnixListener::bind(layout.watch_socket()).unwrap();
    let watch = async {
        answer_once(&listener, "").await;
        answer_once(&listener, "{\"ok\":true}\n").await
    };
    let (started, asked) = tokio::join!(started(&layout, "j", None, PATIENT), watch);
    started.unwrap();
    assert_eq!(asked, "{\"event\":\"job-started\",\"job\":\"j\"}\n");
}
