//! Logging in to a Postgres server.

use secrecy::ExposeSecret;
use servicekit::egress::Egress;
use sqlx::{
    Connection as _, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{Said, address};
use crate::fields::Fields;

/// Connects, logs in, asks for the server's version.
pub(super) async fn ping(egress: &Egress, fields: &Fields, hosts: &[String]) -> Said {
    let address = address(egress, fields, hosts, 5432).await?;
    let text = |name: &str| fields.text(name);
    let mode = match text("sslmode").as_ref().map(ExposeSecret::expose_secret) {
        Some("disable") => PgSslMode::Disable,
        Some("require") => PgSslMode::Require,
        _ => PgSslMode::Prefer,
    };
    // To the address that was checked, so that the name cannot lead elsewhere meanwhile.
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&address.ip().to_string())
        .port(address.port())
        .ssl_mode(mode)
        .application_name("switchyard credential test");
    if let Some(username) = text("username") {
        options = options.username(username.expose_secret());
    }
    if let Some(password) = text("password") {
        options = options.password(password.expose_secret());
    }
    if let Some(database) = text("database") {
        options = options.database(database.expose_secret());
    }
    let connected = PgConnection::connect_with(&options).await;
    let mut connection = connected.map_err(|error| error.to_string())?;
    let version: Result<String, _> =
        sqlx::query_scalar("show server_version").fetch_one(&mut connection).await;
    // The answer is known; how the connection ends changes nothing.
    let _ = connection.close().await;
    version.map(|version| format!("PostgreSQL {version}")).map_err(|error| error.to_string())
}
