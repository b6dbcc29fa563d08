//! What an IMAP server says, read without believing it: every length is capped, and nothing is parsed by recursion.

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

/// The longest line, which may be a list of numbers.
const LONGEST_LINE: usize = 512 * 1024;
/// Literals in one response.
const MOST_LITERALS: usize = 16;

/// One response: its text, in which each literal stands as `{n}`, and the literals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    pub text: String,
    pub literals: Vec<Vec<u8>>,
}

/// Why a response cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("the server hung up")]
    End,
    #[error("the server says more than can be taken in")]
    TooLong,
    #[error("the server does not answer")]
    Silent,
}

/// Reads one response. `room` is how many bytes may still come altogether.
pub(super) async fn read(
    from: &mut (impl AsyncBufRead + Unpin),
    room: &mut usize,
) -> Result<Response, Broken> {
    let mut response = Response::default();
    loop {
        let line = line(from, room).await?;
        response.text.push_str(&String::from_utf8_lossy(&line));
        if response.text.len() > LONGEST_LINE {
            return Err(Broken::TooLong);
        }
        let Some(length) = literal(&response.text) else { return Ok(response) };
        if length > *room || response.literals.len() >= MOST_LITERALS {
            return Err(Broken::TooLong);
        }
        *room -= length;
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes).await?;
        response.literals.push(bytes);
    }
}

/// A line without its end.
async fn line(from: &mut (impl AsyncBufRead + Unpin), room: &mut usize) -> Result<Vec<u8>, Broken> {
    let most = (*room).min(LONGEST_LINE);
    let mut line = Vec::new();
    let count = from.take(most as u64).read_until(b'\n', &mut line).await?;
    *room -= count;
    if line.last() != Some(&b'\n') {
        return Err(if count >= most { Broken::TooLong } else { Broken::End });
    }
    line.pop();
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// How long the literal is that begins after this text, if one does.
fn literal(text: &str) -> Option<usize> {
    let inner = text.strip_suffix('}')?;
    let digits = &inner[inner.rfind('{')? + 1..];
    let digits = digits.strip_suffix('+').unwrap_or(digits);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The number after a word such as `UIDNEXT`.
pub(super) fn number(text: &str, word: &str) -> Option<u32> {
    let at = text.find(word)?;
    let before = text[..at].chars().next_back();
    if before.is_some_and(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    let rest = text[at + word.len()..].strip_prefix(' ')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The quoted text after a word such as `INTERNALDATE`.
pub(super) fn quoted<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text[text.find(word)? + word.len()..].strip_prefix(" \"")?;
    Some(&rest[..rest.find('"')?])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: &[u8], room: usize) -> (Vec<Response>, Option<String>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut from, mut room, mut all) = (bytes, room, Vec::new());
            loop {
                match read(&mut from, &mut room).await {
                    Ok(response) => all.push(response),
                    Err(Broken::End) => return (all, None),
                    Err(error) => return (all, Some(error.to_string())),
                }
            }
        })
    }

    #[test]
    fn a_response_is_read_with_its_literals() {
        let bytes =
            b"* 1 FETCH (UID 7 BODY[]<0> {5}\r\na\r\n)b INTERNALDATE \"x\")\r\na1 OK done\r\n";

        let (all, error) = read_all(bytes, 1000);

        assert_eq!((all.len(), error), (2, None));
        assert_eq!(all[0].literals, [b"a\r\n)b".to_vec()]);
        assert_eq!(number(&all[0].text, "UID"), Some(7));
        assert_eq!(quoted(&all[0].text, "INTERNALDATE"), Some("x"));
        assert_eq!(all[1].text, "a1 OK done");
    }

    #[test]
    fn a_server_that_says_too_much_is_not_listened_to() {
        let (all, error) = read_all(b"* OK {4000000000}\r\n", 1000);
        assert_eq!((all.len(), error.is_some()), (0, true));

        let (_, error) = read_all(&[b'x'; 2000], 1000);
        assert_eq!(error.as_deref(), Some("the server says more than can be taken in"));
    }

    proptest! {
        #[test]
        fn no_server_breaks_the_reader(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            text in "[\\* a-zA-Z0-9{}+\"()\\[\\]<>\r\n\u{e4}]{0,120}",
        ) {
            let _ = read_all(&bytes, 150);
            let (all, _) = read_all(text.as_bytes(), 100);
            for response in all {
                for word in ["UID", "UIDNEXT", "INTERNALDATE", ""] {
                    let _ = number(&response.text, word);
                    let _ = quoted(&response.text, word);
                }
            }
        }
    }
}
