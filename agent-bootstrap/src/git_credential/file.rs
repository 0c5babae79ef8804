//! Lines of a git-credentials file: `https://user:password@host:port/path`, parts percent-encoded.

use zeroize::Zeroizing;

/// One usable line.
pub struct Entry {
    /// `https` or another, in lower case.
    pub protocol: String,
    /// In lower case.
    pub host: String,
    /// Only where it is not the protocol's own.
    pub port: Option<u16>,
    /// Without slashes at its ends; empty where the line names none.
    pub path: String,
    /// Decoded.
    pub username: String,
    /// Decoded.
    pub password: Zeroizing<String>,
}

impl Entry {
    /// What git reads.
    #[must_use]
    pub fn answer(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("username={}\npassword={}\n", self.username, self.password.as_str()))
    }
}

/// All usable lines in order, and the number of those that are not. Empty lines and comments are neither.
#[must_use]
pub fn parse(text: &str) -> (Vec<Entry>, usize) {
    let mut garbage = 0;
    let mut entries = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match entry(line) {
            Some(entry) => entries.push(entry),
            None => garbage += 1,
        }
    }
    (entries, garbage)
}

/// The passwords of a file, decoded and as written, for the redactor.
#[must_use]
pub fn passwords(text: &str) -> Vec<Zeroizing<String>> {
    let decoded = parse(text).0.into_iter().map(|entry| entry.password);
    let written = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("://")?;
        let (login, _) = rest.split_once('@')?;
        login.split_once(':').map(|(_, password)| Zeroizing::new(password.to_owned()))
    });
    decoded.chain(written).collect()
}

/// Does any line speak of one repository only?
#[must_use]
pub fn names_paths(text: &str) -> bool {
    parse(text).0.iter().any(|entry| !entry.path.is_empty())
}

fn entry(line: &str) -> Option<Entry> {
    let (protocol, rest) = line.split_once("://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, place) = authority.rsplit_once('@')?;
    let (username, password) = login.split_once(':')?;
    let protocol = protocol.to_ascii_lowercase();
    let (host, port) = host_and_port(&protocol, place)?;
    let (username, password) = (decode(username)?, Zeroizing::new(decode(password)?));
    let path = normal_path(&decode(path)?);
    let whole = !protocol.is_empty() && !host.is_empty() && !password.is_empty();
    whole.then_some(Entry { protocol, host, port, path, username, password })
}

/// `host`, `host:port` or `[v6]:port`; a protocol's own port is left out.
#[must_use]
pub fn host_and_port(protocol: &str, place: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse::<u16>().ok()?)),
        _ => (place, None),
    };
    let own = match protocol {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    };
    Some((host.to_ascii_lowercase(), port.filter(|p| Some(*p) != own)))
}

/// Without slashes at its ends and without `.git`.
#[must_use]
pub fn normal_path(path: &str) -> String {
    let path = path.trim_matches('/');
    path.strip_suffix(".git").unwrap_or(path).to_owned()
}

/// Percent-decoding. What would break git's line protocol (line ends, NUL) or is not UTF-8 is no text.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|hex| *first == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let decoded =
            hex.and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    let text = String::from_utf8(bytes).ok()?;
    (!text.contains(['\n', '\r', '\0'])).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usable_lines_are_read_and_the_others_counted() {
        let text = "# mine\nhttps://alice:p%40ss%3A%2F@GitHub.com\n\n\
                    http://bob:x@git.example:8080/team/app.git\r\n\
                    rubbish\nhttps://nobody@host\nhttps://u:a%0Ab@host\nhttps://:t0ken@last.example:443/";
        let (entries, garbage) = parse(text);
        assert_eq!(garbage, 3);
        let shown: Vec<String> = entries
            .iter()
            .map(|e| {
                format!("{} {} {:?} {} {} {}", e.protocol, e.host, e.port, e.path, e.username, *e.password)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "https github.com None  alice p@ss:/",
                "http git.example Some(8080) team/app bob x",
                "https last.example None   t0ken",
            ]
        );
        assert!(names_paths(text));
    }

    #[test]
    fn passwords_are_told_in_both_forms() {
        let told: Vec<String> = passwords("https://a:p%40ss@h\n").iter().map(|p| p.to_string()).collect();
        assert_eq!(told, ["p@ss", "p%40ss"]);
    }

    #[test]
    fn stray_percent_signs_stay() {
        assert_eq!(decode("50%").as_deref(), Some("50%"));
        assert_eq!(decode("%zz%+1").as_deref(), Some("%zz%+1"));
        assert_eq!(decode("%ff"), None);
    }
}
