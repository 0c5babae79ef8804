//! Loopback addresses: each instance has one of its own in 127.0.0.0/8, as it would have in a subnet.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Hands out addresses from 127.1.0.1 on, never the same twice.
#[derive(Debug, Default)]
pub struct Addresses {
    given: AtomicU32,
}

impl Addresses {
    /// The next address. It starts anew after 60,000 instances.
    pub fn next(&self) -> Ipv4Addr {
        nth(self.given.fetch_add(1, Ordering::Relaxed))
    }
}

/// Pure: last byte 1 to 254, third byte 0 to 239.
fn nth(number: u32) -> Ipv4Addr {
    let number = number % (254 * 240);
    let (third, last) = (number / 254, number % 254 + 1);
    // Both are beneath 256 by the lines above.
    Ipv4Addr::new(127, 1, u8::try_from(third).unwrap_or(0), u8::try_from(last).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_and_stay_on_loopback() {
        let all: std::collections::BTreeSet<Ipv4Addr> = (0..254 * 240).map(nth).collect();
        assert_eq!(all.len(), 254 * 240);
        assert!(all.iter().all(|a| a.is_loopback() && a.octets()[3] != 0 && a.octets()[3] != 255));
    }
}
