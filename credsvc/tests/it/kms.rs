//! A root key in AWS' key service: a stand-in that keeps to its documented API and errors, and checks each signature as
//! AWS documents it, by code of its own.

use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use shared_models::{AgentId, Service};
use testkit::{Answer, Stub, Stubbed};

use crate::{
    harness::{TestApp, ask, config, resolve_path},
    vaults::{Kept, serves, stand_in},
};

const ACCESS: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn refused(kind: &str, message: &str) -> Answer {
    Answer::Json(400, json!({ "__type": kind, "message": message }))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Signature version 4 the other way round: from what arrived to what must have been signed.
fn is_signed(request: &Stubbed) -> bool {
    let authorization = request.header("authorization");
    let part = |name: &str| {
        let (_, rest) = authorization.split_once(&format!("{name}=")).unwrap_or_default();
        rest.split(',').next().unwrap_or_default().to_owned()
    };
    let (credential, names, signature) =
        (part("Credential"), part("SignedHeaders"), part("Signature"));
    let place: Vec<&str> = credential.split('/').collect();
    let [ACCESS, day, region, service, "aws4_request"] = place[..] else { return false };
    let line = |name| [name, ":", request.header(name).trim(), "\n"].concat();
    let headers: String = names.split(';').map(line).collect();
    let all = ["content-type", "host", "x-amz-date", "x-amz-target"];
    if !all.iter().all(|must| names.split(';').any(|name| name == *must)) {
        return false;
    }
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{names}\n{}",
        request.method,
        request.path,
        request.query,
        hex::encode(Sha256::digest(&request.body))
    );
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{day}/{region}/{service}/aws4_request\n{}",
        request.header("x-amz-date"),
        hex::encode(Sha256::digest(canonical))
    );
    let key = mac(format!("AWS4{SECRET}").as_bytes(), day);
    let key = mac(&mac(&mac(&key, region), service), "aws4_request");
    signature == hex::encode(mac(&key, &text))
}

fn kms(kept: &Kept, request: &Stubbed) -> Answer {
    let credential = format!("Credential={ACCESS}/");
    if !request.header("authorization").contains(&credential) {
        return refused("UnrecognizedClientException", "The security token is invalid.");
    }
    if !is_signed(request) {
        let why = "The request signature we calculated does not match the signature you provided.";
        return refused("InvalidSignatureException", why);
    }
    let (body, context) = (request.json(), request.json()["EncryptionContext"].clone());
    if body["KeyId"] != "alias/switchyard" {
        return refused("NotFoundException", "Alias is not found.");
    }
    match request.header("x-amz-target") {
        "TrentService.Encrypt" => {
            let blob = kept.put("blob", &body["Plaintext"], &context);
            Answer::Json(200, json!({ "CiphertextBlob": blob, "KeyId": body["KeyId"] }))
        }
        "TrentService.Decrypt" => match kept.get(&body["CiphertextBlob"], &context) {
            Some(plain) => Answer::Json(200, json!({ "Plaintext": plain })),
            // It says so with its whole name and without a message.
            None => Answer::Json(
                400,
                json!({ "__type": "com.amazonaws.kms#InvalidCiphertextException" }),
            ),
        },
        "TrentService.DescribeKey" => {
            Answer::Json(200, json!({ "KeyMetadata": { "Enabled": true } }))
        }
        _ => refused("UnknownOperationException", ""),
    }
}

fn vars<'a>(url: &'a str, key: &'a str, secret: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("SWITCHYARD_ROOT_KEYS", key),
        ("AWS_ENDPOINT_URL_KMS", url),
        ("AWS_ACCESS_KEY_ID", ACCESS),
        ("AWS_SECRET_ACCESS_KEY", secret),
    ]
}

const KEY: &str = "1=aws-kms:alias/switchyard";

#[tokio::test]
async fn a_root_key_in_aws_key_service_seals_opens_and_says_what_is_wrong() {
    let (stub, down) = stand_in(kms).await;

    serves(&vars(&stub.url(), KEY, SECRET), &down, "HTTP 503").await;
}

#[tokio::test]
async fn what_the_key_service_refuses_is_told_as_it_said_it_and_what_passes_is_waited_for() {
    let (kept, says) = (Kept::default(), Arc::new(Mutex::new((0, Answer::Reset))));
    let told = says.clone();
    let stub = Stub::start(move |request| {
        let mut says = told.lock().unwrap();
        if says.0 > 0 && request.header("x-amz-target") == "TrentService.Decrypt" {
            says.0 -= 1;
            return says.1.clone();
        }
        kms(&kept, request)
    })
    .await;
    let (url, no_cache) = (stub.url(), ("SWITCHYARD_KEY_CACHE_SECONDS", "0"));
    let app = TestApp::start_with(&[&vars(&url, KEY, SECRET)[..], &[no_cache]].concat()).await;
    let (me, agent) = (app.trust.owner(), AgentId::mint());
    let id = app.own(&me).await;
    app.granted(&me, &id, agent).await;
    let (engine, path, asked) = (app.engine(&me), resolve_path(&id), ask(agent, me.user));

    for passing in [
        refused("ThrottlingException", "You have exceeded the rate."),
        refused("DependencyTimeoutException", "The system timed out."),
        Answer::Json(500, json!({ "__type": "KMSInternalException" })),
    ] {
        *says.lock().unwrap() = (2, passing.clone());
        let lease = engine.post(&path, &asked).await;
        assert_eq!(lease.status, 200, "{passing:?}: {}", lease.text);
        assert_eq!(says.lock().unwrap().0, 0, "it was asked again");
    }
    for (kind, message) in [
        ("AccessDeniedException", "User is not authorized to perform: kms:Decrypt"),
        ("DisabledException", "The key is disabled."),
        ("KMSInvalidStateException", "The key is pending deletion."),
    ] {
        *says.lock().unwrap() = (1, refused(kind, message));
        let lease = engine.post(&path, &asked).await;
        assert_eq!(lease.refusal(), (503, "root_key_unavailable"), "{kind}: {}", lease.text);
        assert!(lease.text.contains(&format!("HTTP 400 {kind} {message}")), "{}", lease.text);
    }
    *says.lock().unwrap() = (1, refused("IncorrectKeyException", "It was another key."));
    assert_eq!(engine.post(&path, &asked).await.refusal(), (500, "credential_unreadable"));
    *says.lock().unwrap() = (9, refused("ThrottlingException", "You have exceeded the rate."));
    let limited = engine.post(&path, &asked).await;
    assert_eq!(limited.refusal(), (503, "root_key_unavailable"), "{}", limited.text);
    assert_eq!(says.lock().unwrap().0, 5, "it is asked four times and no more");
}

#[tokio::test]
async fn a_wrong_secret_an_unknown_access_key_and_a_missing_key_stop_the_start() {
    let (stub, _) = stand_in(kms).await;
    let url = stub.url();
    let app = TestApp::start_with(&vars(&url, KEY, SECRET)).await;
    app.own(&app.trust.owner()).await;
    let stranger: Vec<_> = vars(&url, KEY, SECRET)
        .into_iter()
        .map(|(name, value)| (name, if value == ACCESS { "AKIDSTRANGER" } else { value }))
        .collect();

    for (vars, expected) in [
        (vars(&url, KEY, "another secret"), "HTTP 400 InvalidSignatureException"),
        (stranger, "HTTP 400 UnrecognizedClientException"),
        (vars(&url, "1=aws-kms:alias/other", SECRET), "HTTP 400 NotFoundException"),
    ] {
        let verifier = app.trust.verifier(Service::Credsvc);
        let opened = credsvc::App::open(&config(&vars), app.store.clone(), verifier).await;
        let error = opened.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_check_of_signatures_is_none_that_takes_anything() {
    let request = |authorization: &str| {
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", authorization.parse().unwrap());
        let (path, query, body) = ("/".to_owned(), String::new(), bytes::Bytes::new());
        Stubbed { method: http::Method::POST, path, query, headers, body }
    };
    for authorization in [
        "",
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/kms/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature=00",
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/kms/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=00",
    ] {
        assert!(!is_signed(&request(authorization)), "{authorization}");
    }
}
