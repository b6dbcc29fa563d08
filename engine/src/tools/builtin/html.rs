//! HTML as text: one pass over the bytes, whatever they are. Not a renderer; good enough for a reader who cannot see.

/// What is in these is not for reading.
const HIDDEN: [&str; 9] =
    ["script", "style", "noscript", "template", "svg", "head", "title", "iframe", "object"];
/// These begin a line.
const BLOCKS: [&str; 26] = [
    "p",
    "div",
    "br",
    "hr",
    "li",
    "ul",
    "ol",
    "dl",
    "dt",
    "dd",
    "tr",
    "table",
    "section",
    "article",
    "header",
    "footer",
    "nav",
    "main",
    "aside",
    "form",
    "pre",
    "blockquote",
    "figure",
    "option",
    "h1",
    "h2",
];

/// The text of a page, with its title first and one line for each block.
pub(super) fn to_text(html: &str) -> String {
    let mut text = String::new();
    if let Some(title) = title(html) {
        text.push_str(&title);
        text.push_str("\n\n");
    }
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        push_words(&mut text, before);
        rest = after_tag(&mut text, tag);
    }
    push_words(&mut text, rest);
    tidy(&text)
}

fn title(html: &str) -> Option<String> {
    let start = find_ignoring_case(html, "<title")?;
    let inside = html.get(start..)?.split_once('>')?.1;
    let end = find_ignoring_case(inside, "</title")?;
    let title = decoded(inside.get(..end)?);
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    (!title.is_empty()).then_some(title)
}

/// Takes in a tag from behind its `<`; gives what comes after it.
fn after_tag<'a>(text: &mut String, tag: &'a str) -> &'a str {
    if let Some(comment) = tag.strip_prefix("!--") {
        return comment.split_once("-->").map_or("", |(_, after)| after);
    }
    let name_from = usize::from(tag.starts_with('/'));
    let name: String = tag
        .get(name_from..)
        .unwrap_or_default()
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    if name.is_empty() && !tag.starts_with(['/', '!', '?']) {
        text.push('<');
        return tag;
    }
    let after = end_of_tag(tag);
    if BLOCKS.contains(&name.as_str()) || (name.len() == 2 && name.starts_with('h')) {
        text.push('\n');
    } else if name_from == 1 && matches!(name.as_str(), "td" | "th") {
        text.push('\t');
    }
    if name == "li" && name_from == 0 {
        text.push_str("- ");
    }
    if name_from == 0 && HIDDEN.contains(&name.as_str()) {
        return behind_element(after, &name);
    }
    after
}

/// Behind the `>` that ends the tag; one within quotes does not.
fn end_of_tag(tag: &str) -> &str {
    let mut quote = None;
    for (at, c) in tag.char_indices() {
        match (quote, c) {
            (None, '>') => return tag.get(at + 1..).unwrap_or_default(),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    ""
}

fn behind_element<'a>(text: &'a str, name: &str) -> &'a str {
    let end = find_ignoring_case(text, &format!("</{name}"));
    end.and_then(|at| text.get(at..))
        .map_or("", |tag| tag.split_once('>').map_or("", |(_, after)| after))
}

fn find_ignoring_case(text: &str, wanted: &str) -> Option<usize> {
    text.as_bytes()
        .windows(wanted.len())
        .position(|window| window.eq_ignore_ascii_case(wanted.as_bytes()))
}

fn push_words(text: &mut String, raw: &str) {
    let spoken = decoded(raw);
    let mut words = spoken.split_whitespace();
    if spoken.starts_with(char::is_whitespace) {
        text.push(' ');
    }
    if let Some(first) = words.next() {
        text.push_str(first);
        for word in words {
            text.push(' ');
            text.push_str(word);
        }
        if spoken.ends_with(char::is_whitespace) {
            text.push(' ');
        }
    }
}

/// Character references that are met in texts; others stay as they are.
fn decoded(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('&') {
        text.push_str(before);
        let name: String = after.chars().take(12).take_while(|c| *c != ';').collect();
        let ends = after.get(name.len()..).is_some_and(|after| after.starts_with(';'));
        if let Some(c) = character(&name).filter(|_| ends) {
            text.push(c);
            rest = after.get(name.len() + 1..).unwrap_or_default();
        } else {
            text.push('&');
            rest = after;
        }
    }
    text + rest
}

fn character(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).filter(|c| *c != '\0');
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        "ndash" => '–',
        "mdash" => '—',
        "hellip" => '…',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "laquo" => '«',
        "raquo" => '»',
        "bull" => '•',
        "middot" => '·',
        "copy" => '©',
        "reg" => '®',
        "trade" => '™',
        "euro" => '€',
        "pound" => '£',
        "deg" => '°',
        "times" => '×',
        "auml" => 'ä',
        "ouml" => 'ö',
        "uuml" => 'ü',
        "Auml" => 'Ä',
        "Ouml" => 'Ö',
        "Uuml" => 'Ü',
        "szlig" => 'ß',
        "eacute" => 'é',
        "egrave" => 'è',
        "agrave" => 'à',
        "ccedil" => 'ç',
        "ntilde" => 'ñ',
        _ => return None,
    })
}

/// No spaces at the ends of lines, at most one empty line between two.
fn tidy(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        if !line.is_empty() || lines.last().is_some_and(|last| !last.is_empty()) {
            lines.push(line);
        }
    }
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_is_its_title_and_its_text() {
        let html =
            "<!doctype html><html><head><title>Bern &amp; \n more</title><style>p{}</style></head>
            <body><nav><a href='/x>y'>Home</a></nav><!-- <p>no</p> --><h1>Gr&uuml;ezi</h1>
            <p>One <b>two</b>,&nbsp;three&hellip;<br>four &unknown; 1 < 2</p>
            <script>if (a < b) { '</p>' }</script><ul><li>a</li><li>b &#x1F600;</li></ul>
            <table><tr><td>1</td><td>2</td></tr></table></body>";

        assert_eq!(
            to_text(html),
            "Bern & more\n\nHome\n\nGrüezi\n\nOne two, three…\nfour &unknown; 1 < 2\n\n- a\n\n- b 😀\n\n1\t2"
        );
    }

    #[test]
    fn what_never_ends_ends_the_text() {
        for html in ["a<script>b", "a<!-- b", "a<div title=\"b > c", "a<", "a</"] {
            assert!(to_text(html).starts_with('a'), "{html}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(html in "[<>/!&;a-z\"' é-]*") {
            let _ = to_text(&html);
        }
    }
}
