use ::hmac::{Hmac, KeyInit, Mac};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::options::{Algorithm, Encoding};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const TIME: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn secret(text: &str) -> Secret {
    Secret { secret: text.into(), username: None }
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())
        })
        .collect()
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn standard(
    id: &str,
    time: &str,
    signature: &str,
    body: &[u8],
    now: i64,
) -> Result<Verified, VerifyError> {
    let headers = headers(&[
        ("webhook-id", id),
        ("webhook-timestamp", time),
        ("webhook-signature", signature),
    ]);
    verify(&Verify::default(), &headers, body, at(now), &secret(SECRET))
}

#[test]
fn the_vector_of_the_standard_is_believed() {
    let verified = standard(ID, &TIME.to_string(), SIGNATURE, BODY, TIME).unwrap();

    assert_eq!(verified, Verified { dedupe_key: Some(ID.into()), at: Some(at(TIME)) });
}

#[test]
fn one_right_signature_among_several_is_enough() {
    let several = format!("v1a,AAAA v1,{} garbage {SIGNATURE}", STANDARD.encode([7; 32]));

    assert!(standard(ID, &TIME.to_string(), &several, BODY, TIME).is_ok());
}

#[test]
fn a_signature_of_another_version_is_not_taken_for_ours() {
    let other = SIGNATURE.replacen("v1,", "v2,", 1);

    assert_eq!(standard(ID, &TIME.to_string(), &other, BODY, TIME), Err(VerifyError::Mismatch));
}

#[test]
fn the_window_is_five_minutes_in_both_directions() {
    for (now, expected) in [
        (TIME + 300, Ok(())),
        (TIME - 300, Ok(())),
        (TIME + 301, Err(VerifyError::Stale)),
        (TIME - 301, Err(VerifyError::Stale)),
    ] {
        let found = standard(ID, &TIME.to_string(), SIGNATURE, BODY, now).map(drop);
        assert_eq!(found, expected, "{now}");
    }
}

#[test]
fn a_missing_or_unreadable_header_is_told_apart() {
    let none = verify(&Verify::default(), &HeaderMap::new(), BODY, at(TIME), &secret(SECRET));
    let words = standard(ID, "yesterday", SIGNATURE, BODY, TIME);
    let key = verify(
        &Verify::default(),
        &headers(&[
            ("webhook-id", ID),
            ("webhook-timestamp", &TIME.to_string()),
            ("webhook-signature", SIGNATURE),
        ]),
        BODY,
        at(TIME),
        &secret("whsec_not base64"),
    );

    assert_eq!(none, Err(VerifyError::Missing));
    assert_eq!(words, Err(VerifyError::Malformed));
    assert_eq!(key, Err(VerifyError::BadSecret));
}

fn github() -> Verify {
    Verify {
        scheme: Scheme::Hmac,
        header: Some("x-hub-signature-256".into()),
        prefix: Some("sha256=".into()),
        ..Verify::default()
    }
}

#[test]
fn the_vector_of_github_is_believed() {
    let headers = headers(&[(
        "x-hub-signature-256",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    )]);
    let check = |body: &[u8]| {
        verify(&github(), &headers, body, at(0), &secret("It's a Secret to Everybody"))
    };

    assert_eq!(check(b"Hello, World!"), Ok(Verified::default()));
    assert_eq!(check(b"Hello, World?"), Err(VerifyError::Mismatch));
}

#[test]
fn each_algorithm_and_encoding_is_taken() {
    // RFC 2202 and RFC 4231, test case 2.
    let body = b"what do ya want for nothing?";
    let table = [
        (Algorithm::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (Algorithm::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            Algorithm::Sha512,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
    ];
    for (algorithm, digest) in table {
        for encoding in [Encoding::Hex, Encoding::Base64] {
            let text = match encoding {
                Encoding::Hex => digest.to_uppercase(),
                Encoding::Base64 => STANDARD.encode(hex::decode(digest).unwrap()),
            };
            let options = Verify {
                scheme: Scheme::Hmac,
                header: Some("x-sig".into()),
                algorithm: Some(algorithm),
                encoding: Some(encoding),
                ..Verify::default()
            };
            let found =
                verify(&options, &headers(&[("x-sig", &text)]), body, at(0), &secret("Jefe"));
            assert_eq!(found, Ok(Verified::default()), "{algorithm} {encoding}");
        }
    }
}

#[test]
fn a_signed_time_is_part_of_what_is_signed() {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"k").unwrap();
    mac.update(b"1000.body");
    let signature = hex::encode(mac.finalize().into_bytes());
    let options = Verify {
        scheme: Scheme::Hmac,
        header: Some("x-sig".into()),
        timestamp_header: Some("x-time".into()),
        tolerance_seconds: Some(60),
        ..Verify::default()
    };
    let check = |time: &str, now: i64| {
        let headers = headers(&[("x-sig", &signature), ("x-time", time)]);
        verify(&options, &headers, b"body", at(now), &secret("k")).map(|verified| verified.at)
    };

    assert_eq!(check("1000", 1060), Ok(Some(at(1000))));
    assert_eq!(check("1000", 1061), Err(VerifyError::Stale));
    assert_eq!(check("1001", 1000), Err(VerifyError::Mismatch));
}

#[test]
fn a_token_or_a_password_must_be_exactly_right() {
    let bearer = Verify { scheme: Scheme::Bearer, ..Verify::default() };
    let named = Verify { header: Some("x-token".into()), ..bearer.clone() };
    let basic = Verify { scheme: Scheme::Basic, ..Verify::default() };
    let user = Secret { secret: "pa:ss".into(), username: Some("ann".into()) };
    let ann = format!("Basic {}", STANDARD.encode("ann:pa:ss"));
    let table = [
        (&bearer, ("authorization", "Bearer t0k"), secret("t0k"), Ok(())),
        (&bearer, ("authorization", "bearer t0k"), secret("t0k"), Ok(())),
        (&bearer, ("authorization", "Bearer t0"), secret("t0k"), Err(VerifyError::Mismatch)),
        (&bearer, ("authorization", "Bearer "), secret(""), Err(VerifyError::BadSecret)),
        (&named, ("x-token", "t0k"), secret("t0k"), Ok(())),
        (&named, ("authorization", "Bearer t0k"), secret("t0k"), Err(VerifyError::Missing)),
        (&basic, ("authorization", ann.as_str()), user.clone(), Ok(())),
        (&basic, ("authorization", "Basic YW5uOg=="), user, Err(VerifyError::Mismatch)),
        (&basic, ("authorization", ann.as_str()), secret("x"), Err(VerifyError::BadSecret)),
    ];
    for (options, header, secret, expected) in table {
        let found = verify(options, &headers(&[header]), b"", at(0), &secret).map(drop);
        assert_eq!(found, expected, "{options:?} {header:?}");
    }
}

proptest! {
    #[test]
    fn one_changed_byte_anywhere_is_noticed(place in 0..4usize, index: prop::sample::Index, bit in 0..7u8) {
        let (mut id, mut time) = (ID.as_bytes().to_vec(), TIME.to_string().into_bytes());
        let (mut body, mut key) = (BODY.to_vec(), STANDARD.decode(&SECRET[6..]).unwrap());
        let part = match place { 0 => &mut id, 1 => &mut time, 2 => &mut body, _ => &mut key };
        let index = index.index(part.len());
        part[index] ^= 1 << bit;
        let mut headers = HeaderMap::new();
        let values = [("webhook-id", &id[..]), ("webhook-timestamp", &time[..]), ("webhook-signature", SIGNATURE.as_bytes())];
        for (name, value) in values {
            let Ok(value) = HeaderValue::from_bytes(value) else { return Ok(()) };
            headers.insert(HeaderName::try_from(name).unwrap(), value);
        }
        let secret = secret(&format!("whsec_{}", STANDARD.encode(&key)));

        prop_assert!(verify(&Verify::default(), &headers, &body, at(TIME), &secret).is_err());
    }

    #[test]
    fn any_signature_header_is_refused_without_a_panic(signature in "[ -~]{0,200}") {
        prop_assert!(standard(ID, &TIME.to_string(), &signature, BODY, TIME).is_err());
    }

    #[test]
    fn what_a_sender_signs_is_believed(id in "[a-z0-9_.]{1,40}", body: Vec<u8>, key: [u8; 24]) {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{id}.{TIME}.").as_bytes());
        mac.update(&body);
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        let headers = headers(&[("webhook-id", &id), ("webhook-timestamp", &TIME.to_string()), ("webhook-signature", &signature)]);
        let secret = secret(&STANDARD.encode(key));

        let verified = verify(&Verify::default(), &headers, &body, at(TIME), &secret).unwrap();
        prop_assert_eq!(verified.dedupe_key, Some(id));
    }
}
