//! What models and tools have said, on a terminal.

/// One line of it at most: how it begins, with nothing in it that a terminal obeys.
pub(super) fn line(said: &str, most: usize) -> String {
    let mut line = String::new();
    let mut shown = said.trim().chars();
    for char in shown.by_ref().take(most) {
        match char {
            '\n' => line.push_str("\\n"),
            '\t' => line.push(' '),
            other if is_obeyed(other) => line.extend(other.escape_unicode()),
            other => line.push(other),
        }
    }
    if shown.next().is_some() {
        line.push('…');
    }
    line
}

/// All of it.
pub(super) fn whole(said: &str) -> String {
    let mut whole = String::new();
    for char in said.chars() {
        if is_obeyed(char) && !matches!(char, '\n' | '\t') {
            whole.extend(char.escape_unicode());
        } else {
            whole.push(char);
        }
    }
    whole
}

/// Control characters, and marks that turn the direction of what follows.
fn is_obeyed(char: char) -> bool {
    char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_said_moves_the_cursor() {
        assert_eq!(line(" a\nb\tc\u{1b}[2Jd ", 80), r"a\nb c\u{1b}[2Jd");
        assert_eq!(line("éééé", 3), "ééé…");
        assert_eq!(whole("a\n\tb\u{1b}\u{202e}"), "a\n\tb\\u{1b}\\u{202e}");
    }
}
