//! Dependencies point one way: tests → lab, programs → aws, agent-api, lifecycle. Programs never depend on each
//! other, libraries never on programs, and only `aws` names the SDK.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

const LIBRARIES: [&str; 3] = ["agent-api", "aws", "lifecycle"];

/// Each member of the workspace with the names of its dependencies, tests' own included.
fn members() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let text = |value: &Value| value.as_str().expect("a name").to_owned();
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            (text(&package["name"]), dependencies.iter().map(|d| text(&d["name"])).collect())
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let members = members();
    let mut breaches = Vec::new();
    for (name, dependencies) in &members {
        for dependency in dependencies.iter().filter(|d| members.contains_key(*d)) {
            let allowed = match name.as_str() {
                "tests" | "safety" => true,
                "agent-api" | "aws" | "lifecycle" => false,
                _ => LIBRARIES.contains(&dependency.as_str()),
            };
            if !allowed {
                breaches.push(format!("{name} depends on {dependency}"));
            }
        }
    }
    assert!(members.len() >= 9, "the workspace has lost members: {:?}", members.keys());
    assert_eq!(breaches, Vec::<String>::new());
}

#[test]
fn only_aws_names_the_sdk() {
    let named: Vec<String> = members()
        .into_iter()
        .filter(|(name, _)| name != "aws")
        .flat_map(|(name, dependencies)| {
            dependencies
                .into_iter()
                .filter(|d| d.starts_with("aws-sdk-") || d == "aws-config" || d.starts_with("aws-smithy-"))
                .map(move |d| format!("{name} depends on {d}"))
        })
        .collect();
    assert_eq!(named, Vec::<String>::new());
}
