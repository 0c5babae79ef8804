//! Before a checkout: what containers of earlier jobs left in the build folder is given back to the agents' user.

use std::path::{Component, Path};
use std::process::Stdio;
use std::time::Duration;

use crate::layout::Layout;

/// A checkout of a million files takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks root, by the image's sudo rule. A refusal is told and does not end the job: the checkout itself may do well.
pub async fn give_back(layout: &Layout, checkout: Option<&str>) {
    // The rule is an instance's; process instances have neither rule nor Docker.
    if layout.root() != Path::new("/") {
        return;
    }
    let Some(checkout) = checkout.map(Path::new).filter(|path| path.is_dir()) else { return };
    let Some(names) = names(&layout.builds(), checkout) else { return };
    let mut sudo = tokio::process::Command::new("sudo");
    sudo.args(["-n", "/usr/local/bin/agent-bootstrap", "fix-permissions"]).args(names);
    sudo.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, sudo.status()).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => {
            eprintln!("build folder: fix-permissions: {status}; a checkout may fail on files of root")
        }
        Ok(Err(error)) => eprintln!("build folder: sudo: {error}; a checkout may fail on files of root"),
        Err(_) => eprintln!("build folder: fix-permissions takes longer than {PATIENCE:?}"),
    }
}

/// Agent, organization and pipeline of a checkout in its usual place.
fn names(builds: &Path, checkout: &Path) -> Option<[String; 3]> {
    let below = checkout.strip_prefix(builds).ok()?.components();
    let names = below.map(|part| match part {
        Component::Normal(name) => name.to_str().map(str::to_owned),
        _ => None,
    });
    names.collect::<Option<Vec<String>>>()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_checkouts_in_their_usual_place_have_names() {
        let of = |path: &str| names(Path::new("/var/builds"), Path::new(path));
        let expected = ["agent-1", "acme", "app"].map(str::to_owned);
        assert_eq!(of("/var/builds/agent-1/acme/app"), Some(expected.clone()));
        assert_eq!(of("/var/builds/agent-1/acme/app/"), Some(expected));
        for other in
            ["/var/builds", "/var/builds/a/b", "/var/builds/a/b/c/d", "/etc/a/b/c", "/var/builds/a/../c"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
