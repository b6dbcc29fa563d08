//! Which request headers are kept with a delivery and shown to filters: those that say what it is, never those that
//! prove who sent it.

use http::HeaderMap;
use serde_json::{Map, Value};

/// Kept whatever else.
const NAMES: &[&str] = &[
    "content-type",
    "user-agent",
    "webhook-id",
    "webhook-timestamp",
    "ce-id",
    "ce-source",
    "ce-type",
];
/// An `x-` header is kept when its name ends so.
const ENDINGS: &[&str] = &[
    "-event",
    "-event-type",
    "-topic",
    "-delivery",
    "-id",
    "-timestamp",
    "-time",
    "-action",
    "-type",
    "-domain",
    "-version",
];
/// No header with such a word is ever kept, whatever it ends with.
const SECRETIVE: &[&str] =
    &["auth", "cookie", "hmac", "key", "pass", "secret", "session", "sign", "token"];
const MOST: usize = 32;
const LONGEST: usize = 1024;

/// The headers to keep; `proof` is the one this source is verified by.
pub(crate) fn headers(all: &HeaderMap, proof: Option<&str>) -> Map<String, Value> {
    all.iter()
        .filter(|(name, _)| wanted(name.as_str(), proof))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .filter(|(_, value)| value.len() <= LONGEST)
        .take(MOST)
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}

fn wanted(name: &str, proof: Option<&str>) -> bool {
    let known = NAMES.contains(&name)
        || name.starts_with("x-") && ENDINGS.iter().any(|ending| name.ends_with(ending));
    known
        && !SECRETIVE.iter().any(|word| name.contains(word))
        && !proof.is_some_and(|proof| proof.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_proves_the_sender_is_not_kept() {
        let mut all = HeaderMap::new();
        for name in [
            "authorization",
            "cookie",
            "webhook-signature",
            "x-hub-signature-256",
            "x-api-key",
            "x-auth-type",
            "x-gitlab-token",
            "x-session-id",
            "x-proof-id",
            "x-forwarded-for",
            "content-type",
            "user-agent",
            "webhook-id",
            "x-github-event",
            "x-github-delivery",
            "x-shopify-topic",
        ] {
            all.insert(name, http::HeaderValue::from_static("v"));
        }

        let kept = headers(&all, Some("X-Proof-Id"));

        let names: Vec<&str> = kept.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "content-type",
                "user-agent",
                "webhook-id",
                "x-github-delivery",
                "x-github-event",
                "x-shopify-topic"
            ]
        );
    }

    proptest! {
        #[test]
        fn no_header_breaks_the_reader_and_no_proof_is_kept(
            pairs in prop::collection::vec(("(x-)?[a-z-]{1,12}(signature|token|-id|-event|key)?", prop::collection::vec(any::<u8>(), 0..20)), 0..50),
        ) {
            let mut all = HeaderMap::new();
            for (name, value) in pairs {
                let name = http::HeaderName::try_from(name);
                if let (Ok(name), Ok(value)) = (name, http::HeaderValue::from_bytes(&value)) {
                    all.append(name, value);
                }
            }
            let kept = headers(&all, Some("x-proof-id"));

            prop_assert!(kept.len() <= MOST && !kept.contains_key("x-proof-id"));
            for name in kept.keys() {
                prop_assert!(!SECRETIVE.iter().any(|word| name.contains(word)), "{}", name);
            }
        }
    }
}
