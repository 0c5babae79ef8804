//! Which process is ours to stop; the rest is tried with real keys in `tests/hooks`.

use super::*;

#[test]
fn a_process_that_is_not_the_recorded_agent_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let job = JobFolder::in_private_folder(folder.path());
    let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let record = Record {
        pid: i32::try_from(sleeper.id()).unwrap(),
        socket: folder.path().join("ssh-agent.sock"),
        folder: None,
    };
    job.write(RECORD, &serde_json::to_vec(&record).unwrap()).unwrap();
    stop(&job).unwrap();
    assert!(sleeper.try_wait().unwrap().is_none());
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    stop(&job).unwrap();
}

#[tokio::test]
async fn a_deep_root_gets_its_socket_elsewhere_and_it_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(100));
    std::fs::create_dir(&deep).unwrap();
    let job = JobFolder::in_private_folder(&deep);
    let changes = start(&job, &[]).await.unwrap();
    let Change::Set(_, socket) = &changes[0] else { unreachable!() };
    let socket = PathBuf::from(socket.as_str());
    assert!(socket.exists() && socket.as_os_str().len() <= LONGEST_SOCKET);
    stop(&job).unwrap();
    assert!(!socket.parent().unwrap().exists());
}

#[test]
fn the_pid_is_read_from_what_ssh_agent_prints() {
    assert_eq!(
        pid_of("SSH_AUTH_SOCK=/x; export SSH_AUTH_SOCK;\nSSH_AGENT_PID=42; export SSH_AGENT_PID;\n"),
        Some(42)
    );
    assert_eq!(pid_of("echo no"), None);
}
