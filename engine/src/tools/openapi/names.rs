//! Names that every model provider takes: 1 to 64 of `A-Z a-z 0-9 _ -`. The same text always gives the same name.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

const LONGEST: usize = 64;

/// The names given out for one document.
#[derive(Debug)]
pub(super) struct Names {
    prefix: String,
    taken: BTreeSet<String>,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), taken: BTreeSet::new() }
    }

    /// The operation's own id as a name, or one made of its method and path; no two are the same.
    pub(super) fn give(&mut self, id: Option<&str>, method: &str, path: &str) -> String {
        let of_path = || clean(&format!("{method}_{path}"));
        let own = id.map(clean).filter(|name| !name.is_empty()).unwrap_or_else(of_path);
        let wanted = shortened(&format!("{}{own}", self.prefix));
        let name = numbered(&wanted, |name| self.taken.contains(name));
        self.taken.insert(name.clone());
        name
    }
}

/// Other characters become one `_`; none at the ends.
pub(crate) fn clean(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
            name.push(c);
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    name.trim_matches('_').to_owned()
}

/// A name that fits: what is too long ends in a digest of the whole.
pub(crate) fn shortened(name: &str) -> String {
    if name.len() <= LONGEST {
        return name.to_owned();
    }
    let digest = hex::encode(Sha256::digest(name.as_bytes()));
    let head = name.get(..name.floor_char_boundary(LONGEST - 9)).unwrap_or_default();
    format!("{}_{}", head.trim_end_matches('_'), digest.get(..8).unwrap_or_default())
}

/// The name, or with the first number that makes it new.
pub(crate) fn numbered(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(name) {
        return name.to_owned();
    }
    let number = |n: usize| {
        let end = format!("_{n}");
        let head = name.get(..name.len().min(LONGEST - end.len())).unwrap_or(name);
        format!("{head}{end}")
    };
    (2..=usize::MAX).map(number).find(|name| !is_taken(name)).unwrap_or_default()
}
