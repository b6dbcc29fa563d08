//! Bodies, queries, paths, problems: what a client is told.

use std::borrow::Cow;

use axum::extract::FromRef;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servicekit::{
    Body, IfMatch, Params, Path, Probe, Problem, Tagged, Verifier, merge_patch, shell::Shell,
};
use shared_models::{RunId, Service};
use sqlx::migrate::Migrator;
use testkit::{Api, TestDb, Trust};
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

#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Thing {
    name: String,
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Part {
    size: u32,
}

#[derive(Deserialize)]
struct Query {
    n: u32,
}

#[utoipa::path(post, path = "/things", security(()), responses((status = 200)))]
async fn make(Body(thing): Body<Thing>) -> String {
    thing.name
}

#[utoipa::path(get, path = "/things", security(()), responses((status = 200)))]
async fn list(Params(query): Params<Query>) -> String {
    query.n.to_string()
}

#[utoipa::path(get, path = "/runs/{run_id}", security(()), responses((status = 200)))]
async fn run(Path(run): Path<RunId>) -> String {
    run.to_string()
}

#[utoipa::path(patch, path = "/things/{n}", security(()), responses((status = 200)))]
async fn edit(
    Path(_n): Path<u32>,
    expected: IfMatch,
    Body(patch): Body<Value>,
) -> Result<Tagged<Thing>, Problem> {
    expected.check(3)?;
    let current = Thing { name: "old".into(), parts: vec![Part { size: 1 }] };
    Ok(Tagged(4, merge_patch(&current, &patch)?))
}

#[utoipa::path(get, path = "/broken", security(()), responses((status = 200)))]
async fn broken() -> Result<(), Problem> {
    Err(Problem::internal(anyhow::anyhow!("the password is hunter2")))
}

#[utoipa::path(get, path = "/panics", security(()), responses((status = 200)))]
async fn panics() {
    panic!("the password is hunter2")
}

fn api(probes: Vec<Probe>) -> Api {
    let routes: OpenApiRouter<App> = OpenApiRouter::new()
        .routes(routes!(make, list))
        .routes(routes!(run))
        .routes(routes!(edit))
        .routes(routes!(broken))
        .routes(routes!(panics));
    let shell = Shell {
        service: Service::Engine,
        about: "a test",
        probes,
        codes: &[],
        draining: tokio_util::sync::CancellationToken::new(),
    };
    let app = App { verifier: Trust::new().verifier(Service::Engine) };
    Api::router(servicekit::shell(routes, app, shell).0)
}

#[tokio::test]
async fn a_method_somebody_made_up_is_counted_with_all_others() {
    let metrics = servicekit::telemetry::metrics().unwrap();
    let made_up = Method::from_bytes(b"MADEUP").unwrap();

    assert_eq!(api(vec![]).send(made_up, "/things", None).await.status, 405);

    let metrics = metrics.render();
    assert!(metrics.contains(r#"method="other""#) && !metrics.contains("MADEUP"), "{metrics}");
}

#[tokio::test]
async fn a_refused_body_is_told_where_and_why() {
    let api = api(vec![]);

    let cut = api
        .header("content-type", "application/json")
        .raw(Method::POST, "/things", b"{\"name\":\n 1,".to_vec())
        .await;
    assert_eq!(cut.refusal(), (400, "malformed_json"));
    assert!(cut.body["detail"].as_str().unwrap().contains("line 2"), "{}", cut.text);

    let unknown = api
        .post("/things", &json!({ "name": "x", "parts": [{ "size": 1, "colour": "red" }] }))
        .await;
    assert_eq!(unknown.refusal(), (422, "validation_failed"));
    assert_eq!(unknown.body["errors"][0]["pointer"], "/parts/0/colour");

    let missing = api.post("/things", &json!({})).await;
    assert!(missing.text.contains("missing field `name`"), "{}", missing.text);

    let text =
        api.header("content-type", "text/plain").raw(Method::POST, "/things", b"{}".to_vec()).await;
    assert_eq!(text.refusal(), (415, "unsupported_media_type"));

    let huge = api.raw(Method::POST, "/things", vec![b' '; 3 * 1024 * 1024]).await;
    assert_eq!(huge.refusal(), (413, "payload_too_large"));
}

#[tokio::test]
async fn problems_have_the_standard_form() {
    let reply = api(vec![]).get("/nowhere").await;

    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    assert_eq!(reply.body["type"], "/errors#not_found");
    assert_eq!(reply.body["status"], 404);
    assert_eq!(reply.body["trace_id"].as_str().map(str::len), Some(32));
}

#[tokio::test]
async fn queries_methods_and_malformed_ids_are_refused_as_problems() {
    let api = api(vec![]);

    let refused = api.get("/things?n=x").await.expect(422);
    let error = &refused["errors"][0];
    assert_eq!((&refused["code"], &error["pointer"]), (&json!("validation_failed"), &json!("/n")));
    assert!(refused["detail"].as_str().unwrap().starts_with("/n: "), "{refused}");
    assert_eq!(
        api.get("/runs/agt_00000000000000000000000000000000").await.refusal(),
        (404, "not_found")
    );
    assert_eq!(api.delete("/things").await.refusal(), (405, "method_not_allowed"));
}

#[tokio::test]
async fn what_broke_inside_stays_inside() {
    let api = api(vec![]);

    for path in ["/broken", "/panics"] {
        let reply = api.get(path).await;
        assert_eq!(reply.refusal(), (500, "internal"), "{path}");
        assert!(!reply.text.contains("hunter2"), "{path}: {}", reply.text);
    }
}

#[tokio::test]
async fn an_edit_needs_the_version_it_saw_and_a_patch_is_validated_like_a_new_thing() {
    let api = api(vec![]);

    let stale = api.header("if-match", "\"2\"").patch("/things/1", &json!({ "name": "new" })).await;
    assert_eq!(stale.refusal(), (412, "precondition_failed"));
    let edited = api
        .header("if-match", "\"2\", \"3\"")
        .patch("/things/1", &json!({ "name": "new", "parts": null }))
        .await;
    assert_eq!(edited.header("etag"), Some("\"4\""));
    assert_eq!(edited.expect(200), json!({ "name": "new", "parts": [] }));
    assert_eq!(
        api.patch("/things/1", &json!({ "nam": "new" })).await.refusal(),
        (422, "validation_failed")
    );
    assert_eq!(api.patch("/things/1", &json!([])).await.refusal(), (422, "validation_failed"));
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let api = api(vec![
        Probe::new("database", || async { Ok(()) }),
        Probe::new("nats", || async { Err("no connection".to_owned()) }),
    ]);

    assert_eq!(api.get("/livez").await.status, 200);
    let ready = api.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body["checks"], json!({ "database": "ok", "nats": "no connection" }));
}

#[tokio::test]
async fn request_ids_and_traces_are_kept_when_sane_and_made_when_not() {
    let api = api(vec![]);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    let kept =
        api.header("x-request-id", "abc-1").header("traceparent", trace).get("/nowhere").await;
    assert_eq!(kept.header("x-request-id"), Some("abc-1"));
    assert_eq!(kept.body["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    let made = api.header("x-request-id", "a b\"").get("/nowhere").await;
    assert_eq!(made.header("x-request-id").map(str::len), Some(32));
}

#[tokio::test]
async fn a_service_describes_itself() {
    let api = api(vec![]);

    let document = api.get("/openapi.json").await.expect(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(document["components"]["schemas"]["ProblemBody"].is_object());
    let codes = api.get("/errors").await.expect(200);
    assert!(codes["items"].as_array().unwrap().iter().any(|code| code["code"] == "not_found"));
    api.get("/things?n=1").await;
    servicekit::telemetry::metrics();
    assert_eq!(api.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn a_lost_database_is_503_and_what_it_cannot_hold_is_422() {
    static NONE: Migrator = Migrator { migrations: Cow::Borrowed(&[]), ..Migrator::DEFAULT };
    let db = TestDb::new("credsvc", &NONE).await.db("credsvc").await;
    let fails = async |sql: &'static str, text: &'static str| {
        let error = sqlx::query(sql).bind(text).execute(db.app_pool()).await.unwrap_err();
        Problem::from(error).code().status
    };

    let gone = fails("select pg_terminate_backend(pg_backend_pid()), $1", "x").await;
    let nul = fails("select $1", "a\0b").await;
    let bug = fails("select 1 / $1::text::int", "0").await;

    assert_eq!((gone, nul, bug), (503, 422, 500));
}
