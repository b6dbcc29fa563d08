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
    RUN_REQUIRED = "run_required", 403, "The engine gets secrets for a run; its token names none.";
    SUBJECT_REQUIRED = "subject_required", 422, "A service that acts for a person shows that person's token.";
    CREDENTIAL_UNREADABLE = "credential_unreadable", 500, "The stored secret does not open; an operator must look.";
}
