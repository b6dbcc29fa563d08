//! Google's tokens against everything that one could be changed into.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use jsonwebtoken::jwk::JwkSet;
use proptest::prelude::*;
use serde_json::{Value, json};
use testkit::{google_keys, push_token};

use super::*;

const NOW: i64 = 1_790_000_000;
const AUDIENCE: &str = "https://hooks.example.com/v1/hooks/gmail";
const ACCOUNT: &str = "push@project.iam.gserviceaccount.com";

static KEYS: LazyLock<JwkSet> = LazyLock::new(|| serde_json::from_value(google_keys()).unwrap());
static GOOD: LazyLock<String> = LazyLock::new(|| token(&json!({})));

fn token(claims: &Value) -> String {
    push_token(AUDIENCE, ACCOUNT, NOW, claims)
}

fn verify_at(authorization: &str, now: i64) -> Result<(), VerifyError> {
    let options = Verify {
        scheme: Scheme::GoogleOidc,
        audience: Some(AUDIENCE.into()),
        service_account: Some(ACCOUNT.into()),
        ..Verify::default()
    };
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(authorization).unwrap());
    let now = DateTime::from_timestamp(now, 0).unwrap();
    google::verify(&options, &headers, now, &KEYS).map(drop)
}

fn bearer(token: &str) -> Result<(), VerifyError> {
    verify_at(&format!("Bearer {token}"), NOW)
}

#[test]
fn a_token_of_googles_for_us_is_believed_and_nothing_is_not() {
    let old_issuer = token(&json!({ "iss": "accounts.google.com" }));

    assert_eq!(bearer(&GOOD), Ok(()));
    assert_eq!(bearer(&old_issuer), Ok(()));
    let nothing = google::verify(
        &Verify::default(),
        &HeaderMap::new(),
        DateTime::from_timestamp(NOW, 0).unwrap(),
        &KEYS,
    );
    assert_eq!(nothing.map(drop), Err(VerifyError::Missing));
}

#[test]
fn a_token_that_says_itself_how_it_is_signed_is_not_believed() {
    let claims = GOOD.split('.').nth(1).unwrap();
    for (header, signature) in [
        (json!({ "alg": "none", "typ": "JWT", "kid": "test-key" }), ""),
        (json!({ "alg": "HS256", "typ": "JWT", "kid": "test-key" }), "AAAA"),
        (json!({ "alg": "RS384", "typ": "JWT", "kid": "test-key" }), "AAAA"),
        (json!({ "alg": "RS256", "typ": "JWT" }), "AAAA"),
    ] {
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        assert_eq!(bearer(&format!("{header}.{claims}.{signature}")), Err(VerifyError::Malformed));
    }
    let unknown = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT","kid":"another"}"#);
    let (_, rest) = GOOD.split_once('.').unwrap();
    assert_eq!(bearer(&format!("{unknown}.{rest}")), Err(VerifyError::Mismatch));
}

proptest! {
    #[test]
    fn one_changed_letter_of_a_token_is_noticed(
        place in any::<prop::sample::Index>(),
        letter in "[0-9a-zA-Z_.=-]",
    ) {
        let mut bad = GOOD.clone();
        let at = place.index(bad.len());
        prop_assume!(bad[at..=at] != letter);
        bad.replace_range(at..=at, &letter);
        prop_assert!(bearer(&bad).is_err(), "{bad}");
    }

    #[test]
    fn a_part_of_a_token_is_not_enough(from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let (from, to) = (from.index(GOOD.len()), to.index(GOOD.len()));
        let part = &GOOD[from.min(to)..from.max(to)];
        prop_assert!(bearer(part).is_err(), "{part}");
    }

    #[test]
    fn no_header_breaks_the_verifier(value in "[ -~]{0,160}") {
        prop_assert!(verify_at(&value, NOW).is_err());
        prop_assert!(bearer(&value).is_err());
    }

    #[test]
    fn a_token_is_good_from_when_it_was_made_to_when_it_ends(apart in -100_000..100_000_i64) {
        // It is good for an hour, and clocks may differ by half a minute.
        let expected =
            if (-30..=3630).contains(&apart) { Ok(()) } else { Err(VerifyError::Stale) };
        prop_assert_eq!(verify_at(&format!("Bearer {}", *GOOD), NOW + apart), expected);
    }
}

proptest! {
    // Each signs a token of its own.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_token_for_somebody_else_is_not_believed(
        claim in prop::sample::select(&["aud", "email", "iss"][..]),
        place in any::<prop::sample::Index>(),
        letter in "[a-zA-Z0-9]",
    ) {
        let mut value = match claim {
            "aud" => AUDIENCE,
            "email" => ACCOUNT,
            _ => "https://accounts.google.com",
        }
        .to_owned();
        let at = place.index(value.len());
        prop_assume!(value[at..=at] != letter);
        value.replace_range(at..=at, &letter);
        prop_assert_eq!(bearer(&token(&json!({ claim: value }))), Err(VerifyError::Mismatch));
        value.truncate(at);
        prop_assert_eq!(bearer(&token(&json!({ claim: value }))), Err(VerifyError::Mismatch));
    }

    #[test]
    fn a_claim_that_is_missing_or_of_another_kind_is_not_believed(
        claim in prop::sample::select(&["aud", "email", "iss", "exp", "email_verified"][..]),
        value in prop::sample::select(vec![json!(null), json!([]), json!({}), json!("true")]),
    ) {
        prop_assert_eq!(bearer(&token(&json!({ claim: value }))), Err(VerifyError::Mismatch));
        let unverified = token(&json!({ "email_verified": false }));
        prop_assert_eq!(bearer(&unverified), Err(VerifyError::Mismatch));
    }
}
