//! Answers as real providers give them.

use secrecy::ExposeSecret as _;
use serde_json::json;

use super::*;

fn answer(status: u16, body: &Value) -> Result<Tokens, Refusal> {
    let mut headers = HeaderMap::new();
    headers.insert(DATE, "Mon, 12 Jan 1970 13:46:40 GMT".parse().unwrap());
    read(StatusCode::from_u16(status).unwrap(), &headers, body.to_string().into_bytes())
}

#[test]
fn an_expiry_is_understood_however_it_is_said() {
    for (what, body, lives) in [
        ("a number", json!({ "access_token": "a", "expires_in": 3600 }), Some(3600.0)),
        ("a text", json!({ "access_token": "a", "expires_in": "28800" }), Some(28800.0)),
        ("an older name", json!({ "access_token": "a", "expires": 60 }), Some(60.0)),
        ("a time", json!({ "access_token": "a", "expires_on": "1000300" }), Some(300.0)),
        ("milliseconds", json!({ "access_token": "a", "expires_at": 1_000_000_300_000_u64 }), None),
        ("long ago", json!({ "access_token": "a", "expires_in": -5 }), Some(1.0)),
        ("nothing", json!({ "access_token": "a" }), None),
        ("nonsense", json!({ "access_token": "a", "expires_in": "soon" }), None),
    ] {
        assert_eq!(answer(200, &body).unwrap().lives, lives, "{what}");
    }
}

#[test]
fn a_time_of_a_provider_whose_clock_is_wrong_is_read_by_its_own_clock() {
    let mut headers = HeaderMap::new();
    headers.insert(DATE, "Thu, 01 Jan 1970 02:00:00 GMT".parse().unwrap());
    let body = json!({ "access_token": "a", "expires_at": 7200 + 600 }).to_string().into_bytes();

    let tokens = read(StatusCode::OK, &headers, body).unwrap();

    assert_eq!(tokens.lives, Some(600.0));
    let undated = json!({ "access_token": "a", "expires_at": 7200 }).to_string().into_bytes();
    assert_eq!(read(StatusCode::OK, &HeaderMap::new(), undated).unwrap().lives, None);
}

#[test]
fn a_refusal_is_sorted_by_what_helps_whatever_its_status() {
    use Refusal::{Client, Dead, Passing};
    for (status, body, expected) in [
        (400, json!({ "error": "invalid_grant" }), Dead("invalid_grant".into())),
        (200, json!({ "error": "bad_refresh_token" }), Dead("bad_refresh_token".into())),
        (
            200,
            json!({ "ok": false, "error": "invalid_refresh_token" }),
            Dead("invalid_refresh_token".into()),
        ),
        (
            400,
            json!({ "status": "BAD_REFRESH_TOKEN", "message": "x" }),
            Dead("bad_refresh_token".into()),
        ),
        (401, json!({ "error": "invalid_client" }), Client("invalid_client".into())),
        (403, json!({}), Client("http_403".into())),
        (500, json!({ "error": "invalid_grant" }), Passing("invalid_grant".into())),
        (429, json!({ "error": "slow_down" }), Passing("slow_down".into())),
        (400, json!({ "error": "something new" }), Passing("somethingnew".into())),
        (200, json!({ "error": { "code": "invalid_grant" } }), Dead("invalid_grant".into())),
        (200, json!({ "token_type": "bearer" }), Passing("no_access_token".into())),
        (200, json!([]), Passing("unreadable_answer".into())),
        (502, json!("<html>"), Passing("http_502".into())),
    ] {
        assert_eq!(answer(status, &body).unwrap_err(), expected, "{status} {body}");
    }
}

#[test]
fn tokens_are_found_in_a_form_and_in_slacks_place_for_a_persons() {
    let form = b"access_token=a%2Bb&expires_in=60&scope=repo,user".to_vec();
    let form = read(StatusCode::OK, &HeaderMap::new(), form).unwrap();
    let slack = json!({ "ok": true, "authed_user": { "access_token": "p", "refresh_token": "r" },
        "team": { "name": "Blue" } });
    let slack = answer(200, &slack).unwrap();

    assert_eq!(form.access.expose_secret(), "a+b");
    assert_eq!(form.scopes.unwrap(), ["repo", "user"]);
    assert_eq!(slack.access.expose_secret(), "p");
    assert_eq!(slack.refresh.unwrap().expose_secret(), "r");
    assert_eq!(slack.account.as_deref(), Some("Blue"));
}
