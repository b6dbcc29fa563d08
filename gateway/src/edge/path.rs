//! Paths that every server on the way reads the same.

/// Whether a path can only be read in one way. Ids and names of routes need none of what is refused here; whoever sends
/// it hopes that two servers disagree about what it means.
pub(super) fn is_plain(path: &str) -> bool {
    path.starts_with('/')
        && !path.contains("//")
        && !path.bytes().any(|b| b == b'\\' || b == b';' || !b.is_ascii_graphic())
        && path.split('/').all(|segment| !matches!(segment, "." | ".."))
        && encodings_are_harmless(path)
}

/// Every `%` begins an encoded byte, and none of those is a dot, a slash, another `%`, or one that has no place in text.
fn encodings_are_harmless(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        let byte = rest.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            None => false,
            Some(b) => !matches!(b, b'.' | b'/' | b'\\' | b'%' | b';' | 0..=0x1f | 0x7f),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_can_be_read_in_two_ways_are_refused() {
        for path in [
            "/v1/agents",
            "/",
            "/v1/agents/agt_0190?",
            "/v1/x%20y",
            "/v1/caf%C3%A9",
            "/v1/a.b",
            "/v1/...",
        ] {
            assert!(is_plain(path), "{path}");
        }
        for path in [
            "",
            "*",
            "v1",
            "//internal/jwks",
            "/v1//agents",
            "/v1/agents/../../internal/jwks",
            "/v1/agents/./x",
            "/v1/agents/..",
            "/v1/agents/%2e%2e/%2E%2E/internal/jwks",
            "/v1/agents/..%2finternal",
            "/v1/agents/%2Finternal",
            "/v1/agents\\..\\internal",
            "/v1/agents/%5c",
            "/v1/agents/%252e%252e",
            "/v1/agents;/internal",
            "/v1/agents/%00",
            "/v1/agents/%",
            "/v1/agents/%2",
            "/v1/agents/%zz",
            "/v1/agents/%é",
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }
}
