//! Amazon Resource Names, parsed once.

use std::fmt;
use std::str::FromStr;

/// `arn:partition:service:region:account:resource`; region and account may be empty (S3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Arn {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
    /// For example `kms`.
    pub service: String,
    /// Empty for global services.
    pub region: String,
    /// Twelve digits, or empty.
    pub account: String,
    /// Everything after the fifth colon.
    pub resource: String,
}

/// The text is no ARN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no ARN (arn:partition:service:region:account:resource)")]
pub struct NotAnArn(String);

impl FromStr for Arn {
    type Err = NotAnArn;

    fn from_str(text: &str) -> Result<Self, NotAnArn> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        match parts[..] {
            ["arn", partition, service, region, account, resource]
                if partition.starts_with("aws") && !service.is_empty() && !resource.is_empty() =>
            {
                Ok(Self {
                    partition: partition.to_owned(),
                    service: service.to_owned(),
                    region: region.to_owned(),
                    account: account.to_owned(),
                    resource: resource.to_owned(),
                })
            }
            _ => Err(NotAnArn(text.to_owned())),
        }
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, service, region, account, resource } = self;
        write!(f, "arn:{partition}:{service}:{region}:{account}:{resource}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_back() {
        for text in [
            "arn:aws:kms:us-east-1:123456789012:key/1234",
            "arn:aws-cn:s3:::bucket/key:with:colons",
            "arn:aws:secretsmanager:eu-west-1:1:secret:name-AbCdEf",
        ] {
            assert_eq!(text.parse::<Arn>().unwrap().to_string(), text);
        }
        assert_eq!("arn:aws-cn:s3:::b/k:x".parse::<Arn>().unwrap().resource, "b/k:x");
    }

    #[test]
    fn refuses_what_is_none() {
        for text in ["", "arn:aws:s3", "alias/mine", "arn:other:s3:::b", "arn:aws:::: "] {
            assert!(text.parse::<Arn>().is_err(), "{text}");
        }
    }
}
