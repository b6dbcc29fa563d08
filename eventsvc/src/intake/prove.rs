//! Checking a delivery's proof with the secret its source has.

use crate::{
    app::App,
    error::Error,
    hooks::Hook,
    options::Scheme,
    verify::{self, Secret, Signed, Verified, VerifyError, google},
};

/// Checks the proof. A secret from the cache may be one that was replaced a moment ago, so a mismatch is checked
/// again against a fresh one, once in a while.
pub(super) async fn prove(app: &App, hook: &Hook, signed: &Signed<'_>) -> Result<Verified, Error> {
    let options = &hook.options.verify;
    let now = app.clock.now();
    if options.scheme == Scheme::GoogleOidc {
        let kid = google::key_id(signed.headers).map_err(Error::BadSignature)?;
        let keys = app.google.keys(&kid).await?;
        return google::verify(options, signed.headers, now, &keys).map_err(Error::BadSignature);
    }
    let check = |secret: &Secret| verify::verify(options, signed, now, secret);
    if !hook.options.needs_secret() {
        return check(&Secret::default()).map_err(Error::BadSignature);
    }
    let secret = app.secrets.of(hook).await?;
    let mut found = check(&secret);
    if found == Err(VerifyError::Mismatch)
        && let Some(fresh) = app.secrets.fresher(hook).await
    {
        found = check(&fresh);
    }
    found.map_err(|error| match error {
        VerifyError::BadSecret | VerifyError::NoAddress => Error::CredentialUnavailable,
        wrong => Error::BadSignature(wrong),
    })
}
