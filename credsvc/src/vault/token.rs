//! The token by which a transit engine lets us in: it ends, unless it is renewed in time.

use std::{sync::Mutex, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::VaultError;

/// How often a token is looked at that never ends, or of which nothing is known.
const SELDOM: Duration = Duration::from_secs(10 * 60);
const OFTEN: Duration = Duration::from_secs(1);

/// What is known of it. Nothing, if it may not look at itself; it is used all the same then.
#[derive(Debug, Default)]
pub(super) struct Token(Mutex<Known>);

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// When to look again; at once when it was never looked at.
    look_at: Option<Instant>,
    ends_at: Option<Instant>,
    /// How long it was good as it was got, where that was said.
    whole: Option<Duration>,
    /// It has been seen: it may look at itself.
    seen: bool,
}

impl Token {
    /// There is another token, good for so many seconds if that was said; nothing else is known of it.
    pub(super) fn begin(&self, seconds: Option<u64>) {
        let whole = seconds.map(Duration::from_secs);
        let ends_at = whole.map(|whole| Instant::now() + whole);
        self.with(|known| *known = Known { ends_at, whole, ..Known::default() });
    }

    /// Whether little of the life is left that it was got with: renewing it has not helped.
    pub(super) fn is_ending(&self) -> bool {
        self.with(|known| {
            let left = known.ends_at.map(|at| at.saturating_duration_since(Instant::now()));
            let little = known.whole.map_or(Duration::ZERO, |whole| whole / 4);
            left.is_some_and(|left| left <= little)
        })
    }

    /// Whether it is time to look at it.
    pub(super) fn is_due(&self) -> bool {
        self.with(|known| known.look_at.is_none_or(|at| at <= Instant::now()))
    }

    /// Why it lets nobody in any more, as far as that is known.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let ended = self.with(|known| known.ends_at.is_some_and(|at| at <= Instant::now()));
        if ended { Err("its token has ended; give it another") } else { Ok(()) }
    }

    /// Takes in what `auth/token/lookup-self` answered. For how many seconds it is to be renewed, when half of
    /// its life is over.
    pub(super) fn looked(&self, answered: &Result<(u16, Value), VaultError>) -> Option<u64> {
        let Ok((status, answer)) = answered else {
            self.wait(OFTEN);
            return None;
        };
        let data = &answer["data"];
        let seconds = |name: &str| data[name].as_u64().unwrap_or_default();
        match status {
            // It never ends.
            200 if seconds("ttl") == 0 => {
                self.with(|known| (known.ends_at, known.seen) = (None, true));
                self.wait(SELDOM);
                None
            }
            200 => {
                let left = seconds("ttl");
                self.lives(left);
                let whole = seconds("creation_ttl").max(seconds("period"));
                let renewable = data["renewable"].as_bool().unwrap_or_default();
                if !renewable {
                    tracing::warn!(
                        seconds = left,
                        "the token of the transit engine ends and cannot be renewed"
                    );
                }
                (renewable && left * 2 <= whole).then_some(whole)
            }
            // One that was let look before was taken away. Soon it may be let again, after a mistake in a policy.
            403 => {
                let now = Instant::now();
                let seen = self.with(|known| {
                    if known.seen {
                        known.ends_at = Some(known.ends_at.map_or(now, |at| at.min(now)));
                    }
                    known.seen
                });
                self.wait(if seen { OFTEN } else { SELDOM });
                None
            }
            _ => {
                self.wait(OFTEN);
                None
            }
        }
    }

    /// Takes in what `auth/token/renew-self` answered.
    pub(super) fn renewed(&self, answered: &Result<(u16, Value), VaultError>) {
        match answered {
            Ok((200, answer)) => {
                let seconds = answer["auth"]["lease_duration"].as_u64().unwrap_or_default();
                tracing::debug!(seconds, "the token of the transit engine was renewed");
                self.lives(seconds);
            }
            Ok((status, _)) => {
                tracing::warn!(status, "the token of the transit engine was not renewed");
            }
            Err(error) => tracing::warn!(%error, "the token of the transit engine was not renewed"),
        }
    }

    fn lives(&self, seconds: u64) {
        let left = Duration::from_secs(seconds);
        self.with(|known| {
            known.ends_at = Some(Instant::now() + left);
            known.seen = true;
        });
        self.wait((left / 4).clamp(OFTEN, SELDOM));
    }

    fn wait(&self, pause: Duration) {
        self.with(|known| known.look_at = Some(Instant::now() + pause));
    }

    fn with<T>(&self, what: impl FnOnce(&mut Known) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn looks(ttl: u64, renewable: bool) -> (u16, Value) {
        let data = json!({ "ttl": ttl, "creation_ttl": 100, "renewable": renewable });
        (200, json!({ "data": data }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_when_half_of_its_life_is_over() {
        let token = Token::default();
        assert!(token.is_due());

        assert_eq!(token.looked(&Ok(looks(100, true))), None);
        assert!(!token.is_due());
        tokio::time::advance(Duration::from_secs(51)).await;
        assert!(token.is_due());
        assert_eq!(token.looked(&Ok(looks(49, true))), Some(100));
        token.renewed(&Ok((200, json!({ "auth": { "lease_duration": 100 } }))));
        tokio::time::advance(Duration::from_secs(99)).await;
        assert_eq!(token.check(), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(token.check().unwrap_err().contains("has ended"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_ending_when_little_is_left_of_it_or_it_was_taken_away() {
        let (capped, gone, endless) = (Token::default(), Token::default(), Token::default());
        capped.begin(Some(100));
        gone.begin(Some(100));
        endless.begin(None);

        assert!(!capped.is_ending() && !endless.is_ending());
        tokio::time::advance(Duration::from_secs(60)).await;
        // It may not be renewed beyond what is left.
        capped.renewed(&Ok((200, json!({ "auth": { "lease_duration": 26 } }))));
        assert!(!capped.is_ending());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(capped.is_ending());
        gone.looked(&Ok(looks(39, true)));
        assert!(!gone.is_ending());
        gone.looked(&Ok((403, json!({}))));
        assert!(gone.is_ending());
        assert!(!endless.is_ending());
        gone.begin(Some(100));
        assert!(!gone.is_ending() && gone.is_due() && gone.check().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_ends_is_left_alone_and_what_cannot_be_renewed_is_not_tried() {
        let token = Token::default();

        assert_eq!(token.looked(&Ok(looks(0, false))), None);
        tokio::time::advance(SELDOM * 2).await;
        assert!(token.is_due() && token.check().is_ok());
        assert_eq!(token.looked(&Ok(looks(10, false))), None);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(token.check().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_taken_away_has_ended_and_one_that_may_not_look_has_not() {
        let (gone, endless, blind) = (Token::default(), Token::default(), Token::default());
        let denied = Ok((403, json!({ "errors": ["permission denied"] })));

        gone.looked(&Ok(looks(100, true)));
        gone.looked(&denied);
        endless.looked(&Ok(looks(0, false)));
        endless.looked(&denied);
        blind.looked(&denied);

        assert!(gone.check().is_err());
        assert!(endless.check().is_err());
        // It was a mistake, and somebody has seen to it.
        tokio::time::advance(OFTEN).await;
        assert!(endless.is_due());
        endless.looked(&Ok(looks(0, false)));
        assert_eq!(endless.check(), Ok(()));
        assert_eq!(blind.check(), Ok(()));
        // One that is nobody's fault is looked at again soon.
        blind.looked(&Err(VaultError::RootDown("away".into())));
        tokio::time::advance(OFTEN).await;
        assert!(blind.is_due());
    }
}
