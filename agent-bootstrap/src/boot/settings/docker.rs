//! What Docker's daemon is told.

use super::reader::Reader;

/// What goes into `daemon.json`. What is not said here stays as it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerSettings {
    /// Containers' root is the agents' user outside of them.
    pub userns_remap: Option<bool>,
    /// Where networks get their addresses.
    pub address_pools: Vec<AddressPool>,
    /// Where images and containers lie.
    pub data_root: Option<String>,
    /// Docker's experimental features.
    pub experimental: Option<bool>,
}

/// A range of addresses, cut into networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPool {
    /// For example `172.30.0.0/16`.
    pub base: String,
    /// Bits of each network, for example 24.
    pub size: u8,
}

impl DockerSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let pools = reader.texts("docker-address-pools");
        let address_pools: Option<Vec<AddressPool>> = pools.iter().map(|text| pool(text)).collect();
        if address_pools.is_none() {
            reader.fault("docker-address-pools", "holds what is no pool such as 172.30.0.0/16:24");
        }
        Self {
            userns_remap: reader.flag("docker-userns-remap"),
            address_pools: address_pools.unwrap_or_default(),
            data_root: reader.absolute_path("docker-data-root"),
            experimental: reader.flag("docker-experimental"),
        }
    }

    /// Is Docker to be told anything?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn pool(text: &str) -> Option<AddressPool> {
    let (base, size) = text.rsplit_once(':')?;
    let (address, bits) = base.split_once('/')?;
    let most = match address.parse::<std::net::IpAddr>().ok()? {
        std::net::IpAddr::V4(_) => 32,
        std::net::IpAddr::V6(_) => 128,
    };
    let (bits, size): (u8, u8) = (bits.parse().ok()?, size.parse().ok()?);
    (bits <= size && size <= most).then(|| AddressPool { base: base.to_owned(), size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_a_base_and_a_size_that_fits() {
        for (text, expected) in [
            ("172.30.0.0/16:24", Some(("172.30.0.0/16", 24))),
            ("fd00:1::/48:64", Some(("fd00:1::/48", 64))),
            ("172.30.0.0/16:8", None),
            ("172.30.0.0/16:33", None),
            ("172.30.0.0:24", None),
            ("here/16:24", None),
            ("", None),
        ] {
            let seen = pool(text);
            assert_eq!(seen.as_ref().map(|p| (p.base.as_str(), p.size)), expected, "{text}");
        }
    }
}
