//! Logins and schema of a service, made once by an administrator of the database.

use sqlx::{AssertSqlSafe, PgConnection};

/// Passwords of a service's three logins.
pub struct Passwords<'a> {
    /// `<svc>_owner`, for migrations only.
    pub owner: &'a str,
    /// `<svc>_app`.
    pub app: &'a str,
    /// `<svc>_system`.
    pub system: &'a str,
}

/// Makes (or brings up to date) the logins and the schema of `service` in the database `admin` is connected to.
///
/// The owner gives what it creates to the two other logins by default privileges; nobody else has rights on the schema.
pub async fn provision(
    admin: &mut PgConnection,
    service: &'static str,
    passwords: &Passwords<'_>,
) -> Result<(), sqlx::Error> {
    for (kind, password) in
        [("owner", passwords.owner), ("app", passwords.app), ("system", passwords.system)]
    {
        login(admin, &format!("{service}_{kind}"), password).await?;
    }
    for statement in schema_statements(service) {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *admin).await?;
    }
    Ok(())
}

async fn login(admin: &mut PgConnection, role: &str, password: &str) -> Result<(), sqlx::Error> {
    // `create role` takes no parameters; Postgres itself does the quoting.
    let (create, alter): (String, String) = sqlx::query_as(
        "select format('create role %I login', $1::text), format('alter role %I login password %L', $1::text, $2::text)",
    )
    .bind(role)
    .bind(password)
    .fetch_one(&mut *admin)
    .await?;
    let exists: bool =
        sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
            .bind(role)
            .fetch_one(&mut *admin)
            .await?;
    if !exists {
        let made = sqlx::query(AssertSqlSafe(create)).execute(&mut *admin).await;
        // Roles belong to the whole server: another database's set-up may have been faster.
        if let Err(error) = made
            && error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref()
                != Some("42710")
        {
            return Err(error);
        }
    }
    sqlx::query(AssertSqlSafe(alter)).execute(admin).await.map(drop)
}

fn schema_statements(service: &str) -> Vec<String> {
    let (owner, app, system) =
        (format!("{service}_owner"), format!("{service}_app"), format!("{service}_system"));
    let defaults = format!("alter default privileges for role {owner} in schema {service}");
    vec![
        // Creating a schema for somebody needs membership in that role, which a managed
        // database's administrator does not have by itself.
        format!("grant {owner} to current_user"),
        format!("create schema if not exists {service} authorization {owner}"),
        format!("revoke all on schema {service} from public"),
        format!("grant usage on schema {service} to {app}, {system}"),
        format!("{defaults} grant select, insert, update, delete on tables to {app}, {system}"),
        format!("{defaults} grant usage on sequences to {app}, {system}"),
        format!("{defaults} revoke execute on functions from public"),
        format!("{defaults} grant execute on functions to {app}, {system}"),
    ]
}
