//! The root key at start: the right one, or no service.

use credsvc::App;
use serde_json::json;
use shared_models::Service;
use testkit::{Api, TestDb, Trust};
use tokio_util::sync::CancellationToken;

use crate::harness::{SECRET, config, of};

/// Without a ledger: nothing here is read or resolved.
async fn open(db: &TestDb, name: &str, value: &str) -> anyhow::Result<Api> {
    let verifier = Trust::new().verifier(Service::Credsvc);
    let (app, _) = App::open(&config(&[(name, value)]), db.db("credsvc").await, verifier).await?;
    Ok(Api::router(credsvc::router(app, CancellationToken::new()).0))
}

#[tokio::test]
async fn a_service_with_secrets_starts_with_its_own_root_key_only() {
    let db = TestDb::new("credsvc", &credsvc::MIGRATOR).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let owner = Trust::new().owner();
    let api = open(&db, "SWITCHYARD_ROOT_KEY_FILE", &path("right")).await.unwrap();
    let body = json!({ "credentials": { "token": SECRET } });
    api.token(&owner.token(Service::Credsvc)).post(&of(&owner), &body).await.expect(201);

    let again = open(&db, "SWITCHYARD_ROOT_KEY_FILE", &path("right")).await;
    let missing = open(&db, "SWITCHYARD_ROOT_KEY_FILE", &path("missing")).await;
    let wrong = "d3Jvbmctcm9vdC1rZXktd3Jvbmctcm9vdC1rZXktMDE=";
    let wrong = open(&db, "SWITCHYARD_ROOT_KEY", wrong).await;

    assert!(again.is_ok());
    assert!(missing.unwrap_err().to_string().contains("is missing, but there are secrets"));
    assert!(!folder.path().join("missing").exists());
    assert!(wrong.unwrap_err().to_string().contains("the root key is not the one"));
}

#[tokio::test]
async fn readiness_names_the_root_key() {
    use std::os::unix::fs::PermissionsExt as _;

    let db = TestDb::new("credsvc", &credsvc::MIGRATOR).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    let api = open(&db, "SWITCHYARD_ROOT_KEY_FILE", &path.display().to_string()).await.unwrap();

    let ready = api.get("/readyz").await.expect(200);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open_to_all = api.get("/readyz").await.expect(503);

    assert_eq!(ready["checks"], json!({ "database": "ok", "root key": "ok" }));
    assert!(open_to_all["checks"]["root key"].as_str().unwrap().contains("0600"));
}
