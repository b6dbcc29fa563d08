//! Who may deliver at all, and how often: checked before a body is read.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const MOST_NETWORKS: usize = 100;
const MOST: u32 = 1_000_000;
const LONGEST: u32 = 24 * 60 * 60;

/// So many in so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    /// How many: 1 to 1000000.
    pub limit: u32,
    /// In how many seconds: 1 to 86400; 1 unless said.
    #[serde(default = "one")]
    pub per_seconds: u32,
}

const fn one() -> u32 {
    1
}

impl Rate {
    /// Says what is wrong with it.
    pub(crate) fn problem(self) -> Option<(&'static str, &'static str)> {
        if !(1..=MOST).contains(&self.limit) {
            Some(("limit", "must be between 1 and 1000000"))
        } else if !(1..=LONGEST).contains(&self.per_seconds) {
            Some(("per_seconds", "must be between 1 and 86400"))
        } else {
            None
        }
    }
}

/// Reads a network, or an address as the network of itself.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from)).ok()
}

pub(super) fn check_networks(networks: &[String], refuse: &mut impl FnMut(&str, &str)) {
    if networks.len() > MOST_NETWORKS {
        refuse("allow_ips", "at most 100 networks");
    }
    for (place, text) in networks.iter().enumerate() {
        if network(text).is_none() {
            refuse(&format!("allow_ips/{place}"), "neither an address nor a network");
        }
    }
}
