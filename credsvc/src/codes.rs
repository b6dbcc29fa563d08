//! The error codes of this service; the shared ones are in `servicekit::codes`.

use servicekit::Code;

macro_rules! codes {
    ($($constant:ident = $name:literal, $status:literal, $title:literal;)+) => {
        $(#[doc = $title] pub(crate) const $constant: Code = Code::new($name, $status, $title);)+
        /// Every code of this service.
        pub const ALL: &[&Code] = &[$(&$constant,)+];
    };
}

codes! {
    CREDENTIAL_NOT_FOUND = "credential_not_found", 404, "There is no such credential, or it is not yours to see.";
    CREDENTIAL_NAME_TAKEN = "credential_name_taken", 409, "Another credential of this environment has the name.";
    CREDENTIAL_IN_USE = "credential_in_use", 409, "Agents or triggers use the credential; `?force=true` deletes it anyway.";
    CREDENTIAL_CHANGED = "credential_changed", 409, "The credential was changed at the same time; read it again.";
    CREDENTIAL_NOT_GRANTED = "credential_not_granted", 403, "The agent or trigger was not given this credential.";
    CREDENTIAL_EXPIRED = "credential_expired", 409, "The credential's time is over; its owner sets another expiry or secret.";
    CREDENTIAL_REVOKED = "credential_revoked", 409, "The credential was taken back; connect it again.";
    CREDENTIAL_NEEDS_RECONNECT = "credential_needs_reconnect", 409, "The provider no longer renews the connection; somebody connects it again.";
    CREDENTIAL_HOST_NOT_ALLOWED = "credential_host_not_allowed", 403, "The credential may not be sent to that host.";
    CREDENTIAL_NOT_TESTABLE = "credential_not_testable", 422, "Credentials of this type cannot be tested, or this one lacks what the test needs.";
    CREDENTIAL_NOT_CALLABLE = "credential_not_callable", 422, "No calls can be made with credentials of this type, or this one lacks a base URL.";
    CREDENTIAL_TYPE_NOT_FOUND = "credential_type_not_found", 404, "There is no such credential type.";
    CREDENTIAL_TYPE_TAKEN = "credential_type_taken", 409, "Another credential type has the name.";
    CREDENTIAL_TYPE_IN_USE = "credential_type_in_use", 409, "Credentials have the type.";
    OAUTH_CLIENT_NOT_FOUND = "oauth_client_not_found", 404, "There is no such OAuth client.";
    OAUTH_CLIENT_TAKEN = "oauth_client_taken", 409, "Another OAuth client has the name.";
    OAUTH_CLIENT_IN_USE = "oauth_client_in_use", 409, "Credentials are connected by the OAuth client.";
    CONNECT_SESSION_NOT_FOUND = "connect_session_not_found", 404, "There is no such connect session, or its link is used up.";
    CONNECT_REFUSED = "connect_refused", 400, "The account was not connected.";
    PROVIDER_UNAVAILABLE = "provider_unavailable", 503, "The OAuth provider does not answer well; try again.";
    PROVIDER_REFUSED = "provider_refused", 502, "The OAuth provider refuses our client; an administrator looks at its settings.";
    OUTGOING_REFUSED = "outgoing_refused", 422, "The call may not be made.";
    OUTGOING_FAILED = "outgoing_failed", 502, "The call got no answer.";
    RUN_REQUIRED = "run_required", 403, "The engine gets secrets for a run; its token names none.";
    SUBJECT_REQUIRED = "subject_required", 422, "A service that acts for a person shows that person's token.";
    ROOT_KEY_UNAVAILABLE = "root_key_unavailable", 503, "The provider of the root key does not answer well; try again.";
    CREDENTIAL_UNREADABLE = "credential_unreadable", 500, "The stored secret does not open; an operator must look.";
}
