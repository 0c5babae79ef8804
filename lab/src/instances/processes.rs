//! Instances as processes: no Docker, no privileges. Everything of one instance lies in its folder, and everything
//! it runs descends from one supervisor, so that ending the instance leaves nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use futures::future::BoxFuture;
use jiff::Timestamp;

use super::address::Addresses;
use super::{InstanceOrder, Instances, LaunchFailed, Site};
use crate::children::{Child, Helper};
use crate::imds::{Imds, Notices, RoleSessions};

/// What init does on such an instance: ship logs, boot once, then watch for ever. Boot's failure stays visible in the console
/// and the instance stays up, as on EC2; watch comes back when it dies, as systemd would have it.
const INIT: &str = r#"
logs="$TIDEMARK_ROOT/var/log/tidemark"
(until agent-bootstrap logs; do
    echo "lab: logs failed; starting it again"
    sleep 1
done) >> "$logs/logs.log" 2>&1 &
agent-bootstrap boot
status=$?
if [ "$status" -ne 0 ]; then
    echo "lab: boot failed with exit status $status"
    exec sleep 2147483647
fi
echo "lab: boot done"
while :; do
    agent-bootstrap watch
    echo "lab: watch ended with exit status $?; starting it again"
    sleep 1
done >> "$logs/watch.log" 2>&1
"#;

/// Instances as processes of this machine.
pub struct ProcessInstances {
    site: Site,
    sessions: Arc<dyn RoleSessions>,
    addresses: Addresses,
    running: Mutex<BTreeMap<String, Running>>,
}

struct Running {
    metadata: Imds,
    /// None while it is stopped.
    init: Option<Child>,
}

impl ProcessInstances {
    /// None yet.
    #[must_use]
    pub fn new(site: Site, sessions: Arc<dyn RoleSessions>) -> Self {
        Self { site, sessions, addresses: Addresses::default(), running: Mutex::default() }
    }

    /// The folder of an instance: its root, with `console.log`. It stays when the instance has ended.
    #[must_use]
    pub fn folder(&self, id: &str) -> PathBuf {
        self.site.folder.join(id)
    }

    /// The ids of the instances that run.
    pub fn running(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// The URL of an instance's metadata service.
    pub fn metadata_url(&self, id: &str) -> Option<String> {
        self.lock().get(id).map(|r| r.metadata.url())
    }

    /// Changes what an instance's metadata service announces (spot notice, rebalance, maintenance). False when there
    /// is no such instance.
    pub fn notify(&self, id: &str, change: impl FnOnce(&mut Notices)) -> bool {
        let running = self.lock();
        let found = running.get(id);
        if let Some(instance) = found {
            instance.metadata.notify(change);
        }
        found.is_some()
    }

    /// Ends all instances.
    pub async fn terminate_all(&self) {
        let ids = self.running();
        futures::future::join_all(ids.iter().map(|id| self.terminate(id))).await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn bring_up(&self, order: InstanceOrder) -> anyhow::Result<()> {
        let root = self.folder(&order.id);
        for folder in ["tmp", "var/log/tidemark"] {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700);
            let path = root.join(folder);
            builder.create(&path).with_context(|| format!("make {}", path.display()))?;
        }
        let metadata =
            Imds::start(self.site.facts(&order, self.addresses.next()), Arc::clone(&self.sessions))
                .await
                .context("start of the metadata service")?;
        let init = self.init(&root, &metadata).start()?;
        self.lock().insert(order.id, Running { metadata, init: Some(init) });
        Ok(())
    }

    /// No credentials: everything on an instance runs under the role that the metadata service hands out.
    fn init(&self, root: &Path, metadata: &Imds) -> Helper {
        let mut path = self.site.programs.display().to_string();
        let _ = write!(path, ":{}", std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned()));
        let mut helper = Helper::new("/bin/sh", root, &root.join("console.log")).args(["-c", INIT]);
        helper.clean_environment = true;
        let own = [
            ("TIDEMARK_ROOT", root.display().to_string()),
            ("TIDEMARK_UNIT_MANAGER", "processes".to_owned()),
            ("AWS_ENDPOINT_URL", self.site.endpoint.clone()),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url()),
            ("AWS_REGION", self.site.region.clone()),
            ("PATH", path),
            ("HOME", root.display().to_string()),
            ("TMPDIR", root.join("tmp").display().to_string()),
            ("LANG", "C.UTF-8".to_owned()),
        ];
        let given = self.site.environment.iter().cloned();
        for (name, value) in own.into_iter().map(|(n, v)| (n.to_owned(), v)).chain(given) {
            helper = helper.env(name, value);
        }
        helper
    }
}

async fn halt(id: &str, init: Option<Child>) {
    let Some(init) = init else { return };
    if let Err(error) = init.stop().await {
        tracing::warn!(id, %error, "an instance did not end well");
    }
}

impl Instances for ProcessInstances {
    fn launch(&self, order: InstanceOrder) -> BoxFuture<'_, Result<(), LaunchFailed>> {
        Box::pin(async move {
            let id = order.id.clone();
            self.bring_up(order).await.map_err(|error| LaunchFailed { id, reason: format!("{error:#}") })
        })
    }

    fn terminate<'a>(&'a self, id: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let found = self.lock().remove(id);
            let Some(Running { metadata, init }) = found else { return };
            halt(id, init).await;
            // Only now: what ends may still ask for credentials.
            drop(metadata);
        })
    }

    fn stop<'a>(&'a self, id: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let init = self.lock().get_mut(id).and_then(|running| running.init.take());
            halt(id, init).await;
        })
    }

    fn start<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), LaunchFailed>> {
        Box::pin(async move {
            let mut all = self.lock();
            let Some(running) = all.get_mut(id).filter(|running| running.init.is_none()) else {
                return Ok(());
            };
            let failed = |reason: String| LaunchFailed { id: id.to_owned(), reason };
            let root = self.folder(id);
            // A machine's /run does not outlive its stop.
            match std::fs::remove_dir_all(root.join("run")) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed(error.to_string()));
                }
                _ => {}
            }
            running.metadata.notify(|notices| notices.restarted = Some(Timestamp::now()));
            let init = self.init(&root, &running.metadata).start().map_err(|e| failed(format!("{e:#}")))?;
            running.init = Some(init);
            Ok(())
        })
    }

    fn tell_target_state(&self, id: &str, state: &'static str) {
        self.notify(id, |n| n.target_state = Some(state));
    }
}
