//! People.

use serde::Serialize;
use shared_models::UserId;
use sqlx::PgConnection;

/// A person as they see themselves.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct User {
    pub(crate) id: UserId,
    pub(crate) email: String,
    pub(crate) name: String,
}

/// The person with an e-mail address; made, under this name, when there is none.
pub(crate) async fn find_or_insert(
    connection: &mut PgConnection,
    email: &str,
    name: &str,
) -> Result<UserId, sqlx::Error> {
    let id = UserId::mint();
    sqlx::query_scalar!(
        r#"select gateway.user_for_email($1, $2, $3) as "id!: UserId""#,
        id as _,
        email,
        name
    )
    .fetch_one(connection)
    .await
}

/// A person this connection may see.
pub(crate) async fn find(
    connection: &mut PgConnection,
    id: UserId,
) -> Result<Option<User>, sqlx::Error> {
    sqlx::query_as!(
        User,
        r#"select user_id as "id: UserId", email, name from gateway.app_user where user_id = $1"#,
        id as _,
    )
    .fetch_optional(connection)
    .await
}
