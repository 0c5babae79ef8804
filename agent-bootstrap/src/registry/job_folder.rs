//! A job's own Docker folder: what `DOCKER_CONFIG` and `REGISTRY_AUTH_FILE` point to.
//!
//! | file | for whom |
//! | --- | --- |
//! | `config.json` | Docker and what reads its configuration: all logins come from our helper (`credsStore`) |
//! | `auth.json` | skopeo, podman, buildah: they know no `credsStore`, so each known host names our helper |
//! | `bin/docker-credential-tidemark` | the helper's name, a link to this program |
//! | `tidemark.json` | our helper, when it is called without the job's environment |
//! | `logins.json` | our helper: `DOCKER_LOGIN_*` and what `docker login` stores |

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::private;
use super::server::Server;

/// The program name that clients look for, after `docker-credential-`.
const HELPER: &str = "tidemark";

/// The link's name: `cli.rs` takes it for the verb.
pub const HELPER_PROGRAM: &str = "docker-credential-tidemark";

/// A job's Docker folder that exists.
#[derive(Debug, Clone)]
pub struct JobFolder {
    path: PathBuf,
}

/// What the helper must know and cannot count on finding in its environment. No secrets.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Variables of the job that lead to AWS and to this instance's root.
    pub environment: BTreeMap<String, String>,
    /// ECR hosts that were known when the job began.
    pub known: Vec<String>,
}

impl JobFolder {
    /// Makes the folder and all its files anew.
    ///
    /// # Errors
    /// The path and what is wrong with it.
    pub fn make(path: &Path, plugin_folders: &[PathBuf], marker: &Marker) -> Result<Self, String> {
        let made = Self { path: path.to_owned() };
        let steps = || -> io::Result<()> {
            private::folder(path)?;
            private::folder(&made.bin())?;
            private::write(&path.join("config.json"), config(plugin_folders).to_string().as_bytes())?;
            private::write(&path.join("tidemark.json"), &serde_json::to_vec(marker)?)?;
            link(&std::env::current_exe()?, &made.bin().join(HELPER_PROGRAM))
        };
        steps().map_err(|fault| format!("the job's Docker folder {}: {fault}", path.display()))?;
        let known: Vec<Server> = marker.known.iter().filter_map(|name| Server::parse(name).ok()).collect();
        made.announce(&known)?;
        Ok(made)
    }

    /// The folder at `path`, if this program made it.
    #[must_use]
    pub fn at(path: &Path) -> Option<(Self, Marker)> {
        let content = fs::read(path.join("tidemark.json")).ok()?;
        let marker = serde_json::from_slice(&content).ok()?;
        Some((Self { path: path.to_owned() }, marker))
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the helper's link lies.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.path.join("bin")
    }

    /// The file for skopeo, podman and buildah.
    #[must_use]
    pub fn auth_file(&self) -> PathBuf {
        self.path.join("auth.json")
    }

    /// Tells clients that know no `credsStore` to ask our helper about `servers` too.
    ///
    /// # Errors
    /// The path and what is wrong with it.
    pub fn announce(&self, servers: &[Server]) -> Result<(), String> {
        let file = self.auth_file();
        let present = fs::read(&file).ok().and_then(|content| serde_json::from_slice(&content).ok());
        let content = announced(present, servers).to_string();
        private::write(&file, content.as_bytes()).map_err(|fault| format!("{}: {fault}", file.display()))
    }
}

/// Pure: the Docker client's configuration. Plugins are looked for in the private folder first, so the user's own
/// folders must be named.
fn config(plugin_folders: &[PathBuf]) -> Value {
    let mut config = json!({ "credsStore": HELPER });
    if !plugin_folders.is_empty() {
        config["cliPluginsExtraDirs"] = json!(plugin_folders);
    }
    config
}

/// Pure: `auth.json` with more hosts; what a client wrote there stays.
fn announced(present: Option<Value>, servers: &[Server]) -> Value {
    let mut auth = present.filter(Value::is_object).unwrap_or_else(|| json!({ "auths": {} }));
    if !auth["credHelpers"].is_object() {
        auth["credHelpers"] = json!({});
    }
    for server in servers {
        auth["credHelpers"][server.as_str()] = json!(HELPER);
    }
    auth
}

/// Where the user's CLI plugins are found without our folder: `~/.docker` (or the configuration folder set until
/// now), and what the `config.json` there adds.
#[must_use]
pub fn plugin_folders(docker_folder: &Path) -> Vec<PathBuf> {
    let mut folders = BTreeSet::from([docker_folder.join("cli-plugins")]);
    let config = fs::read(docker_folder.join("config.json")).ok();
    let config =
        config.and_then(|content| serde_json::from_slice::<Value>(&content).ok()).unwrap_or_default();
    let more = config["cliPluginsExtraDirs"].as_array().into_iter().flatten();
    folders.extend(more.filter_map(Value::as_str).map(PathBuf::from));
    folders.into_iter().filter(|folder| folder.is_dir()).collect()
}

fn link(program: &Path, name: &Path) -> io::Result<()> {
    match fs::remove_file(name) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(fault),
        _ => symlink(program, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn is_private_and_known_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jobs/1/docker");
        let marker = Marker { known: vec!["127.0.0.1:5000".into()], ..Marker::default() };
        let folder =
            JobFolder::make(&path, &[PathBuf::from("/home/me/.docker/cli-plugins")], &marker).unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("config.json"))), (0o700, 0o600));
        assert_eq!(
            fs::read_to_string(path.join("config.json")).unwrap(),
            r#"{"cliPluginsExtraDirs":["/home/me/.docker/cli-plugins"],"credsStore":"tidemark"}"#
        );
        assert_eq!(
            fs::read_to_string(folder.auth_file()).unwrap(),
            r#"{"auths":{},"credHelpers":{"127.0.0.1:5000":"tidemark"}}"#
        );
        assert_eq!(JobFolder::at(&path).unwrap().1, marker);
        assert!(JobFolder::at(dir.path()).is_none());
        assert!(folder.bin().join(HELPER_PROGRAM).exists());
        JobFolder::make(&path, &[], &marker).expect("making it twice is harmless");
    }

    #[test]
    fn announcing_keeps_what_a_client_wrote() {
        let present = json!({ "auths": { "quay.io": { "auth": "eA==" } }, "credHelpers": { "a": "other" } });
        let hub = Server::parse("docker.io").unwrap();
        assert_eq!(
            announced(Some(present), &[hub]),
            json!({
                "auths": { "quay.io": { "auth": "eA==" } },
                "credHelpers": { "a": "other", "docker.io": "tidemark" }
            })
        );
        assert_eq!(announced(Some(json!([])), &[]), json!({ "auths": {}, "credHelpers": {} }));
    }

    #[test]
    fn the_users_plugins_are_found() {
        let home = tempfile::tempdir().unwrap();
        assert!(plugin_folders(home.path()).is_empty());
        fs::create_dir(home.path().join("cli-plugins")).unwrap();
        let more = home.path().join("more");
        fs::create_dir(&more).unwrap();
        let config = json!({ "cliPluginsExtraDirs": [more, "/absent"] });
        fs::write(home.path().join("config.json"), config.to_string()).unwrap();
        assert_eq!(plugin_folders(home.path()), [home.path().join("cli-plugins"), more]);
    }
}
