//! From configuration to a serving process.

use std::sync::Arc;

use anyhow::Context as _;
use dbutil::Db;
use pubsub::{Bus, Relay};
use servicekit::{Lifecycle, Verifier, peer};
use shared_models::Service;
use tokio::net::TcpListener;

use crate::{App, Config, listeners::member_removed::MemberRemovedListener, router, workers};

/// Connects, checks that the schema is migrated and the root key is the right one, then serves until `life` ends.
///
/// Runs besides requests: the ledger, the renewals of access tokens and who asks for those that are due, who hears of
/// members that have left, the outbox relay, the shredding of deleted credentials, and the care for keys: those
/// whose time in memory is over are wiped, and a token of Vault's is renewed.
pub async fn start(config: Config, listener: TcpListener, life: &Lifecycle) -> anyhow::Result<()> {
    let db =
        Db::connect("credsvc", &config.service.db).await.context("connecting to the database")?;
    db.check_migrated(&crate::MIGRATOR).await?;
    let bus = Bus::connect(Service::Credsvc, &config.service.nats).await?;
    let verifier = Verifier::from_url(
        Service::Credsvc,
        config.service.auth.jwks_url.clone(),
        peer::internal_http()?,
    );
    let (app, tasks) = App::open(&config, db.clone(), verifier).await?;
    life.spawn("credsvc ledger", tasks.ledger.run(life.soft()));
    life.spawn("credsvc renewals", tasks.renewals.run(life.soft()));
    let (tended, soft) = (app.clone(), life.soft());
    life.spawn("credsvc connections", async move {
        workers::connections::run(tended, soft).await;
        Ok(())
    });

    let left =
        pubsub::listen(db.clone(), bus.clone(), Arc::new(MemberRemovedListener), life.soft());
    life.spawn("credsvc member removed", left);

    // Nobody waits for these events, so no bell is rung: the relay finds them when it looks.
    let (relay, _bell) = Relay::new(db, bus, config.service.relay.clone());
    let soft = life.soft();
    life.spawn("credsvc relay", async move {
        relay.run(soft).await;
        Ok(())
    });
    let (store, days, soft) = (app.db.clone(), config.shred_days, life.soft());
    life.spawn("credsvc shred", async move {
        workers::shred::run(store, days, soft).await;
        Ok(())
    });
    let (kept, soft) = (app.clone(), life.soft());
    life.spawn("credsvc keys", async move {
        workers::keys::run(kept, soft).await;
        Ok(())
    });
    let (router, _) = router(app, life.soft());
    servicekit::serve("credsvc http", listener, router, life);
    Ok(())
}
