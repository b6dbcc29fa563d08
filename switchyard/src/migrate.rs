//! `switchyard migrate` and `bootstrap`: what has to be there before services start.

use std::{io::Write as _, path::Path, str::FromStr as _};

use anyhow::Context as _;
use dbutil::{Db, DbConfig, provision::Passwords};
use gateway::bootstrap::BootstrapRequest;
use secrecy::{ExposeSecret as _, SecretString};
use servicekit::{
    Env,
    telemetry::{self, TelemetryConfig},
};
use shared_models::Service;
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};

use crate::{first_tenant::FirstTenant, roles, secrets::Secrets};

/// Where the administrator's address of the database is told.
pub(crate) const ADMIN_URL: &str = "SWITCHYARD_DATABASE_ADMIN_URL";

/// Where an administrator reaches the database and the bus.
pub(crate) struct Places {
    /// A superuser's URL, or one that may create roles and schemas.
    pub(crate) database_admin_url: SecretString,
    /// What services' addresses are made from when it is not the administrator's: a Unix socket, say.
    pub(crate) database_base_url: Option<String>,
    /// The bus.
    pub(crate) nats_url: String,
    /// Copies of each stream: 1, or 3 on a cluster.
    pub(crate) stream_replicas: usize,
}

impl Places {
    fn read(env: &mut Env) -> Self {
        Self {
            database_admin_url: env.secret(ADMIN_URL),
            database_base_url: None,
            nats_url: env.text("SWITCHYARD_NATS_URL", "nats://127.0.0.1:4222"),
            stream_replicas: env.parse("SWITCHYARD_STREAM_REPLICAS", "1"),
        }
    }

    /// The same database by one of a service's logins.
    pub(crate) fn database_url(
        &self,
        secrets: &Secrets,
        service: Service,
        login: &str,
    ) -> anyhow::Result<SecretString> {
        let bad = || anyhow::anyhow!("the database address is not a URL with a host");
        let base = self.database_base_url.as_deref();
        let base = base.unwrap_or_else(|| self.database_admin_url.expose_secret());
        let mut url = reqwest::Url::parse(base).map_err(|_| bad())?;
        url.set_username(&format!("{service}_{login}")).map_err(|()| bad())?;
        url.set_password(Some(secrets.database(service, login))).map_err(|()| bad())?;
        Ok(url.to_string().into())
    }

    /// The settings of a service that hold a secret: its two logins, its place on the bus, its signing key.
    pub(crate) fn secrets_of(
        &self,
        secrets: &Secrets,
        service: Service,
    ) -> anyhow::Result<[(&'static str, String); 4]> {
        let database = |login| {
            self.database_url(secrets, service, login).map(|url| url.expose_secret().to_owned())
        };
        let bus = secrets.nats().remove(service.name()).unwrap_or_default();
        Ok([
            ("SWITCHYARD_DATABASE_URL", database("app")?),
            ("SWITCHYARD_DATABASE_SYSTEM_URL", database("system")?),
            ("SWITCHYARD_NATS_PASSWORD", bus),
            ("SWITCHYARD_SERVICE_KEY", secrets.service_key(service).expose_secret().to_owned()),
        ])
    }
}

/// `switchyard migrate`.
pub(crate) async fn from_env() -> anyhow::Result<()> {
    let mut env = Env::process();
    let telemetry_config = TelemetryConfig::read(&mut env, "migrate");
    let places = Places::read(&mut env);
    let secrets = Secrets::from_env(&mut env)?;
    let _telemetry = telemetry::install(&telemetry_config)?;
    migrate(&places, &secrets).await?;
    tracing::info!("databases, streams and keys are up to date");
    Ok(())
}

/// Everything, in order; safe to run again and from several places.
pub(crate) async fn migrate(places: &Places, secrets: &Secrets) -> anyhow::Result<()> {
    let options = PgConnectOptions::from_str(places.database_admin_url.expose_secret())
        .context("the database administrator's URL cannot be read")?;
    let mut admin = options.connect().await.context("cannot reach the database")?;
    // Two of these at once would change the same roles.
    sqlx::query("select pg_advisory_lock(7311)").execute(&mut admin).await?;
    for &service in Service::ALL {
        let passwords = Passwords {
            owner: secrets.database(service, "owner"),
            app: secrets.database(service, "app"),
            system: secrets.database(service, "system"),
        };
        dbutil::provision::provision(&mut admin, service.name(), &passwords)
            .await
            .with_context(|| format!("cannot make the logins of {service}"))?;
        let owner = places.database_url(secrets, service, "owner")?;
        dbutil::migrate::migrate(&owner, service.name(), roles::migrator(service)).await?;
    }
    sqlx::query("select pg_advisory_unlock(7311)").execute(&mut admin).await?;
    streams(places, secrets).await?;
    let db = gateway_db(places, secrets).await?;
    let keys = Service::ALL
        .iter()
        .map(|&service| secrets.public_key(service))
        .collect::<Result<Vec<_>, _>>()?;
    gateway::bootstrap::register_keys(&db, &keys).await?;
    db.close().await;
    Ok(())
}

async fn streams(places: &Places, secrets: &Secrets) -> anyhow::Result<()> {
    let password = secrets.nats().remove("admin").unwrap_or_default();
    let client = async_nats::ConnectOptions::with_user_and_password("admin".into(), password)
        .connect(&places.nats_url)
        .await
        .with_context(|| format!("cannot reach NATS at {}", places.nats_url))?;
    pubsub::topology::ensure(&async_nats::jetstream::new(client), places.stream_replicas)
        .await
        .context("cannot make the streams")
}

/// The gateway's database, by the gateway's own logins.
pub(crate) async fn gateway_db(places: &Places, secrets: &Secrets) -> anyhow::Result<Db> {
    let config = DbConfig {
        app_url: places.database_url(secrets, Service::Gateway, "app")?,
        system_url: places.database_url(secrets, Service::Gateway, "system")?,
        max_connections: 2,
        patience: DbConfig::PATIENCE,
    };
    Ok(Db::connect(Service::Gateway.name(), &config).await?)
}

/// `switchyard bootstrap`: prints what it made, or keeps the key in `home`.
pub(crate) async fn bootstrap(
    email: String,
    tenant: String,
    home: Option<&Path>,
) -> anyhow::Result<()> {
    let mut env = Env::process();
    let places = Places::read(&mut env);
    let secrets = Secrets::from_env(&mut env)?;
    let request = BootstrapRequest { email, tenant };
    let mut out = std::io::stdout().lock();
    if let Some(home) = home {
        let made = FirstTenant::ensure(home, &places, &secrets, request).await?;
        writeln!(out, "SWITCHYARD_TENANT={}", made.id)?;
        return Ok(());
    }
    let db = gateway_db(&places, &secrets).await?;
    let made = gateway::bootstrap::bootstrap(&db, request).await;
    db.close().await;
    let made = made?;
    writeln!(out, "SWITCHYARD_TENANT={}", made.tenant_id)?;
    match made.api_key {
        Some(key) => writeln!(out, "SWITCHYARD_API_KEY={}", key.expose_secret())?,
        None => {
            writeln!(std::io::stderr(), "the tenant exists; its key was shown when it was made")?;
        }
    }
    Ok(())
}
