//! Whatever is changed about a signed request, it is not believed any more.

use ::hmac::{Hmac, KeyInit, Mac};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer as _, SigningKey};
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;

const NOW: i64 = 1_800_000_000;
const KEY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const URL: &str = "https://hooks.example.com/v1/hooks/trg_1?a=b";

/// A request that owns what it says.
#[derive(Clone, Debug)]
struct Sent {
    options: Verify,
    method: String,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    key: String,
}

impl Sent {
    fn verify_at(&self, now: i64) -> Result<Verified, VerifyError> {
        let headers: HeaderMap = self
            .headers
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let request = Signed {
            method: &self.method,
            url: Some(&self.url),
            headers: &headers,
            body: &self.body,
        };
        let secret = Secret { secret: self.key.clone().into(), ..Secret::default() };
        let now = DateTime::from_timestamp(now, 0).unwrap();
        verify(&self.options, &request, now, &secret)
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    let mac = parts.iter().fold(mac, Mac::chain_update);
    mac.finalize().into_bytes().to_vec()
}

const SCHEMES: [Scheme; 9] = [
    Scheme::StandardWebhooks,
    Scheme::Hmac,
    Scheme::Bearer,
    Scheme::Basic,
    Scheme::Github,
    Scheme::Slack,
    Scheme::Stripe,
    Scheme::Hubspot,
    Scheme::HubspotV1,
];

/// A request as the scheme's provider sends it.
fn sent(scheme: Scheme, body: Vec<u8>) -> Sent {
    let time = NOW.to_string();
    let (t, b) = (time.as_bytes(), body.as_slice());
    let key = KEY.as_bytes();
    let mut options = Verify { scheme, ..Verify::default() };
    let mut stored = KEY.to_owned();
    let headers = match scheme {
        Scheme::StandardWebhooks => {
            let key = STANDARD.decode(KEY).unwrap();
            let signature = STANDARD.encode(mac(&key, &[b"msg_1.", t, b".", b]));
            vec![
                ("webhook-id", "msg_1".into()),
                ("webhook-timestamp", time),
                ("webhook-signature", format!("v1,{signature}")),
            ]
        }
        Scheme::Hmac => {
            options.header = Some("x-signature".into());
            options.timestamp_header = Some("x-time".into());
            let signature = hex::encode(mac(key, &[t, b".", b]));
            vec![("x-signature", signature), ("x-time", time)]
        }
        Scheme::Bearer => vec![("authorization", format!("Bearer {KEY}"))],
        Scheme::Basic => {
            stored = "pass".into();
            vec![("authorization", format!("Basic {}", STANDARD.encode("ann:pass")))]
        }
        Scheme::Github => {
            vec![("x-hub-signature-256", format!("sha256={}", hex::encode(mac(key, &[b]))))]
        }
        Scheme::Slack => {
            let signature = hex::encode(mac(key, &[b"v0:", t, b":", b]));
            vec![
                ("x-slack-signature", format!("v0={signature}")),
                ("x-slack-request-timestamp", time),
            ]
        }
        Scheme::Stripe => {
            let signature = hex::encode(mac(key, &[t, b".", b]));
            vec![("stripe-signature", format!("t={time},v1={signature}"))]
        }
        Scheme::Hubspot => {
            let millis = format!("{time}000");
            let signature = mac(key, &[b"POST", URL.as_bytes(), b, millis.as_bytes()]);
            vec![
                ("x-hubspot-signature-v3", STANDARD.encode(signature)),
                ("x-hubspot-request-timestamp", millis),
            ]
        }
        Scheme::HubspotV1 => {
            let hash = Sha256::new().chain_update(KEY).chain_update("POST").chain_update(URL);
            let hash = hash.chain_update(b).finalize();
            vec![
                ("x-hubspot-signature", hex::encode(hash)),
                ("x-hubspot-signature-version", "v2".into()),
            ]
        }
        Scheme::GoogleOidc | Scheme::None => Vec::new(),
    };
    let (method, url) = ("POST".into(), URL.into());
    Sent { options, method, url, headers, body, key: stored }
}

fn with_user(sent: &Sent, now: i64) -> Result<Verified, VerifyError> {
    if sent.options.scheme != Scheme::Basic {
        return sent.verify_at(now);
    }
    let headers: HeaderMap = sent
        .headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect();
    let request = Signed { method: "POST", url: None, headers: &headers, body: &sent.body };
    let secret =
        Secret { secret: sent.key.clone().into(), username: Some("ann".into()), previous: None };
    verify(&sent.options, &request, DateTime::from_timestamp(now, 0).unwrap(), &secret)
}

/// Whether the scheme signs the body at all: a shared token signs nothing.
fn signs(scheme: Scheme) -> bool {
    !matches!(scheme, Scheme::Bearer | Scheme::Basic)
}

fn timed(scheme: Scheme) -> bool {
    signs(scheme) && !matches!(scheme, Scheme::Github | Scheme::HubspotV1)
}

proptest! {
    #[test]
    fn what_is_signed_is_believed_and_one_changed_byte_is_not(
        scheme in prop::sample::select(&SCHEMES[..]),
        body in prop::collection::vec(any::<u8>(), 1..200),
        place in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let good = sent(scheme, body);
        prop_assert!(with_user(&good, NOW).is_ok());
        if signs(scheme) {
            let mut bad = good.clone();
            let at = place.index(bad.body.len());
            bad.body[at] ^= flip;
            prop_assert!(with_user(&bad, NOW).is_err());
            bad.body.clone_from(&good.body);
            bad.body.push(flip);
            prop_assert!(with_user(&bad, NOW).is_err());
        }
    }

    #[test]
    fn a_changed_header_is_not_believed(
        scheme in prop::sample::select(&SCHEMES[..]),
        which in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        letter in "[0-9a-zA-Z/=+,.]",
    ) {
        let mut bad = sent(scheme, b"{}".to_vec());
        let at = which.index(bad.headers.len());
        let value = &mut bad.headers[at].1;
        let byte = place.index(value.len());
        prop_assume!(!value[byte..=byte].eq_ignore_ascii_case(&letter));
        value.replace_range(byte..=byte, &letter);
        prop_assert!(with_user(&bad, NOW).is_err(), "{:?}", bad.headers);
    }

    #[test]
    fn a_missing_header_is_not_believed(
        scheme in prop::sample::select(&SCHEMES[..]),
        which in any::<prop::sample::Index>(),
    ) {
        let mut bad = sent(scheme, b"{}".to_vec());
        let at = which.index(bad.headers.len());
        bad.headers.remove(at);
        prop_assert_eq!(with_user(&bad, NOW).map(drop), Err(VerifyError::Missing));
    }

    #[test]
    fn another_key_is_not_believed(
        scheme in prop::sample::select(&SCHEMES[..]),
        place in 0..32_usize,
    ) {
        let mut bad = sent(scheme, b"{}".to_vec());
        let at = place % bad.key.len();
        let other = if &bad.key[at..=at] == "A" { "B" } else { "A" };
        bad.key.replace_range(at..=at, other);
        prop_assert_eq!(with_user(&bad, NOW).map(drop), Err(VerifyError::Mismatch));
        bad.key.clear();
        prop_assert_eq!(with_user(&bad, NOW).map(drop), Err(VerifyError::BadSecret));
    }

    #[test]
    fn what_was_sent_long_ago_is_not_believed_again(
        scheme in prop::sample::select(&SCHEMES[..]),
        apart in 301..100_000_i64,
        later in any::<bool>(),
    ) {
        let good = sent(scheme, b"{}".to_vec());
        let now = if later { NOW + apart } else { NOW - apart };
        let expected = if timed(scheme) { Err(VerifyError::Stale) } else { Ok(()) };
        prop_assert_eq!(with_user(&good, now).map(drop), expected);
    }

    #[test]
    fn another_method_or_address_is_not_believed(
        scheme in prop::sample::select(&[Scheme::Hubspot, Scheme::HubspotV1][..]),
        method in prop::sample::select(&["GET", "PUT", "post"][..]),
        url in prop::sample::select(&[
            "http://hooks.example.com/v1/hooks/trg_1?a=b",
            "https://hooks.example.com/v1/hooks/trg_1",
            "https://hooks.example.com/v1/hooks/trg_2?a=b",
            "https://evil.example.com/v1/hooks/trg_1?a=b",
        ][..]),
    ) {
        let good = sent(scheme, b"{}".to_vec());
        let moved = Sent { url: url.into(), ..good.clone() };
        let changed = Sent { method: method.into(), ..good };
        prop_assert_eq!(moved.verify_at(NOW).map(drop), Err(VerifyError::Mismatch));
        prop_assert_eq!(changed.verify_at(NOW).map(drop), Err(VerifyError::Mismatch));
    }

    #[test]
    fn no_header_breaks_a_verifier(
        scheme in prop::sample::select(Scheme::ALL),
        value in "[ -~]{0,120}",
        body in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bad = sent(if SCHEMES.contains(&scheme) { scheme } else { Scheme::Slack }, body);
        for (_, header) in &mut bad.headers {
            header.clone_from(&value);
        }
        let _ = with_user(&bad, NOW);
    }
}

#[test]
fn the_public_key_of_a_sender_is_enough_for_its_signatures() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let signed = format!("msg_1.{NOW}.{{}}");
    let signature = STANDARD.encode(key.sign(signed.as_bytes()).to_bytes());
    let mut good = sent(Scheme::StandardWebhooks, b"{}".to_vec());
    good.key = format!("whpk_{}", STANDARD.encode(key.verifying_key().as_bytes()));
    good.headers[2].1 = format!("v1,AAAA v1a,{signature}");
    let mut bad = good.clone();
    bad.body = b"[]".to_vec();

    assert!(good.verify_at(NOW).is_ok());
    assert_eq!(bad.verify_at(NOW), Err(VerifyError::Mismatch));
}
