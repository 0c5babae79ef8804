//! Registry names as Docker and other clients say them, and which of them are ECR. Pure.
//!
//! Whether a password leaves this program is decided here, so names are taken apart strictly: a host that merely
//! contains or begins with an ECR name is not ECR.

use std::fmt;

/// The name under which Docker keeps the login of Docker Hub.
pub const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A registry's `host[:port]`, lower case, without scheme and path; all names of Docker Hub are `docker.io`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Server(String);

/// What was given is no registry's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no registry: give host, host:port or https://host[:port]/")]
pub struct NotAServer(String);

impl Server {
    /// Takes `host`, `host:port`, and URLs of either with `http` or `https`.
    ///
    /// # Errors
    /// [`NotAServer`] for anything else, names with a user part or control characters among them.
    pub fn parse(text: &str) -> Result<Self, NotAServer> {
        let refused = || NotAServer(text.chars().filter(|c| !c.is_control()).take(120).collect());
        let text = text.trim();
        let rest = match text.split_once("://") {
            Some(("http" | "https", rest)) => rest,
            Some(_) => return Err(refused()),
            None => text,
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
        let (host, port) = split_port(&authority).ok_or_else(refused)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let valid = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(allowed) && !host.starts_with(['.', '-']),
        };
        if !valid || port.is_some_and(|p| p.parse::<u16>().is_err()) {
            return Err(refused());
        }
        Ok(match host {
            "docker.io" | "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => {
                Self("docker.io".to_owned())
            }
            _ => Self(authority),
        })
    }

    /// `host[:port]`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name under which Docker stores and asks for this registry.
    #[must_use]
    pub fn docker_name(&self) -> &str {
        if self.is_docker_hub() { DOCKER_HUB } else { &self.0 }
    }

    /// Is this Docker Hub?
    #[must_use]
    pub fn is_docker_hub(&self) -> bool {
        self.0 == "docker.io"
    }

    /// A host on this machine: clients speak plain HTTP with these, and nobody else can listen there.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let Some((host, _)) = split_port(&self.0) else { return false };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Host and port of an authority; `None` when there is more than one colon outside brackets.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(end) = authority.find(']') {
        let (host, rest) = authority.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

/// An AWS account: twelve digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(String);

impl Account {
    /// Twelve digits, or `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())).then(|| Self(text.to_owned()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An ECR registry behind a host name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ecr {
    /// An account's registry in one region.
    Private {
        /// The account that owns the images.
        account: Account,
        /// The region that the host's name holds.
        region: String,
    },
    /// `public.ecr.aws`: tokens come from us-east-1, and pulling works without one too.
    Public,
}

impl Ecr {
    /// Which ECR registry this host is: `<account>.dkr.ecr[-fips].<region>.amazonaws.com[.cn]`, dual-stack
    /// `<account>.dkr-ecr[-fips].<region>.on.aws` (`.on.amazonwebservices.com.cn` in China), or `public.ecr.aws`.
    #[must_use]
    pub fn at(server: &Server) -> Option<Self> {
        let host = server.as_str().strip_suffix(":443").unwrap_or(server.as_str());
        if host == "public.ecr.aws" || host == "ecr-public.aws.com" {
            return Some(Self::Public);
        }
        let labels: Vec<&str> = host.split('.').collect();
        let (account, region, china) = match labels[..] {
            [account, "dkr", "ecr" | "ecr-fips", region, "amazonaws", "com"] => (account, region, false),
            [account, "dkr", "ecr" | "ecr-fips", region, "amazonaws", "com", "cn"] => (account, region, true),
            [account, "dkr-ecr" | "dkr-ecr-fips", region, "on", "aws"] => (account, region, false),
            [account, "dkr-ecr", region, "on", "amazonwebservices", "com", "cn"] => (account, region, true),
            _ => return None,
        };
        // A Chinese region is never below the other partition's suffix, nor the reverse.
        if !is_region(region) || region.starts_with("cn-") != china {
            return None;
        }
        Some(Self::Private { account: Account::parse(account)?, region: region.to_owned() })
    }

    /// The standard host of an account's registry.
    #[must_use]
    pub fn host(account: &Account, region: &str) -> String {
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        format!("{}.dkr.ecr.{region}.{suffix}", account.as_str())
    }
}

/// `eu-west-1`, `us-gov-east-1`: letters, then at least two more parts, a number at the end.
#[must_use]
pub fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let Some((number, words)) = parts.split_last() else { return false };
    words.len() >= 2
        && words.iter().all(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase()))
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_one_registry_are_one() {
        for (text, expected) in [
            ("reg.example.com", "reg.example.com"),
            ("https://Reg.Example.com/v2/", "reg.example.com"),
            ("http://127.0.0.1:5000", "127.0.0.1:5000"),
            ("[::1]:5000", "[::1]:5000"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io\n", "docker.io"),
        ] {
            assert_eq!(Server::parse(text).unwrap().as_str(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_registry_is_refused() {
        let many = [
            "",
            "https://",
            "user@host",
            "https://a:b@host/",
            "ftp://host",
            "a b",
            "host:port",
            "a:1:2",
            "[x]:1",
        ];
        for text in many.into_iter().chain(["host:99999", "-x", "ho\u{0}st", "[::1]x"]) {
            assert!(Server::parse(text).is_err(), "{text:?}");
        }
    }

    fn ecr(host: &str) -> Option<Ecr> {
        Ecr::at(&Server::parse(host).unwrap())
    }

    #[test]
    fn ecr_hosts_name_account_and_region() {
        for (host, region) in [
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "eu-west-1"),
            ("https://123456789012.dkr.ecr.us-gov-west-1.amazonaws.com/v2/", "us-gov-west-1"),
            ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "us-east-1"),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("123456789012.dkr-ecr.ap-southeast-2.on.aws", "ap-southeast-2"),
            ("123456789012.dkr-ecr-fips.us-west-2.on.aws", "us-west-2"),
            ("123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "cn-north-1"),
        ] {
            let account = Account::parse("123456789012").unwrap();
            assert_eq!(ecr(host), Some(Ecr::Private { account, region: region.to_owned() }), "{host}");
        }
        assert_eq!(ecr("public.ecr.aws"), Some(Ecr::Public));
    }

    #[test]
    fn lookalikes_are_not_ecr() {
        for host in [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.com",
            "evil.123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.cn",
            "123456789012.dkr.ecr.eu_west_1.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com:8443",
            "public.ecr.aws.evil.com",
            "xpublic.ecr.aws",
            "docker.io",
        ] {
            assert_eq!(ecr(host), None, "{host}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_parsing_is_stable(text in ".{0,60}") {
            if let Ok(server) = Server::parse(&text) {
                prop_assert_eq!(Server::parse(server.docker_name()).unwrap(), server);
            }
        }
    }
}
