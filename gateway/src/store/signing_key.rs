//! The public halves of the services' keys.

use dbutil::SystemTx;
use servicekit::PublicKey;
use shared_models::Service;

use super::unknown;

/// Adds a service's key, or brings a retired one back.
pub(crate) async fn put(tx: &mut SystemTx, key: &PublicKey) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into gateway.signing_key (kid, service, public_key) values ($1, $2, $3)
         on conflict (kid) do update set retired_at = null",
        key.kid,
        key.svc.as_str(),
        key.x,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Retires a service's other keys.
pub(crate) async fn retire_others(tx: &mut SystemTx, key: &PublicKey) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update gateway.signing_key set retired_at = now()
         where service = $1 and kid <> $2 and retired_at is null",
        key.svc.as_str(),
        key.kid,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// The keys to be honoured now.
pub(crate) async fn list_honoured(tx: &mut SystemTx) -> Result<Vec<PublicKey>, sqlx::Error> {
    let rows = sqlx::query!(
        "select kid, service, public_key from gateway.signing_key
         where retired_at is null or retired_at > now() - interval '1 hour' order by service, kid"
    )
    .fetch_all(&mut **tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(PublicKey {
                kty: "OKP".into(),
                crv: "Ed25519".into(),
                kid: row.kid,
                x: row.public_key,
                svc: row.service.parse::<Service>().map_err(unknown)?,
            })
        })
        .collect()
}
