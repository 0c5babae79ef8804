//! What git asks: `key=value` lines up to an empty one.

use super::file::{Entry, host_and_port, normal_path};

/// Git's question, as far as it chooses an entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request {
    protocol: String,
    host: String,
    port: Option<u16>,
    path: Option<String>,
    username: Option<String>,
}

impl Request {
    /// Reads a question; lines that say nothing here are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut request = Self::default();
        let mut place = "";
        for line in text.lines().take_while(|line| !line.is_empty()) {
            match line.split_once('=') {
                Some(("protocol", value)) => request.protocol = value.to_ascii_lowercase(),
                Some(("host", value)) => place = value,
                Some(("path", value)) => request.path = Some(normal_path(value)),
                Some(("username", value)) => request.username = Some(value.to_owned()),
                _ => {}
            }
        }
        if let Some((host, port)) = host_and_port(&request.protocol, place) {
            (request.host, request.port) = (host, port);
        }
        request
    }

    /// The entry that fits best: the longest path wins, then the earlier line.
    #[must_use]
    pub fn best_of(&self, entries: Vec<Entry>) -> Option<Entry> {
        let mut best: Option<Entry> = None;
        for entry in entries.into_iter().filter(|entry| self.fits(entry)) {
            if best.as_ref().is_none_or(|b| entry.path.len() > b.path.len()) {
                best = Some(entry);
            }
        }
        best
    }

    fn fits(&self, entry: &Entry) -> bool {
        let same_place =
            entry.protocol == self.protocol && entry.host == self.host && entry.port == self.port;
        let same_user = self.username.as_ref().is_none_or(|name| *name == entry.username);
        !self.host.is_empty() && same_place && same_user && self.is_below(&entry.path)
    }

    /// An entry without a path is for the whole host; with one, for it and what lies below it. A question without a
    /// path comes from a git that was told not to name it, so it cannot be held against an entry.
    fn is_below(&self, folder: &str) -> bool {
        let Some(path) = &self.path else { return true };
        folder.is_empty()
            || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    const FILE: &str = "https://whole:1@git.example\n\
                        https://team:2@git.example/team\n\
                        https://app:3@git.example/team/app.git\n\
                        https://other:4@git.example:8443\n\
                        http://plain:5@git.example\n\
                        https://second:6@git.example";

    fn user(question: &str) -> Option<String> {
        Request::parse(question).best_of(file::parse(FILE).0).map(|entry| entry.username)
    }

    #[test]
    fn protocol_host_port_path_and_name_choose() {
        let cases = [
            ("protocol=https\nhost=git.example\npath=x/y.git\n", Some("whole")),
            ("protocol=https\nhost=GIT.example:443\npath=team/lib\n", Some("team")),
            ("protocol=https\nhost=git.example\npath=team/app.git\n", Some("app")),
            ("protocol=https\nhost=git.example\npath=team/app\n", Some("app")),
            ("protocol=https\nhost=git.example\npath=team/apple\n", Some("team")),
            ("protocol=https\nhost=git.example\npath=teammate/x\n", Some("whole")),
            ("protocol=https\nhost=git.example:8443\n", Some("other")),
            ("protocol=http\nhost=git.example\n", Some("plain")),
            ("protocol=https\nhost=git.example\npath=x\nusername=second\n", Some("second")),
            ("protocol=https\nhost=git.example\nusername=nobody\n", None),
            ("protocol=https\nhost=git.example.evil\n", None),
            ("protocol=https\nhost=git.example:9\n", None),
            ("protocol=ssh\nhost=git.example\n", None),
            ("protocol=https\n", None),
            ("", None),
            ("protocol=http\n\nhost=git.example\n", None),
        ];
        for (question, expected) in cases {
            assert_eq!(user(question).as_deref(), expected, "{question:?}");
        }
    }
}
