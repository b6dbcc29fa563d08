//! Lists: one's own and the tenant's, found by what was said about them.

use serde_json::{Value, json};
use shared_models::Role;
use testkit::Person;

use crate::harness::{SECRET, TestApp, of};

async fn names(app: &TestApp, person: &Person, query: &str) -> Vec<String> {
    let page = app.person(person).get(&format!("{}?{query}", of(person))).await.expect(200);
    let name = |item: &Value| item["name"].as_str().unwrap().to_owned();
    page["items"].as_array().unwrap().iter().map(name).collect()
}

fn named(name: &str, more: Value) -> Value {
    let mut body = json!({ "name": name, "credentials": { "token": SECRET } });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_list_has_the_tenants_and_ones_own_credentials_only() {
    let app = TestApp::start().await;
    let admin = app.trust.owner();
    let alice = admin.colleague(Role::Member);
    app.stored(&admin, &named("shared", json!({ "user_id": null }))).await;
    app.stored(&admin, &named("admins", json!({}))).await;
    app.stored(&alice, &named("alices", json!({}))).await;

    assert_eq!(names(&app, &alice, "").await, ["alices", "shared"]);
    assert_eq!(names(&app, &admin, "").await, ["admins", "shared"]);
    assert_eq!(names(&app, &admin.colleague(Role::Viewer), "").await, ["shared"]);
    assert_eq!(names(&app, &app.trust.owner(), "").await, Vec::<String>::new());
    let rival = app.person(&app.trust.owner()).get(&of(&alice)).await;
    assert_eq!(rival.refusal(), (404, "not_found"));
}

#[tokio::test]
async fn metadata_type_name_and_environment_narrow_a_list() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let bearer = json!({ "type": "http_bearer", "meta": { "team": "blue", "level": 3 } });
    app.stored(&me, &named("a", bearer)).await;
    app.stored(&me, &named("b", json!({ "meta": { "team": "blue", "level": 4 } }))).await;
    app.stored(&me, &named("c", json!({ "environment": "staging", "meta": { "team": "red" } })))
        .await;

    assert_eq!(names(&app, &me, "meta.team=blue").await, ["b", "a"]);
    assert_eq!(names(&app, &me, "meta.team=blue&meta.level=3").await, ["a"]);
    assert_eq!(names(&app, &me, "meta.nothing=blue").await, Vec::<String>::new());
    assert_eq!(names(&app, &me, "type=http_bearer").await, ["a"]);
    assert_eq!(names(&app, &me, "name=b").await, ["b"]);
    assert_eq!(names(&app, &me, "environment=staging").await, ["c"]);
    let odd = ["colour=red", "limit=x", "cursor=x", "name=%00", "meta.%00=a", "meta.=a"];
    for query in odd.into_iter().chain(["environment=prod", "health=sick"]) {
        let reply = app.person(&me).get(&format!("{}?{query}", of(&me))).await;
        assert_eq!(reply.refusal(), (422, "validation_failed"), "{query}: {}", reply.text);
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repeat() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    for n in 0..5 {
        app.stored(&me, &named(&format!("n{n}"), json!({}))).await;
    }

    let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = app.person(&me).get(&format!("{}?{query}", of(&me))).await.expect(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["name"].clone()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        query = format!("limit=2&cursor={next}");
    }

    assert_eq!(seen, ["n4", "n3", "n2", "n1", "n0"]);
}
