use gateway::bootstrap::{bootstrap, register_keys, working_key};
use secrecy::ExposeSecret as _;
use servicekit::SigningKey;
use shared_models::Service;
use testkit::{TestDb, Trust};

use crate::world::request;

#[tokio::test]
async fn doing_it_again_changes_nothing_and_shows_no_key() {
    let db = TestDb::new("gateway", &gateway::MIGRATOR).await;
    let handle = db.db("gateway").await;

    let (one, other) = tokio::join!(bootstrap(&handle, request()), bootstrap(&handle, request()));
    let (one, other) = (one.unwrap(), other.unwrap());
    let again = bootstrap(&handle, request()).await.unwrap();

    assert_eq!(usize::from(one.api_key.is_some()) + usize::from(other.api_key.is_some()), 1);
    assert!(again.api_key.is_none());
    for made in [&other, &again] {
        assert_eq!(
            (made.tenant_id, made.user_id, made.team_id),
            (one.tenant_id, one.user_id, one.team_id)
        );
    }
}

#[tokio::test]
async fn a_replaced_key_is_honoured_for_a_while_and_then_no_more() {
    let db = TestDb::new("gateway", &gateway::MIGRATOR).await;
    let handle = db.db("gateway").await;
    let old = Trust::new().key(Service::Engine).public().clone();
    let new = SigningKey::from_seed(Service::Engine, &[99; 32]).public().clone();
    register_keys(&handle, std::slice::from_ref(&old)).await.unwrap();
    register_keys(&handle, std::slice::from_ref(&new)).await.unwrap();
    register_keys(&handle, std::slice::from_ref(&new)).await.unwrap();

    let mut admin = db.admin().await;
    let rows: Vec<(String, bool)> = sqlx::query_as(
        "select kid, retired_at is null from gateway.signing_key order by created_at",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();

    assert_eq!(rows, [(old.kid, false), (new.kid, true)]);
}

#[tokio::test]
async fn a_lost_key_is_replaced_and_one_that_works_is_kept() {
    let db = TestDb::new("gateway", &gateway::MIGRATOR).await;
    let handle = db.db("gateway").await;
    let mut made = bootstrap(&handle, request()).await.unwrap();
    let first = made.api_key.take().unwrap();

    let same = working_key(&handle, &made, Some(first.clone())).await.unwrap();
    let new = working_key(&handle, &made, None).await.unwrap();
    let again = working_key(&handle, &made, Some(new.clone())).await.unwrap();

    assert_eq!(same.expose_secret(), first.expose_secret());
    assert_ne!(new.expose_secret(), first.expose_secret());
    assert_eq!(again.expose_secret(), new.expose_secret());
    let unknown = format!("sy_{}", "0".repeat(64));
    for wrong in [unknown.as_str(), "nonsense"] {
        let replaced = working_key(&handle, &made, Some(wrong.into())).await.unwrap();
        let good = working_key(&handle, &made, Some(replaced.clone())).await.unwrap();
        assert_eq!(good.expose_secret(), replaced.expose_secret());
    }
}
