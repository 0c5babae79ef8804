//! `lab status` and `lab logs`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use aws::CallError;

use crate::state::State;

/// The stack, its group, instances and latest activities, as the endpoint tells them.
pub(super) async fn status(state: &State) -> Result<String> {
    let variable = |name: &str| state.environment.get(name).cloned().unwrap_or_default();
    let secret = variable("AWS_SECRET_ACCESS_KEY").into();
    let (region, key) = (variable("AWS_REGION"), variable("AWS_ACCESS_KEY_ID"));
    let session = aws::Session::at(&state.endpoint, &region, &key, &secret, None).await;
    let client = session.autoscaling();
    let groups = client.describe_auto_scaling_groups().send().await;
    let groups =
        groups.map_err(|e| CallError::new(&e, "autoscaling:DescribeAutoScalingGroups", &state.group))?;
    let mut text = String::new();
    writeln!(text, "endpoint      {}", state.endpoint)?;
    writeln!(text, "build-server  {}", variable("BUILD_SERVER_URL"))?;
    for group in groups.auto_scaling_groups() {
        let name = group.auto_scaling_group_name().unwrap_or_default();
        let size = |n: Option<i32>| n.unwrap_or_default();
        writeln!(
            text,
            "group         {name}: desired {} of {} to {}",
            size(group.desired_capacity()),
            size(group.min_size()),
            size(group.max_size())
        )?;
        for instance in group.instances() {
            let protected = instance.protected_from_scale_in().unwrap_or(false);
            writeln!(
                text,
                "instance      {} {} {}{}",
                instance.instance_id().unwrap_or_default(),
                instance.lifecycle_state().map_or("", |s| s.as_str()),
                instance.health_status().unwrap_or_default(),
                if protected { " protected" } else { "" }
            )?;
        }
        let activities =
            client.describe_scaling_activities().auto_scaling_group_name(name).max_records(5).send().await;
        let activities =
            activities.map_err(|e| CallError::new(&e, "autoscaling:DescribeScalingActivities", name))?;
        for activity in activities.activities() {
            writeln!(text, "activity      {}", activity.cause().unwrap_or_default())?;
        }
    }
    Ok(text)
}

/// One log by its name, or the names of all.
pub(super) fn logs(folder: &Path, name: Option<&str>) -> Result<String> {
    let all = all_logs(folder);
    let Some(name) = name else {
        let mut names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        names.dedup();
        return Ok(names.iter().map(|n| format!("{n}\n")).collect());
    };
    let files: Vec<&PathBuf> = all.iter().filter(|(n, _)| n == name).map(|(_, file)| file).collect();
    if files.is_empty() {
        bail!("no log `{name}` in {}: `lab logs` lists them", folder.display());
    }
    let mut text = String::new();
    for file in &files {
        if files.len() > 1 {
            writeln!(text, "==> {} <==", file.strip_prefix(folder).unwrap_or(file).display())?;
        }
        let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    Ok(text)
}

/// Names and files of the logs that exist; an instance has several.
fn all_logs(folder: &Path) -> Vec<(String, PathBuf)> {
    let fixed = [("lab", "lab.log"), ("moto", "moto.log"), ("server", "build-server/build-server.log")];
    let mut found: Vec<(String, PathBuf)> =
        fixed.into_iter().map(|(name, file)| (name.to_owned(), folder.join(file))).collect();
    for function in entries(&folder.join("functions")) {
        found.push(("scaler".to_owned(), function.join("function.log")));
    }
    for instance in entries(&folder.join("instances")) {
        let id = instance.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.push((id.clone(), instance.join("console.log")));
        found.extend(entries(&instance.join("var/log/tidemark")).into_iter().map(|file| (id.clone(), file)));
    }
    found.retain(|(_, file)| file.is_file());
    found
}

/// A folder's entries by name; none where it is not there.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_found_by_name_and_an_instances_come_together() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let file = folder.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        write("moto.log", "moto\n");
        write("functions/f/function.log", "tick\n");
        write("instances/i-1/console.log", "boot\n");
        write("instances/i-1/var/log/tidemark/agent-1.log", "agent\n");
        assert_eq!(logs(folder.path(), None).unwrap(), "moto\nscaler\ni-1\n");
        assert_eq!(logs(folder.path(), Some("scaler")).unwrap(), "tick\n");
        let instance = logs(folder.path(), Some("i-1")).unwrap();
        assert!(
            instance.contains("==> instances/i-1/console.log <==\nboot\n") && instance.ends_with("agent\n")
        );
        assert!(logs(folder.path(), Some("i-2")).unwrap_err().to_string().contains("`lab logs` lists them"));
    }
}
