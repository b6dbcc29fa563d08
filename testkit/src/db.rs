//! A database per test, cloned from a template that is migrated once per set of migrations.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use dbutil::{Db, DbConfig, provision::Passwords};
use secrecy::SecretString;
use shared_models::MessageId;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, migrate::Migrator};
use url::Url;

const PASSWORD: &str = "test";
/// One set-up at a time: logins belong to the whole server.
const SET_UP_LOCK: i64 = 0x5377_6974;

/// A fresh database with one or more services' schemas.
#[derive(Clone, Debug)]
pub struct TestDb {
    admin: Url,
    name: String,
}

impl TestDb {
    /// A database with the schemas of these services, as `(schema, migrations)`.
    pub async fn with(services: &[(&'static str, &'static Migrator)]) -> Self {
        let admin = admin_url();
        let mut connection =
            PgConnection::connect(admin.as_str()).await.expect("the test Postgres answers");
        let template = template(&mut connection, &admin, services).await;
        let name = format!("t_{}", MessageId::mint().uuid().simple());
        run(&mut connection, format!("create database {name} template {template}")).await;
        Self { admin, name }
    }

    /// A database with one service's schema.
    pub async fn new(schema: &'static str, migrator: &'static Migrator) -> Self {
        Self::with(&[(schema, migrator)]).await
    }

    /// How a service connects to it.
    pub fn config(&self, schema: &str) -> DbConfig {
        DbConfig {
            app_url: self.url_as(&format!("{schema}_app")),
            system_url: self.url_as(&format!("{schema}_system")),
            max_connections: 8,
            // A machine that has too much to do is not what is tested.
            patience: Duration::from_secs(30),
        }
    }

    /// The service's own handle on it.
    pub async fn db(&self, schema: &'static str) -> Db {
        Db::connect(schema, &self.config(schema)).await.expect("the test database answers")
    }

    /// A superuser's connection: what a test may look at and services never have.
    pub async fn admin(&self) -> PgConnection {
        PgConnection::connect(self.admin_url().as_str()).await.expect("the test database answers")
    }

    /// The superuser's URL of this database.
    pub fn admin_url(&self) -> Url {
        at(&self.admin, &self.name)
    }

    /// The URL by which a login connects.
    pub fn url_as(&self, login: &str) -> SecretString {
        url_as(&self.admin, &self.name, login)
    }

    /// Everything in the database as text, for tests that search it for what must not be there.
    pub async fn dump(&self) -> String {
        let mut admin = self.admin().await;
        let tables: Vec<(String, String)> = sqlx::query_as(
            "select schemaname::text, tablename::text from pg_tables
             where schemaname not in ('pg_catalog', 'information_schema')",
        )
        .fetch_all(&mut admin)
        .await
        .expect("the catalogue can be read");
        let mut text = String::new();
        for (schema, table) in tables {
            let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
                "select t::text from \"{schema}\".\"{table}\" t"
            )))
            .fetch_all(&mut admin)
            .await
            .expect("every table can be read");
            text.push_str(&rows.join("\n"));
        }
        text
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the harness is told by its environment where Postgres is"
)]
fn admin_url() -> Url {
    let text = std::env::var("SWITCHYARD_TEST_POSTGRES").expect(
        "SWITCHYARD_TEST_POSTGRES is not set: run tests by `make test` or `cargo xtask test`",
    );
    Url::parse(&text).expect("SWITCHYARD_TEST_POSTGRES is a URL")
}

fn at(admin: &Url, database: &str) -> Url {
    let mut url = admin.clone();
    url.set_path(database);
    url
}

fn url_as(admin: &Url, database: &str, login: &str) -> SecretString {
    let mut url = at(admin, database);
    url.set_username(login).expect("a URL with a host");
    url.set_password(Some(PASSWORD)).expect("a URL with a host");
    SecretString::from(url.to_string())
}

/// The template for these migrations, made by whichever test comes first.
async fn template(
    connection: &mut PgConnection,
    admin: &Url,
    services: &[(&'static str, &'static Migrator)],
) -> String {
    let name = format!("template_{:016x}", fingerprint(services));
    sqlx::query("select pg_advisory_lock($1)")
        .bind(SET_UP_LOCK)
        .execute(&mut *connection)
        .await
        .expect("lock");
    let exists: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(&name)
            .fetch_one(&mut *connection)
            .await
            .expect("the catalogue can be read");
    if !exists {
        make_template(connection, admin, services, &name).await;
    }
    sqlx::query("select pg_advisory_unlock($1)")
        .bind(SET_UP_LOCK)
        .execute(connection)
        .await
        .expect("unlock");
    name
}

async fn make_template(
    connection: &mut PgConnection,
    admin: &Url,
    services: &[(&'static str, &'static Migrator)],
    name: &str,
) {
    // Under another name until it is finished: a killed test leaves no half-made template.
    let making = format!("making_{}", MessageId::mint().uuid().simple());
    run(connection, format!("create database {making}")).await;
    let mut inside =
        PgConnection::connect(at(admin, &making).as_str()).await.expect("the new database answers");
    for (schema, migrator) in services {
        let passwords = Passwords { owner: PASSWORD, app: PASSWORD, system: PASSWORD };
        dbutil::provision::provision(&mut inside, schema, &passwords)
            .await
            .expect("logins and schema");
        let owner = url_as(admin, &making, &format!("{schema}_owner"));
        dbutil::migrate::migrate(&owner, schema, migrator).await.expect("migrations apply");
    }
    inside.close().await.expect("close");
    run(connection, format!("alter database {making} rename to {name}")).await;
}

fn fingerprint(services: &[(&'static str, &'static Migrator)]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (schema, migrator) in services {
        schema.hash(&mut hasher);
        for migration in dbutil::migrate::plumbing().iter().chain(migrator.iter()) {
            migration.version.hash(&mut hasher);
            migration.checksum.hash(&mut hasher);
        }
    }
    hasher.finish()
}

async fn run(connection: &mut PgConnection, statement: String) {
    sqlx::query(AssertSqlSafe(statement))
        .execute(connection)
        .await
        .expect("the set-up statement runs");
}
