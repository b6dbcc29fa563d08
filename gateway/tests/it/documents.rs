use serde_json::{Value, json};
use shared_models::Service;

use crate::world::World;

#[tokio::test]
async fn one_document_describes_all_services() {
    let world = World::start().await;

    let document = world.public.get("/openapi.json").await.expect(200);

    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    for path in ["/v1/me", "/v1/of-credsvc", "/v1/of-eventsvc", "/v1/of-engine"] {
        assert!(paths.contains_key(path), "{path}");
    }
    assert!(paths.keys().all(|path| !path.starts_with("/internal")));
    assert_eq!(document["components"]["schemas"]["EventsvcThing"]["title"], "eventsvc");
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    let schemas = document["components"]["schemas"].as_object().unwrap();
    references(&document, &mut |name| assert!(schemas.contains_key(name), "{name} is not there"));
    let again = world.public.get("/openapi.json").await.expect(200);
    assert_eq!(again, document);
    assert_eq!(world.engine.hits("/openapi.json"), 1);
}

fn references(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => {
            if let Some(name) = text.strip_prefix("#/components/schemas/") {
                found(name);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| references(field, found)),
        _ => {}
    }
}

#[test]
fn merging_is_pure_and_says_who_may_use_what() {
    let own = serde_json::to_value(gateway::openapi()).unwrap();

    let merged = gateway::merge(&[(Service::Gateway, own.clone())]);

    assert_eq!(merged, gateway::merge(&[(Service::Gateway, own.clone())]));
    assert!(own["paths"]["/internal/members/{user_id}"].is_object());
    assert_eq!(
        merged["paths"]["/v1/audit"]["get"]["security"],
        json!([{ "token": ["audit:read"] }])
    );
}

#[tokio::test]
async fn a_person_finds_their_way_without_the_internet() {
    let world = World::start().await;

    let home = world.public.get("/").await;
    assert!(home.text.contains("/docs") && home.text.contains("no dashboard"), "{}", home.text);
    let docs = world.public.get("/docs/").await;
    assert_eq!(docs.status, 200);
    assert!(docs.text.contains("swagger-ui") && !docs.text.contains("//cdn"), "{}", docs.text);
    for file in ["swagger-ui-bundle.js", "swagger-ui.css", "swagger-initializer.js"] {
        let part = world.public.get(&format!("/docs/{file}")).await;
        assert_eq!(part.status, 200, "{file}");
        assert!(
            file != "swagger-initializer.js" || part.text.contains("/openapi.json"),
            "{}",
            part.text
        );
    }
}

#[tokio::test]
async fn every_error_code_of_every_service_is_listed_once() {
    let world = World::start().await;

    let listed = world.public.get("/errors").await.expect(200);

    let codes: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["code"].as_str().unwrap())
        .collect();
    for code in ["last_owner", "not_found", "engine_code", "credsvc_code", "eventsvc_code"] {
        assert_eq!(codes.iter().filter(|listed| **listed == code).count(), 1, "{code}");
    }
}

#[tokio::test]
async fn readiness_names_everything_the_platform_needs() {
    let world =
        World::with(|config| config.upstreams.engine = "http://127.0.0.1:9".parse().unwrap()).await;

    let ready = world.public.get("/readyz").await;

    assert_eq!(ready.status, 503);
    let checks = &ready.body["checks"];
    for green in ["database", "nats", "credsvc", "eventsvc"] {
        assert_eq!(checks[green], "ok", "{checks}");
    }
    assert_ne!(checks["engine"], "ok");
    world.public.get("/livez").await.expect(200);
    assert_eq!(world.internal.get("/readyz").await.status, 200);
    assert_eq!(world.public.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn the_document_is_there_even_while_a_service_is_away() {
    let world =
        World::with(|config| config.upstreams.engine = "http://127.0.0.1:9".parse().unwrap()).await;

    let document = world.public.get("/openapi.json").await.expect(200);

    assert!(document["paths"]["/v1/of-credsvc"].is_object());
    assert!(document["paths"]["/v1/of-engine"].is_null());
}
