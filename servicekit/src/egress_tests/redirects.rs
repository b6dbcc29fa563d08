//! Where a redirect may lead, and what it takes along.

use super::*;

#[tokio::test]
async fn redirects_are_checked_like_the_first_url() {
    let server = Server::start(|seen: &Seen| redirect_to(307, &seen.path[1..])).await;
    let names =
        Names::default().with("good.test", &["127.0.0.1"]).with("inside.test", &["127.0.0.2"]);
    let egress = egress(&format!("127.0.0.1:{}", server.port), names);
    let inside = format!("http://inside.test:{}/x", server.port);
    let allowed = ["good.test", "inside.test", "169.254.169.254"];
    let allowed_hosts: Vec<_> = allowed.map(|host| HostPattern::parse(host).unwrap()).into();

    for target in [
        "http://169.254.169.254/latest",
        "http://other.test/",
        "ftp://good.test/",
        "file:///etc/passwd",
    ] {
        let url = server.url("good.test", &format!("/{target}"));
        let error = egress
            .send(Call { allowed_hosts: allowed_hosts.clone(), ..post(url) })
            .await
            .unwrap_err();
        assert!(matches!(error, EgressError::Misdirected(_)), "{target}: {error:?}");
    }
    let url = server.url("good.test", &format!("/{inside}"));
    let error = egress.send(Call { allowed_hosts, ..post(url) }).await.unwrap_err();
    assert!(matches!(error, EgressError::Denied(_)), "{error:?}");
    assert_eq!(server.seen().len(), 5, "each only once");
}

#[tokio::test]
async fn a_redirect_to_another_origin_takes_the_body_along_but_no_secret() {
    let target = Server::start(|_| "there").await;
    let elsewhere = target.url("127.0.0.1", "/there").to_string();
    let leak = format!("{elsewhere}?stolen={}", "tops3cret%2Fvalue%2B1");
    let first = Server::start(move |seen: &Seen| match seen.path.as_str() {
        "/same" => redirect_to(308, "/go"),
        "/leak" => redirect_to(307, &leak),
        _ => redirect_to(307, &elsewhere),
    })
    .await;
    let egress = egress("127.0.0.1", Names::default());
    let headers =
        [("x-own-key", "k"), ("cookie", "c=1"), ("accept", "text/plain"), ("content-type", "x/y")];
    let headers: HeaderMap = headers
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .into_iter()
        .collect();
    let call = Call {
        headers,
        injection: Some(Injection::Bearer(secret())),
        ..post(first.url("127.0.0.1", "/same"))
    };

    let answer = egress.send(call.clone()).await.unwrap();

    assert_eq!(answer.body, b"there");
    let same = first.seen();
    assert_eq!(same.iter().filter(|seen| seen.headers.contains_key("authorization")).count(), 2);
    let there = &target.seen()[0];
    assert_eq!((&there.method, there.body.as_str()), (&Method::POST, "{}"));
    assert_eq!(there.headers["accept"], "text/plain");
    for name in ["authorization", "x-own-key", "cookie"] {
        assert!(!there.headers.contains_key(name), "{name}");
    }

    let error =
        egress.send(Call { url: first.url("127.0.0.1", "/leak"), ..call }).await.unwrap_err();
    assert!(
        matches!(&error, EgressError::Misdirected(why) if !why.contains("tops3cret")),
        "{error:?}"
    );
    assert_eq!(target.seen().len(), 1);
}

#[tokio::test]
async fn after_see_other_the_rest_is_a_get_and_its_failure_leaves_the_outcome_unknown() {
    let server = Server::start(|seen: &Seen| match seen.path.as_str() {
        "/make" => redirect_to(303, "/made"),
        "/made" => (StatusCode::OK, "made").into_response(),
        "/lost" => redirect_to(303, "/gone"),
        "/away" => redirect_to(302, "http://other.test/"),
        "/round" => redirect_to(307, "/round"),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    let egress = reaching(&server);
    let send = async |path| egress.send(post(server.url("good.test", path))).await;

    assert_eq!(send("/make").await.unwrap().body, b"made");
    assert_eq!(server.seen()[1].method, Method::GET);
    assert!(server.seen()[1].body.is_empty());
    assert!(matches!(send("/lost").await.unwrap_err(), EgressError::Unknown(_)));
    assert!(matches!(send("/away").await.unwrap_err(), EgressError::Unknown(_)));
    assert!(matches!(send("/round").await.unwrap_err(), EgressError::Misdirected(_)));
    assert_eq!(send("/none").await.unwrap().status, StatusCode::NOT_FOUND);
}
