use ::hmac::{Hmac, KeyInit, Mac};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const TIME: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn secret(text: &str) -> Secret {
    Secret { secret: text.into(), ..Secret::default() }
}

/// As a request whose address plays no part.
fn verify(
    options: &Verify,
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
    secret: &Secret,
) -> Result<Verified, VerifyError> {
    super::verify(options, &Signed { method: "POST", url: None, headers, body }, now, secret)
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
    let user = Secret { secret: "pa:ss".into(), username: Some("ann".into()), previous: None };
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

#[test]
fn the_vectors_of_the_providers_documents_are_believed() {
    // GitHub's.
    let github = Verify { scheme: Scheme::Github, ..Verify::default() };
    let signed = headers(&[
        (
            "x-hub-signature-256",
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        ),
        ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
    ]);
    let key = secret("It's a Secret to Everybody");
    let verified = verify(&github, &signed, b"Hello, World!", at(TIME), &key).unwrap();
    assert_eq!(verified.dedupe_key.as_deref(), Some("72d3162e-cc78-11e3-81ab-4c9367dc0958"));

    // Slack's.
    let slack = Verify { scheme: Scheme::Slack, ..Verify::default() };
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
        &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
        &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands\
        %2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let signed = headers(&[
        ("x-slack-request-timestamp", "1531420618"),
        (
            "x-slack-signature",
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        ),
    ]);
    let key = secret("8f742231b10e8888abcd99yyyzzz85a5");
    let now = at(1_531_420_618);
    assert_eq!(verify(&slack, &signed, body.as_bytes(), now, &key).unwrap().at, Some(now));

    // HubSpot's, of versions 1 and 2.
    let hubspot = Verify { scheme: Scheme::HubspotV1, ..Verify::default() };
    let key = secret("yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy");
    let body = br#"[{"eventId":1,"subscriptionId":12345,"portalId":62515,"occurredAt":1564113600000,"subscriptionType":"contact.creation","attemptNumber":0,"objectId":123,"changeSource":"CRM","changeFlag":"NEW","appId":54321}]"#;
    let v1 = headers(&[
        ("x-hubspot-signature-version", "v1"),
        ("x-hubspot-signature", "232db2615f3d666fe21a8ec971ac7b5402d33b9a925784df3ca654d05f4817de"),
    ]);
    verify(&hubspot, &v1, body, now, &key).unwrap();
    let v2 = headers(&[
        ("x-hubspot-signature-version", "v2"),
        ("x-hubspot-signature", "9569219f8ba981ffa6f6f16aa0f48637d35d728c7e4d93d0d52efaa512af7900"),
    ]);
    let request = Signed {
        method: "POST",
        url: Some("https://www.example.com/webhook_uri"),
        headers: &v2,
        body: br#"{"example_field":"example_value"}"#,
    };
    super::verify(&hubspot, &request, now, &key).unwrap();
    let lost = Signed { url: None, ..request };
    assert_eq!(super::verify(&hubspot, &lost, now, &key), Err(VerifyError::NoAddress));
}

#[test]
fn several_signatures_of_stripe_may_stand_beside_each_other() {
    let stripe = Verify { scheme: Scheme::Stripe, ..Verify::default() };
    let body = br#"{"id":"evt_1","object":"event","created":1492774570}"#;
    // Made with another implementation of HMAC.
    let right = "da5b7440e95d200613353ab56c50fdfe0d01f5c746147327c93ade98aef754c4";
    let ask = |header: &str| {
        let signed = headers(&[("stripe-signature", header)]);
        verify(&stripe, &signed, body, at(1_492_774_577), &secret("whsec_test")).map(drop)
    };

    assert_eq!(ask(&format!("t=1492774577,v1={},v1={right},v0=00", "00".repeat(32))), Ok(()));
    assert_eq!(ask(&format!("t=1492774577,v0={right}")), Err(VerifyError::Malformed));
    assert_eq!(ask(&format!("t=1492774577,t=1,v1={right}")), Err(VerifyError::Malformed));
    assert_eq!(ask(&format!("v1={right}")), Err(VerifyError::Malformed));
}

#[test]
fn hubspot_signs_an_address_as_people_read_it() {
    let hubspot = Verify { scheme: Scheme::Hubspot, ..Verify::default() };
    let millis = "1564113600000";
    let plain = "https://www.example.com/webhook_uri?to=a:b/c";
    let mac = Hmac::<Sha256>::new_from_slice(b"k").unwrap();
    let mac = mac.chain_update(format!("POST{plain}{{}}{millis}"));
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let signed =
        headers(&[("x-hubspot-signature-v3", &signature), ("x-hubspot-request-timestamp", millis)]);
    let ask = |url| {
        let request = Signed { method: "POST", url: Some(url), headers: &signed, body: b"{}" };
        super::verify(&hubspot, &request, at(1_564_113_600), &secret("k")).map(drop)
    };

    assert_eq!(ask(plain), Ok(()));
    assert_eq!(ask("https://www.example.com/webhook_uri?to=a%3Ab%2fc"), Ok(()));
    assert_eq!(ask("https://www.example.com/webhook_uri"), Err(VerifyError::Mismatch));
}

#[test]
fn a_key_that_is_being_replaced_is_believed_until_its_time() {
    let github = Verify { scheme: Scheme::Github, ..Verify::default() };
    let mac = Hmac::<Sha256>::new_from_slice(b"old").unwrap().chain_update("{}");
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let signed = headers(&[("x-hub-signature-256", &signature)]);
    let with = |until| Secret {
        secret: "new".into(),
        username: None,
        previous: Some(Previous { secret: "old".into(), until }),
    };
    let ask = |until| verify(&github, &signed, b"{}", at(TIME), &with(until)).map(drop);

    assert_eq!(ask(None), Ok(()));
    assert_eq!(ask(Some(at(TIME + 1))), Ok(()));
    assert_eq!(ask(Some(at(TIME))), Err(VerifyError::Mismatch));
    let wrong = verify(&github, &signed, b"[]", at(TIME), &with(None));
    assert_eq!(wrong, Err(VerifyError::Mismatch));
}
