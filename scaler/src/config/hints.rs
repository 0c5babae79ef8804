//! Settings of push hints.

use std::net::SocketAddr;

use aws::StoredToken;

use super::Reader;
use crate::hint::secret::SecretSource;

/// How hints come in.
#[derive(Debug, Clone)]
pub struct HintSettings {
    /// What they are signed with.
    pub secret: SecretSource,
    /// Where the daemon listens for them.
    pub address: Option<SocketAddr>,
}

impl Reader<'_> {
    /// None without a secret: then no hint is believed.
    pub(super) fn hints(&mut self) -> Option<HintSettings> {
        let form = "an address and port, such as 127.0.0.1:8080";
        let address = self.parsed("HINT_ADDRESS", form, |text| text.parse().ok());
        let given = self.text("HINT_SECRET").map(|secret| SecretSource::Given(secret.into()));
        let stored = self.text("HINT_SECRET_ARN").map(StoredToken::SecretsManager).map(SecretSource::Stored);
        if given.is_some() && stored.is_some() {
            self.faults.push("HINT_SECRET and HINT_SECRET_ARN are set: give one".to_owned());
        }
        let secret = given.or(stored);
        if secret.is_none() && self.text("HINT_ADDRESS").is_some() {
            self.faults.push(
                "HINT_ADDRESS is set without a secret: give the CI's webhook secret as HINT_SECRET, or HINT_SECRET_ARN"
                    .to_owned(),
            );
        }
        Some(HintSettings { secret: secret?, address })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Faults};

    fn read(pairs: &[(&str, &str)]) -> Result<Config, Faults> {
        let all =
            [&[("ASG_NAME", "g"), ("BUILDKITE_AGENT_TOKEN", "t"), ("BUILDKITE_QUEUE", "q")], pairs].concat();
        Config::read(&|name| all.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()), None)
    }

    #[test]
    fn hints_need_a_secret() {
        assert!(read(&[]).unwrap().hints.is_none());
        let hints = read(&[("HINT_SECRET", "s3cret")]).unwrap().hints.unwrap();
        assert!(hints.address.is_none() && !format!("{hints:?}").contains("s3cret"));
        let both = [("HINT_SECRET_ARN", "arn:x"), ("HINT_ADDRESS", "127.0.0.1:8080")];
        let hints = read(&both).unwrap().hints.unwrap();
        assert_eq!(hints.address, Some("127.0.0.1:8080".parse().unwrap()));
        let faults = |pairs| read(pairs).unwrap_err().to_string();
        assert!(
            faults(&[("HINT_ADDRESS", "127.0.0.1:8080")]).contains("HINT_ADDRESS is set without a secret")
        );
        assert_eq!(
            faults(&[("HINT_ADDRESS", "8080"), ("HINT_SECRET", "a"), ("HINT_SECRET_ARN", "b")]),
            "HINT_ADDRESS is `8080`: give an address and port, such as 127.0.0.1:8080\n\
             HINT_SECRET and HINT_SECRET_ARN are set: give one"
        );
    }
}
