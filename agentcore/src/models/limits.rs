//! How much of a provider's time and ours a reply may take.

use std::time::Duration;

/// Limits of one call. How long a call may take altogether is for the caller to say, by dropping it.
///
/// ```
/// use std::time::Duration;
/// use agentcore::models::Limits;
///
/// let impatient = Limits { first_byte: Duration::from_secs(5), ..Limits::default() };
/// assert_eq!(impatient.idle, Duration::from_secs(120));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the beginning to the first word of the answer, which may be no more than its status.
    pub first_byte: Duration,
    /// The longest silence in the middle of an answer. A model that thinks without a word is silent as well.
    pub idle: Duration,
    /// The longest line of a stream, in bytes.
    pub line: usize,
    /// The longest answer, in bytes as they come over the wire.
    pub reply: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(120),
            line: 8 * 1024 * 1024,
            reply: 16 * 1024 * 1024,
        }
    }
}
