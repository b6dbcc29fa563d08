//! Settings in a file, for secrets that are mounted rather than put into the environment.

use std::{collections::BTreeMap, path::Path};

/// Names the file. What is really set in the environment wins over what it says.
pub(super) const NAME: &str = "SWITCHYARD_ENV_FILE";

/// Reads lines of `NAME=value`, as they stand: no quotes, no substitution. Empty lines, lines that begin with `#` and an
/// `export` before a name mean nothing. The error never repeats what is in the file.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    parse(&text).map_err(|line| format!("{shown}: line {line} is not NAME=value"))
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(at, line)| {
            let line = line.strip_prefix("export ").unwrap_or(line);
            let (name, value) = line.split_once('=').ok_or(at)?;
            let name = name.trim();
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(word) {
                return Err(at);
            }
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_as_they_are() {
        let text = "# made once\n\nA=1\nexport B=x=y \"z\"\nC=\n";

        let found = parse(text).unwrap();

        assert_eq!(found["A"], "1");
        assert_eq!(found["B"], "x=y \"z\"");
        assert_eq!(found["C"], "");
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_not_shown() {
        assert_eq!(parse("A=1\nhunter2"), Err(2));
        assert_eq!(parse("not a name=hunter2"), Err(1));
        assert_eq!(parse("=hunter2"), Err(1));
    }
}
