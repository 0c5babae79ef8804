//! What lies in the repository: no dump names, no paths or hosts of a developer's machine, files that fit a head.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files that git knows, or would add: the same in a clone and in a work tree.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|f| root().join(f).is_file())
        .map(str::to_owned)
        .collect()
}

#[test]
fn no_file_has_a_dump_name() {
    let dumps: Vec<String> = files()
        .into_iter()
        .filter(|file| {
            Path::new(file).components().any(|part| {
                let name = part.as_os_str().to_string_lossy();
                let stem = name.strip_suffix(".rs").unwrap_or(&name);
                matches!(stem, "util" | "utils" | "common" | "helper" | "helpers" | "misc" | "mod")
            })
        })
        .collect();
    assert_eq!(dumps, Vec::<String>::new(), "name a file for what it knows");
}

#[test]
fn no_source_file_is_longer_than_a_head_can_hold() {
    let long: Vec<String> = files()
        .into_iter()
        .filter(|file| file.ends_with(".rs"))
        .filter_map(|file| {
            let text = std::fs::read_to_string(root().join(&file)).ok()?;
            let lines = text.lines().count();
            (lines > 450).then(|| format!("{file}: {lines} lines"))
        })
        .collect();
    assert_eq!(long, Vec::<String>::new(), "a file past 400 lines asks to be split");
}

#[test]
fn every_program_and_document_that_the_readme_names_is_there() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let missing: Vec<&str> = readme
        .split(['(', ')'])
        .filter(|link| link.ends_with(".md") && !link.contains("://") && !link.contains(' '))
        .filter(|link| !root().join(link).is_file())
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}
