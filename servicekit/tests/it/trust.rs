//! Tokens: whose are taken, and for what.

use std::time::Duration;

use axum::extract::FromRef;
use serde_json::json;
use servicekit::{Caller, Claims, Peer, Problem, PublicKey, Verifier, peer::Ask, scope, token};
use shared_models::{Role, Service, TenantId};
use testkit::{Answer, Api, Stub, Trust};
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(Clone)]
struct App {
    verifier: Verifier,
}

impl FromRef<App> for Verifier {
    fn from_ref(app: &App) -> Self {
        app.verifier.clone()
    }
}

#[utoipa::path(get, path = "/agents", security(("token" = ["agents:read"])), responses((status = 200)))]
async fn agents(caller: Caller<scope::AgentsRead>) -> String {
    format!("{} for {:?}", caller.principal(), caller.subject().map(servicekit::Subject::user))
}

#[utoipa::path(get, path = "/lookup", security(("token" = ["agents:lookup"])), responses((status = 200)))]
async fn lookup(caller: Caller<scope::AgentsLookup>) -> Result<String, Problem> {
    let subject = caller.subject().ok_or_else(|| Problem::not_found("subject"))?;
    Ok(subject.user().to_string())
}

fn engine(trust: &Trust) -> Api {
    engine_with(trust.verifier(Service::Engine))
}

fn engine_with(verifier: Verifier) -> Api {
    let routes: OpenApiRouter<App> =
        OpenApiRouter::new().routes(routes!(agents)).routes(routes!(lookup));
    let shell = servicekit::shell::Shell {
        service: Service::Engine,
        about: "a test",
        probes: vec![],
        codes: &[],
        draining: tokio_util::sync::CancellationToken::new(),
    };
    Api::router(servicekit::shell(routes, App { verifier }, shell).0)
}

#[tokio::test]
async fn only_a_fresh_token_for_this_service_signed_by_the_gateway_opens_the_door() {
    let trust = Trust::new();
    let (api, ada) = (engine(&trust), trust.owner());

    let token = |token: String| api.token(&token);
    assert_eq!(token(ada.token(Service::Engine)).get("/agents").await.status, 200);
    for (what, bad) in [
        ("expired", ada.expired_token(Service::Engine)),
        ("for another service", ada.token(Service::Credsvc)),
        ("signed by a service", ada.forged_token(Service::Engine)),
        ("no token at all", "x".into()),
    ] {
        assert_eq!(token(bad).get("/agents").await.refusal(), (401, "unauthenticated"), "{what}");
    }
    assert_eq!(api.get("/agents").await.refusal(), (401, "unauthenticated"));
}

#[tokio::test]
async fn a_token_seen_before_is_still_bound_to_its_service_and_its_end() {
    let trust = Trust::new();
    let verifier = trust.verifier(Service::Engine);
    let ada = trust.owner();
    let token = ada.token(Service::Engine);

    verifier.verify(&token).await.unwrap();

    assert!(verifier.verify_for(&token, Service::Credsvc).await.is_err());
}

#[tokio::test]
async fn one_changed_byte_anywhere_is_refused() {
    let trust = Trust::new();
    let (verifier, token) = (trust.verifier(Service::Engine), trust.owner().token(Service::Engine));

    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        // The last character of base64 carries spare bits; flipping those changes nothing.
        if at + 1 == token.len() {
            continue;
        }
        assert!(verifier.verify(&changed).await.is_err(), "byte {at}");
    }
}

#[tokio::test]
async fn a_service_gets_no_scope_beyond_the_matrix() {
    let trust = Trust::new();
    let key = trust.key(Service::Eventsvc);
    let now = token::unix_now();
    let claims = |scopes: &[&str], svc| Claims {
        iss: Service::Eventsvc,
        aud: Service::Engine,
        sub: "eventsvc".into(),
        exp: now + 60,
        iat: now,
        tenant: TenantId::mint(),
        user: None,
        key: None,
        teams: vec![],
        role: None,
        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        payloads: true,
        svc: Some(svc),
        purpose: None,
        run: None,
    };
    let verifier = trust.verifier(Service::Engine);

    assert!(
        verifier.verify(&key.sign(&claims(&["agents:lookup"], Service::Eventsvc))).await.is_ok()
    );
    assert!(
        verifier.verify(&key.sign(&claims(&["agents:write"], Service::Eventsvc))).await.is_err()
    );
    assert!(
        verifier.verify(&key.sign(&claims(&["agents:lookup"], Service::Gateway))).await.is_err()
    );
    let owner = Claims { role: Some(Role::Owner), ..claims(&[], Service::Eventsvc) };
    assert!(verifier.verify(&key.sign(&owner)).await.is_err());
}

#[tokio::test]
async fn a_token_may_not_be_good_for_longer_than_a_minute() {
    let trust = Trust::new();
    let (key, verifier) = (trust.key(Service::Eventsvc), trust.verifier(Service::Engine));
    let mine = trust.service_token(Service::Eventsvc, Service::Engine, TenantId::mint(), "t", None);
    let (claims, now) = (verifier.verify(&mine).await.unwrap(), token::unix_now());

    for (what, iat, exp, good) in [
        ("a minute", now, now + 60, true),
        ("a minute, by a clock that is ahead", now + 3, now + 63, true),
        ("a minute, and a little", now, now + 65, true),
        ("more than a minute", now, now + 70, false),
        ("an hour", now, now + 3600, false),
        ("an hour, nearly over", now - 3590, now + 10, false),
        ("a minute that has yet to begin", now + 30, now + 90, false),
        ("for ever", now, i64::MAX, false),
        ("since ever", i64::MIN, now + 10, false),
        ("over, by more than clocks differ", now - 60, now - 10, false),
    ] {
        let token = key.sign(&Claims { iat, exp, ..claims.as_ref().clone() });
        assert_eq!(verifier.verify(&token).await.is_ok(), good, "{what}");
    }
}

#[tokio::test]
async fn a_token_that_was_seen_is_refused_once_it_has_expired() {
    let trust = Trust::new();
    let (key, verifier) = (trust.key(Service::Eventsvc), trust.verifier(Service::Engine));
    let mine = trust.service_token(Service::Eventsvc, Service::Engine, TenantId::mint(), "t", None);
    let claims = verifier.verify(&mine).await.unwrap();
    let now = token::unix_now();
    let short = key.sign(&Claims { iat: now - 50, exp: now + 1, ..claims.as_ref().clone() });
    verifier.verify(&short).await.unwrap();

    testkit::eventually("it to end", async || verifier.verify(&short).await.err()).await;
    assert!(verifier.verify(&mine).await.is_ok());
}

#[tokio::test]
async fn only_the_one_algorithm_is_taken() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};

    let trust = Trust::new();
    let (verifier, token) = (trust.verifier(Service::Engine), trust.owner().token(Service::Engine));
    let parts: Vec<&str> = token.split('.').collect();
    let header = String::from_utf8(BASE64.decode(parts[0]).unwrap()).unwrap();
    assert!(header.contains("EdDSA"), "{header}");

    for alg in ["none", "HS256", "eddsa"] {
        let header = BASE64.encode(header.replace("EdDSA", alg));
        for signature in [parts[2], ""] {
            let forged = format!("{header}.{}.{signature}", parts[1]);
            assert!(verifier.verify(&forged).await.is_err(), "{alg}");
        }
    }
    for text in ["", ".", "..", "a.b.c", &format!("{token}.x"), &format!("x.{token}"), parts[1]] {
        assert!(verifier.verify(text).await.is_err(), "{text}");
    }
}

#[tokio::test]
async fn a_key_that_is_none_is_left_out_and_the_others_work() {
    let trust = Trust::new();
    let mut keys = trust.public();
    let point_of_small_order = PublicKey::new(Service::Gateway, [0; 32]);
    keys.insert(0, point_of_small_order);
    keys.insert(0, PublicKey { x: "?".into(), ..keys[1].clone() });
    let verifier = Verifier::from_keys(Service::Engine, keys);

    assert!(verifier.verify(&trust.owner().token(Service::Engine)).await.is_ok());
}

#[tokio::test]
async fn an_identity_service_that_hangs_is_not_waited_for_without_end() {
    // Connections are made, by the system, and nobody ever answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let http = servicekit::peer::internal_http().unwrap();
    let verifier = Verifier::from_url(Service::Engine, url.parse().unwrap(), http);
    let token = Trust::new().owner().token(Service::Engine);

    let answer = tokio::time::timeout(Duration::from_secs(20), verifier.verify(&token)).await;

    assert_eq!(answer.unwrap().unwrap_err().code().status, 503);
}

#[tokio::test]
async fn a_service_acts_for_a_person_only_with_the_token_they_gave_it() {
    let trust = Trust::new();
    let (api, ada) = (engine(&trust), trust.owner());
    let mine = trust.service_token(Service::Eventsvc, Service::Engine, ada.tenant, "save", None);
    let with = |subject: String| api.token(&mine).header("x-subject-token", &subject);

    let right = with(ada.token(Service::Eventsvc)).get("/lookup").await;
    assert_eq!((right.status, right.text), (200, ada.user.to_string()));
    for (what, subject) in [
        ("given to somebody else", ada.token(Service::Credsvc)),
        ("of another tenant", trust.owner().token(Service::Eventsvc)),
        ("expired", ada.expired_token(Service::Eventsvc)),
        ("made by a service", ada.forged_token(Service::Eventsvc)),
    ] {
        assert_eq!(with(subject).get("/lookup").await.status, 401, "{what}");
    }
    let person = api
        .token(&ada.token(Service::Engine))
        .header("x-subject-token", &ada.token(Service::Eventsvc));
    assert_eq!(person.get("/agents").await.status, 401);
}

#[tokio::test]
async fn roles_get_what_they_may() {
    let trust = Trust::new();
    let (api, ada) = (engine(&trust), trust.owner());
    let viewer = ada.colleague(Role::Viewer);

    assert_eq!(api.token(&viewer.token(Service::Engine)).get("/agents").await.status, 200);
    let without = viewer.with_scopes(&["runs:read"]).token(Service::Engine);
    assert_eq!(api.token(&without).get("/agents").await.refusal(), (403, "scope_missing"));
}

#[tokio::test]
async fn unknown_keys_are_fetched_once_and_a_missing_identity_service_is_503() {
    let trust = Trust::new();
    let keys = json!({ "keys": trust.public() });
    let stub = Stub::start(move |_| Answer::Json(200, keys.clone())).await;
    let http = servicekit::peer::internal_http().unwrap();
    let url = format!("{}/internal/jwks", stub.url());
    let verifier = Verifier::from_url(Service::Engine, url.parse().unwrap(), http.clone());
    let ada = trust.owner();

    for _ in 0..5 {
        verifier.verify(&ada.token(Service::Engine)).await.unwrap();
    }
    assert_eq!(stub.requests().len(), 1);

    let nowhere = Verifier::from_url(Service::Engine, "http://127.0.0.1:9/".parse().unwrap(), http);
    let nobody = engine_with(nowhere).token(&ada.token(Service::Engine));
    let reply = nobody.get("/agents").await;
    assert_eq!(reply.refusal(), (503, "unavailable"));
    assert!(reply.header("retry-after").is_some());
    // Who comes right after is not asked for better credentials either.
    assert_eq!(nobody.get("/agents").await.refusal(), (503, "unavailable"));
}

#[tokio::test]
async fn a_peer_says_who_asks_why_and_for_whom() {
    let trust = Trust::new();
    let stub = Stub::start(|request| match request.path.as_str() {
        "/yes" => Answer::Json(200, json!({ "n": 1 })),
        "/no" => Answer::Json(
            404,
            json!({
                "type": "/errors#x", "code": "x", "title": "X", "status": 404, "detail": "gone",
            }),
        ),
        _ => Answer::Reset,
    })
    .await;
    let http = servicekit::peer::internal_http().unwrap();
    let peer = Peer::new(
        stub.url().parse().unwrap(),
        Service::Credsvc,
        trust.minter(Service::Engine),
        http,
    );
    let ask = Ask::new(TenantId::mint(), "tool:x").on_behalf("theirs");

    let yes: serde_json::Value = peer.post(ask, "yes", &json!({})).await.unwrap();
    let no = peer.get::<serde_json::Value>(ask, "no").await.unwrap_err();
    let cut = peer.get::<serde_json::Value>(ask, "cut").await.unwrap_err();

    assert_eq!(yes, json!({ "n": 1 }));
    assert_eq!((no.status(), no.code(), no.passing()), (Some(404), Some("x"), false));
    assert!(cut.passing());
    let seen = &stub.requests()[0];
    assert_eq!(seen.header("x-subject-token"), "theirs");
    let token = seen.header("authorization").trim_start_matches("Bearer ").to_owned();
    let claims = trust.verifier(Service::Credsvc).verify(&token).await.unwrap();
    assert_eq!((claims.svc, claims.purpose.as_deref()), (Some(Service::Engine), Some("tool:x")));
}
