use gateway::bootstrap::{bootstrap, register_keys};
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
