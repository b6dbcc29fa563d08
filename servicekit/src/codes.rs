//! The error codes that any service may answer. A service adds its own beside them.

/// A stable name for one kind of error.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// What programs test.
    pub name: &'static str,
    /// The HTTP status it always comes with.
    pub status: u16,
    /// One line of help.
    pub title: &'static str,
}

impl Code {
    /// A code, spelled once.
    pub const fn new(name: &'static str, status: u16, title: &'static str) -> Self {
        Self { name, status, title }
    }
}

macro_rules! codes {
    ($($constant:ident = $name:literal, $status:literal, $title:literal;)+) => {
        $(#[doc = $title] pub const $constant: Code = Code::new($name, $status, $title);)+
        /// Every code of this crate.
        pub const ALL: &[&Code] = &[$(&$constant,)+];
    };
}

codes! {
    MALFORMED_REQUEST = "malformed_request", 400, "The request cannot be read as HTTP says it should.";
    MALFORMED_JSON = "malformed_json", 400, "The body is not JSON; the detail names line and column.";
    UNAUTHENTICATED = "unauthenticated", 401, "Credentials are missing, wrong or expired.";
    SCOPE_MISSING = "scope_missing", 403, "The caller is known but lacks the scope this needs.";
    NOT_ALLOWED = "not_allowed", 403, "The caller's role does not allow this.";
    NOT_FOUND = "not_found", 404, "There is no such thing, or it is not yours to see.";
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "The path exists, but not with this method.";
    CONFLICT = "conflict", 409, "The request does not fit the present state.";
    IDEMPOTENCY_IN_FLIGHT = "idempotency_in_flight", 409, "A request with this Idempotency-Key is being worked on.";
    PRECONDITION_FAILED = "precondition_failed", 412, "The thing has changed since the version in If-Match.";
    PAYLOAD_TOO_LARGE = "payload_too_large", 413, "The body is larger than this route takes.";
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", 415, "The body's content type is not taken here.";
    VALIDATION = "validation_failed", 422, "Fields are missing, unknown or out of range; errors lists each.";
    IDEMPOTENCY_OTHER_BODY = "idempotency_key_reused", 422, "The Idempotency-Key was used with another body.";
    RATE_LIMITED = "rate_limited", 429, "Too many requests; Retry-After says when to come back.";
    INTERNAL = "internal", 500, "Something broke on our side; the trace id finds it in the logs.";
    UNAVAILABLE = "unavailable", 503, "Something this needs is down or busy; Retry-After says when to come back.";
}
