//! Is a pull request from a fork? Two URLs name the same repository in many ways; only the same one counts as ours.

use crate::config::PullRequest;

/// Why a job gets no secrets, if its pull request is not certainly from the pipeline's own repository.
#[must_use]
pub fn foreign(pull_request: Option<&PullRequest>, own: Option<&str>) -> Option<String> {
    let pull_request = pull_request?;
    let number = &pull_request.number;
    let name =
        if number.is_empty() { "this job".to_owned() } else { format!("pull request {}", shown(number)) };
    let Some(from) = &pull_request.repository else {
        return Some(format!("the CI does not say which repository {name} comes from"));
    };
    let same = own.and_then(Repository::parse).zip(Repository::parse(from)).is_some_and(|(a, b)| a.is(&b));
    (!same).then(|| format!("{name} comes from another repository ({})", shown(&without_password(from))))
}

/// A repository's place, as far as URLs tell.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Repository {
    over: Over,
    host: String,
    port: Option<u16>,
    path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Ssh,
    Http,
    Git,
    File,
}

/// Hosts whose paths know no case.
const CASELESS: [&str; 3] = ["github.com", "gitlab.com", "bitbucket.org"];

impl Repository {
    /// Ports are compared within a protocol only: SSH and HTTPS of one host differ in them by nature.
    fn is(&self, other: &Self) -> bool {
        let local = self.over == Over::File || other.over == Over::File;
        self.host == other.host
            && self.path == other.path
            && (self.over == other.over && self.port == other.port || self.over != other.over && !local)
    }

    fn parse(url: &str) -> Option<Self> {
        let url = url.trim();
        if url.is_empty() || url.chars().any(char::is_control) {
            return None;
        }
        let Some((scheme, rest)) = url.split_once("://") else { return Self::without_scheme(url) };
        let (over, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "ssh" | "git+ssh" | "ssh+git" => (Over::Ssh, 22),
            "https" => (Over::Http, 443),
            "http" => (Over::Http, 80),
            "git" => (Over::Git, 9418),
            "file" => (Over::File, 0),
            _ => return None,
        };
        let (authority, path) = rest.split_once('/')?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
            _ => (host, None),
        };
        Self::new(over, host, port.filter(|p| *p != default_port), path)
    }

    /// `user@host:path`, or a path of this machine.
    fn without_scheme(url: &str) -> Option<Self> {
        match url.split_once(':') {
            Some((host, path)) if !host.contains('/') => {
                let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
                Self::new(Over::Ssh, host, None, path)
            }
            _ => Self::new(Over::File, "", None, url),
        }
    }

    fn new(over: Over, host: &str, port: Option<u16>, path: &str) -> Option<Self> {
        let mut host = host.to_ascii_lowercase();
        // GitHub's SSH on port 443.
        let port = if host == "ssh.github.com" {
            host = "github.com".to_owned();
            None
        } else {
            port
        };
        let path = path.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/');
        if path.is_empty() || (host.is_empty() && over != Over::File) {
            return None;
        }
        let caseless = CASELESS.contains(&host.as_str());
        let path = if caseless { path.to_ascii_lowercase() } else { path.to_owned() };
        Some(Self { over, host, port, path })
    }
}

/// Does git reach this URL over SSH?
#[must_use]
pub fn is_ssh(url: &str) -> bool {
    Repository::parse(url).is_some_and(|repository| repository.over == Over::Ssh)
}

fn without_password(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}/{path}")
        }
        None => url.to_owned(),
    }
}

fn shown(value: &str) -> String {
    crate::config::settings::visible(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(own: &str, from: Option<&str>) -> Option<String> {
        let pull_request = PullRequest { number: "7".to_owned(), repository: from.map(str::to_owned) };
        foreign(Some(&pull_request), Some(own))
    }

    #[test]
    fn forms_of_the_same_repository_are_no_fork() {
        let same = [
            ("git@github.com:acme/app.git", "https://github.com/acme/app"),
            ("git@github.com:acme/app.git", "git://github.com/Acme/App.git"),
            ("ssh://git@github.com/acme/app", "https://user:pw@GitHub.com:443/acme/app.git/"),
            ("ssh://git@ssh.github.com:443/acme/app", "git@github.com:acme/app"),
            ("ssh://git@git.example:2222/acme/app.git", "https://git.example/acme/app"),
            ("ssh://git@git.example:2222/acme/app.git", "ssh://ci@git.example:2222/acme/app"),
            ("/srv/git/app.git", "file:///srv/git/app"),
        ];
        for (own, from) in same {
            assert_eq!(verdict(own, Some(from)), None, "{own} {from}");
        }
        assert_eq!(foreign(None, Some("git@github.com:acme/app.git")), None, "no pull request");
    }

    #[test]
    fn anything_else_is() {
        let foreign = [
            ("git@github.com:acme/app.git", "https://github.com/mallory/app"),
            ("git@github.com:acme/app.git", "https://github.example/acme/app"),
            ("git@github.com:acme/app.git", "https://evil@github.com.evil/acme/app"),
            ("https://git.example/acme/app", "https://git.example/ACME/app"),
            ("https://git.example/acme/app", "https://git.example:8443/acme/app"),
            ("https://git.example/acme/app", "/acme/app"),
            ("git@github.com:acme/app.git", ""),
            ("git@github.com:acme/app.git", "ext::sh -c x"),
            ("", ""),
        ];
        for (own, from) in foreign {
            assert!(verdict(own, Some(from)).is_some(), "{own} {from}");
        }
        assert!(verdict("git@github.com:acme/app.git", None).is_some(), "unknown is not ours");
        let told = verdict("git@h:a/b", Some("https://u:hunter2@h/x/y\n")).unwrap();
        assert!(!told.contains("hunter2") && !told.contains('\n'), "{told}");
    }
}
