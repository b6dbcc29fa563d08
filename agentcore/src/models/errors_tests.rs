use serde_json::json;

use super::*;

fn explained(status: u16, body: &str) -> ModelError {
    explain(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body)
}

fn kind(status: u16, body: &Value) -> ModelErrorKind {
    explained(status, &body.to_string()).kind
}

#[test]
fn a_conversation_that_is_too_long_is_told_by_code_or_by_sentence() {
    let code = json!({ "error": { "message": "no", "code": "context_length_exceeded" } });
    let sentence = json!({ "message": "This model's maximum context length is 4096 tokens." });
    let anthropic = json!({ "type": "error", "error": { "type": "invalid_request_error",
        "message": "prompt is too long: 210000 tokens > 200000 maximum" } });
    let gemini = json!({ "error": { "code": 400, "status": "INVALID_ARGUMENT", "message":
        "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576)." } });
    for body in [code, sentence, anthropic, gemini] {
        assert_eq!(kind(400, &body), ModelErrorKind::ContextLength, "{body}");
    }
    let error = explained(503, "maximum context length service is down");
    assert_eq!(error.kind, ModelErrorKind::Overloaded);
}

#[test]
fn an_empty_account_is_not_a_busy_server() {
    let openai = json!({ "error": { "message": "pay", "type": "insufficient_quota", "code": "insufficient_quota" } });
    let anthropic = json!({ "type": "error", "error": { "type": "invalid_request_error",
        "message": "Your credit balance is too low to access the Anthropic API." } });
    assert_eq!(kind(429, &openai), ModelErrorKind::Quota);
    assert_eq!(kind(400, &anthropic), ModelErrorKind::Quota);
    assert_eq!(kind(402, &json!({})), ModelErrorKind::Quota);
    assert_eq!(kind(429, &json!({})), ModelErrorKind::RateLimited);
}

#[test]
fn each_provider_has_its_own_words() {
    let anthropic =
        |kind: &str| json!({ "type": "error", "error": { "type": kind, "message": "m" } });
    let google = |code: u16, status: &str, details: Value| json!([{ "error": { "code": code, "message": "m", "status": status, "details": details } }]);
    let bad_key = json!([{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID" }]);
    let filtered = json!({ "error": { "code": "content_filter", "message": "m" } });
    let table = [
        (529, anthropic("overloaded_error"), ModelErrorKind::Overloaded),
        (429, anthropic("rate_limit_error"), ModelErrorKind::RateLimited),
        (401, anthropic("authentication_error"), ModelErrorKind::Auth),
        (403, anthropic("permission_error"), ModelErrorKind::Permission),
        (413, anthropic("request_too_large"), ModelErrorKind::ContextLength),
        (404, anthropic("not_found_error"), ModelErrorKind::Invalid),
        (400, google(400, "INVALID_ARGUMENT", bad_key), ModelErrorKind::Auth),
        (403, google(403, "PERMISSION_DENIED", json!([])), ModelErrorKind::Permission),
        (503, google(503, "UNAVAILABLE", json!([])), ModelErrorKind::Overloaded),
        (400, filtered, ModelErrorKind::Refused),
    ];
    for (status, body, expected) in table {
        assert_eq!(kind(status, &body), expected, "{status} {body}");
    }
}

#[test]
fn google_says_in_its_details_when_to_come_back() {
    let body = json!({ "error": { "code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED",
        "details": [{ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s" }] } });
    let error = explained(429, &body.to_string());
    assert_eq!(
        (error.kind, error.retry_after),
        (ModelErrorKind::RateLimited, Some(Duration::from_millis(34_500)))
    );
}

#[test]
fn errors_come_in_many_shapes() {
    let table = [
        (r#"{"error":{"message":"m1","type":"t"}}"#, "m1"),
        (r#"{"error":"m2"}"#, "m2"),
        (r#"{"message":"m3"}"#, "m3"),
        (r#"{"detail":[1]}"#, r#"{"detail":[1]}"#),
        ("<html>m5</html>\n", "<html>m5</html>"),
        ("", "no reason given"),
    ];
    for (body, expected) in table {
        let error = explained(404, body);
        assert_eq!((error.kind, error.message.as_str()), (ModelErrorKind::Invalid, expected));
    }
}

#[test]
fn an_error_within_a_stream_is_sorted_by_what_it_says_of_itself() {
    let kind = |error: Value| in_band(&error).kind;
    assert_eq!(kind(json!({ "message": "m", "code": 429 })), ModelErrorKind::RateLimited);
    assert_eq!(kind(json!({ "message": "m", "type": "server_error" })), ModelErrorKind::Overloaded);
    assert_eq!(
        kind(json!({ "message": "m", "type": "overloaded_error" })),
        ModelErrorKind::Overloaded
    );
    assert_eq!(kind(json!({ "message": "m" })), ModelErrorKind::Overloaded);
    assert_eq!(kind(json!({ "code": 401 })), ModelErrorKind::Auth);
    assert_eq!(kind(json!({ "code": "400", "message": "m" })), ModelErrorKind::Invalid);
    assert_eq!(kind(json!({ "type": "invalid_request_error" })), ModelErrorKind::Invalid);
}

#[test]
fn retry_after_is_read_as_milliseconds_seconds_or_a_date() {
    let after = |pairs: &[(&'static str, &str)]| {
        let pairs =
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        retry_after(&pairs.collect())
    };
    let (noon, later) = ("Wed, 21 Oct 2015 12:00:00 GMT", "Wed, 21 Oct 2015 12:00:30 GMT");
    assert_eq!(after(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
    assert_eq!(after(&[("retry-after", "0.5")]), Some(Duration::from_millis(500)));
    let precise = after(&[("retry-after", "7"), ("retry-after-ms", "6543")]);
    assert_eq!(precise, Some(Duration::from_millis(6543)));
    assert_eq!(after(&[("retry-after", later), ("date", noon)]), Some(Duration::from_secs(30)));
    assert_eq!(after(&[("retry-after", noon), ("date", later)]), Some(Duration::ZERO));
    assert_eq!(after(&[("retry-after", later)]), None);
    assert_eq!(after(&[("retry-after", "-1")]), None);
}

#[test]
fn an_echoed_key_is_cut_out() {
    let key = SecretString::from("sk-123");
    let error = explained(401, "Incorrect API key provided: sk-123.");
    let shown = fit_to_show(error, Some(&key));
    assert_eq!(shown.message, "Incorrect API key provided: [key].");
}

#[test]
fn a_redirect_is_refused_and_names_no_more_than_the_host() {
    let mut headers = HeaderMap::new();
    headers.insert(LOCATION, "https://evil.example/?token=hunter2".parse().unwrap());
    let error = explain(StatusCode::TEMPORARY_REDIRECT, &headers, "");
    assert_eq!(error.kind, ModelErrorKind::Invalid);
    assert_eq!(error.message, "the server sent us to evil.example, where we do not go");
}
