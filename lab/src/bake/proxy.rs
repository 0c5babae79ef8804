//! apt's proxies of this machine, for as long as a bake lasts: they are no part of an image.

use anyhow::Result;
use tokio::process::Command;

use crate::engine::container::Container;

/// Proxies that are lent to a container, or that there are none.
pub(super) struct ProxyOfHere(bool);

impl ProxyOfHere {
    const FILE: &str = "/etc/apt/apt.conf.d/99-lab-proxy";

    /// Lends them.
    pub(super) async fn put(container: &Container) -> Result<Self> {
        let asked =
            Command::new("apt-config").args(["dump", "--format", "%f \"%v\";%n", "Acquire"]).output().await;
        // No Debian, no proxies of apt's.
        let dump =
            asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let proxies = proxies(&dump);
        if proxies.is_empty() {
            return Ok(Self(false));
        }
        let write = format!("cat > {} <<'END'\n{proxies}END\n", Self::FILE);
        container.succeed(&["sh", "-c", &write]).await?;
        Ok(Self(true))
    }

    /// Takes them back.
    pub(super) async fn remove(self, container: &Container) -> Result<()> {
        if self.0 {
            container.succeed(&["rm", Self::FILE]).await?;
        }
        Ok(())
    }
}

/// The lines of apt's configuration that name a proxy.
fn proxies(dump: &str) -> String {
    let named =
        dump.lines().filter(|line| line.split(' ').next().is_some_and(|name| name.contains("::Proxy")));
    named.filter(|line| !line.ends_with("\"\";")).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_proxies_are_taken_over() {
        let dump = "Acquire \"\";\nAcquire::http \"\";\nAcquire::http::Proxy \"http://127.0.0.1:3142\";\n\
                    Acquire::https::Proxy \"\";\nAcquire::Retries \"3\";\nAcquire::http::Proxy::mirror \"DIRECT\";\n";
        assert_eq!(
            proxies(dump),
            "Acquire::http::Proxy \"http://127.0.0.1:3142\";\nAcquire::http::Proxy::mirror \"DIRECT\";\n"
        );
    }
}
