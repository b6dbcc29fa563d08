//! The error codes only this service answers.

use servicekit::Code;

macro_rules! codes {
    ($($constant:ident = $name:literal, $status:literal, $title:literal;)+) => {
        $(#[doc = $title] pub(crate) const $constant: Code = Code::new($name, $status, $title);)+
        /// Every code of this service.
        pub const ALL: &[&Code] = &[$(&$constant,)+];
    };
}

codes! {
    SUSPICIOUS_PATH = "suspicious_path", 400, "The path has dots, doubled or encoded slashes, or encoding that nothing needs.";
    LAST_OWNER = "last_owner", 409, "A tenant keeps at least one owner.";
    MEMBER_EXISTS = "member_exists", 409, "The person is a member already.";
    SLUG_TAKEN = "slug_taken", 409, "Another tenant has the slug.";
    TEAM_NAME_TAKEN = "team_name_taken", 409, "Another team of the tenant has the name.";
    UPSTREAM_TIMEOUT = "upstream_timeout", 504, "The service behind this route did not begin to answer in time.";
}
