//! What a failure says about who is to blame.

use std::borrow::Cow;

use dbutil::{is_down, is_refused, is_unstorable};
use sqlx::migrate::Migrator;
use testkit::TestDb;

static NONE: Migrator = Migrator { migrations: Cow::Borrowed(&[]), ..Migrator::DEFAULT };

#[tokio::test]
async fn a_database_that_went_away_and_a_value_it_cannot_hold_are_told_apart() {
    let db = TestDb::new("credsvc", &NONE).await.db("credsvc").await;
    let fails = async |sql: &'static str, text: &'static str| {
        sqlx::query(sql).bind(text).execute(db.app_pool()).await.unwrap_err()
    };

    let gone = fails("select pg_terminate_backend(pg_backend_pid()), $1", "x").await;
    let nul = fails("select $1", "a\0b").await;
    let escaped = fails("select $1::text::jsonb", r#""\u0000""#).await;
    let late = fails("select $1::text::timestamptz", "300000-01-01").await;
    let wrong = fails("select 1 / $1::text::int", "0").await;
    let missing = fails("select nowhere.to_be_found($1)", "").await;

    let judged = [gone, nul, escaped, late, wrong, missing]
        .map(|error| (is_down(&error), is_unstorable(&error), is_refused(&error)));
    let unstorable = (false, true, true);
    let wrong = (false, false, true);
    let passing = (false, false, false);
    assert_eq!(judged, [(true, false, false), unstorable, unstorable, unstorable, wrong, passing]);
}
