//! Shell programs, run by a real bash.

use super::*;

fn base() -> Environment {
    [("PATH", "/usr/bin:/bin"), ("KEPT", "1"), ("GONE", "1"), ("HOME", "/home/ci")].into_iter().collect()
}

async fn changes_of(program: &str) -> Result<Vec<String>, Fault> {
    let changes = run(program.as_bytes(), &base()).await?;
    let shown = changes.iter().map(|change| match change {
        Change::Set(name, value) => format!("{name}={}", **value),
        Change::Unset(name) => format!("-{name}"),
    });
    Ok(shown.collect())
}

#[tokio::test]
async fn exactly_what_changed_is_taken_over() {
    let program = "if true; then A='x\ny'; fi\nKEPT=1\nunset GONE\ncd /\nf() { :; }\necho noise; echo noise >&2\n[ 1 = 2 ]\n";
    assert_eq!(changes_of(program).await.unwrap(), ["A=x\ny", "-GONE"]);
    assert_eq!(changes_of("").await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn programs_that_fail_are_told_without_their_words() {
    assert!(!changes_of("A=1\nif hunter2\n").await.unwrap_err().to_string().contains("hunter2"));
    assert!(matches!(changes_of("A=1\n)hunter2\n").await, Err(Fault::Syntax(line)) if line == "2"));
    assert!(matches!(changes_of("A=1\nexit 3\n").await, Err(Fault::Ended(code)) if code == "3"));
    assert!(matches!(changes_of("exit 0\n").await, Err(Fault::Ended(_))));
    assert!(matches!(changes_of("A=$'\\xff'\n").await, Err(Fault::Variable(name, _)) if name == "A"));
}

#[tokio::test]
async fn nothing_of_the_jobs_environment_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("ran");
    let hostile = folder.path().join("rc");
    std::fs::write(&hostile, format!("touch {}", marker.display())).unwrap();
    let mut environment = base();
    environment.set("BASH_ENV", &hostile.to_string_lossy());
    environment.set("BASH_FUNC_unset%%", "() { A=hijacked; }");
    let changes = run(b"unset GONE\n", &environment).await.unwrap();
    assert_eq!(changes, [Change::Unset("GONE".to_owned())]);
    assert!(!marker.exists());
}
