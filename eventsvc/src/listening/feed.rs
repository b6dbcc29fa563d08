//! RSS and Atom, read leniently and within bounds. Nothing is fetched, and no entity is expanded but those every document
//! has, so a feed cannot make more of itself than it is.

use chrono::{DateTime, Utc};
use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};
use serde_json::{Value, json};

const MOST_ENTRIES: usize = 1000;
const DEEPEST: usize = 64;
const LONGEST_TEXT: usize = 256 * 1024;

/// An entry of a feed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entry {
    pub id: String,
    pub title: String,
    pub link: String,
    pub summary: String,
    pub content: String,
    pub author: String,
    pub categories: Vec<String>,
    pub published: Option<DateTime<Utc>>,
    pub updated: Option<DateTime<Utc>>,
}

impl Entry {
    /// What tells it from others: its id, or else where it leads, or else what it is called.
    pub(crate) fn key(&self) -> &str {
        [&self.id, &self.link, &self.title]
            .into_iter()
            .find(|text| !text.is_empty())
            .map_or("", |text| text)
    }

    /// As agents see it.
    pub(crate) fn payload(&self) -> Value {
        let time = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339());
        json!({
            "id": self.key(), "title": self.title, "link": self.link, "summary": self.summary,
            "content": self.content, "author": self.author, "categories": self.categories,
            "published": time(self.published), "updated": time(self.updated),
        })
    }
}

/// Reads a feed's entries in their order. The error says what is wrong with the document.
pub(crate) fn parse(document: &str) -> Result<Vec<Entry>, String> {
    let mut reader = Reader::from_str(document);
    reader.config_mut().check_end_names = false;
    let mut walk = Walk::default();
    loop {
        match reader.read_event().map_err(|error| format!("the feed is no XML: {error}"))? {
            Event::Start(start) => walk.open(&start)?,
            Event::Empty(start) => {
                walk.open(&start)?;
                walk.close();
            }
            Event::End(_) => walk.close(),
            Event::Text(text) => walk.text(&text.decode().unwrap_or_default()),
            Event::CData(text) => walk.text(&text.decode().unwrap_or_default()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(letter)) => walk.text(letter.encode_utf8(&mut [0; 4])),
                _ => walk.text(entity(&reference.decode().unwrap_or_default())),
            },
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
        if walk.entries.len() > MOST_ENTRIES {
            return Err(format!("the feed has more than {MOST_ENTRIES} entries"));
        }
    }
    if walk.feed { Ok(walk.entries) } else { Err("the document is neither RSS nor Atom".into()) }
}

fn entity(name: &str) -> &'static str {
    match name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        "nbsp" => " ",
        // A document's own entities are not read.
        _ => "",
    }
}

#[derive(Default)]
struct Walk {
    feed: bool,
    path: Vec<String>,
    /// The depth of the entry that is open.
    entry: Option<usize>,
    current: Entry,
    text: String,
    entries: Vec<Entry>,
}

impl Walk {
    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), String> {
        let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
        if self.path.is_empty() {
            self.feed = matches!(name.as_str(), "rss" | "feed" | "RDF");
        }
        if self.path.len() >= DEEPEST {
            return Err("the feed is nested too deeply".into());
        }
        if self.entry.is_none() && matches!(name.as_str(), "item" | "entry") {
            self.entry = Some(self.path.len());
            self.current = Entry::default();
        } else if self.entry.is_some_and(|at| self.path.len() == at + 1) {
            self.attributes(&name, start);
        }
        // Markup within a text is dropped and its text stays: what opens deeper does not begin a text of its own.
        if self.entry.is_none_or(|at| self.path.len() <= at + 1) {
            self.text.clear();
        }
        self.path.push(name);
        Ok(())
    }

    fn attributes(&mut self, name: &str, start: &BytesStart<'_>) {
        let get = |wanted: &str| {
            let found = start
                .attributes()
                .flatten()
                .find(|attribute| attribute.key.local_name().as_ref() == wanted.as_bytes())?;
            Some(found.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned())
        };
        match name {
            "link" => {
                let rel = get("rel").unwrap_or_else(|| "alternate".into());
                if let Some(href) = get("href").filter(|_| rel == "alternate") {
                    self.current.link = href;
                }
            }
            "category" => self.current.categories.extend(get("term")),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if self.entry.is_some() && self.text.len() + text.len() <= LONGEST_TEXT {
            self.text.push_str(text);
        }
    }

    fn close(&mut self) {
        let Some(name) = self.path.pop() else { return };
        let Some(at) = self.entry else { return };
        if self.path.len() == at {
            self.entry = None;
            self.entries.push(std::mem::take(&mut self.current));
        } else if self.path.len() == at + 1 {
            let text = self.text.trim().replace('\0', "");
            self.text.clear();
            self.field(&name, text);
        }
    }

    fn field(&mut self, name: &str, text: String) {
        if text.is_empty() {
            return;
        }
        let entry = &mut self.current;
        match name {
            "guid" | "id" => entry.id = text,
            "title" => entry.title = text,
            "link" => entry.link = text,
            "description" | "summary" => entry.summary = text,
            "encoded" | "content" => entry.content = text,
            "author" | "creator" => entry.author = text,
            "category" | "subject" => entry.categories.push(text),
            "pubDate" | "published" | "date" => entry.published = time(&text),
            "updated" => entry.updated = time(&text),
            _ => {}
        }
    }
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    let found = DateTime::parse_from_rfc2822(text).or_else(|_| DateTime::parse_from_rfc3339(text));
    found.ok().map(|at| at.to_utc())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rss_is_read() {
        let found = parse(
            r#"<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY x "boom">]>
            <rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>News</title>
            <item><guid isPermaLink="false">1</guid><title>A &amp; B &#169;</title><link>https://example.com/1</link>
              <description><![CDATA[<b>bold</b>]]></description><dc:creator>Ann</dc:creator><category>x</category>
              <category>y</category><pubDate>Tue, 10 Jun 2003 04:00:00 GMT</pubDate></item>
            <item><link>https://example.com/2</link><title>&x;plain</title></item>
            </channel></rss>"#,
        )
        .unwrap();

        let first = Entry {
            id: "1".into(),
            title: "A & B ©".into(),
            link: "https://example.com/1".into(),
            summary: "<b>bold</b>".into(),
            author: "Ann".into(),
            categories: vec!["x".into(), "y".into()],
            published: Some("2003-06-10T04:00:00Z".parse().unwrap()),
            ..Entry::default()
        };
        assert_eq!(found[0], first);
        assert_eq!((found[1].key(), found[1].title.as_str()), ("https://example.com/2", "plain"));
    }

    #[test]
    fn atom_is_read() {
        let found = parse(
            r#"<feed xmlns="http://www.w3.org/2005/Atom"><title>T</title><id>feed</id>
            <entry><id>urn:1</id><title type="html">One</title><link rel="self" href="https://a/self"/>
              <link href="https://a/1"/><updated>2026-01-02T03:04:05+01:00</updated>
              <content type="xhtml"><div>Hello <i>you</i></div></content>
              <author><name>Ann</name></author><category term="x"/></entry></feed>"#,
        )
        .unwrap();

        assert_eq!(found.len(), 1);
        let entry = &found[0];
        assert_eq!((entry.key(), entry.link.as_str()), ("urn:1", "https://a/1"));
        assert_eq!((entry.content.as_str(), entry.author.as_str()), ("Hello you", "Ann"));
        assert_eq!(entry.updated, Some("2026-01-02T02:04:05Z".parse().unwrap()));
        assert_eq!(entry.categories, ["x"]);
    }

    #[test]
    fn what_is_no_feed_says_so() {
        let deep = "<rss>".to_owned() + &"<a>".repeat(100);
        for (document, why) in [
            ("<html><item/></html>", "neither RSS nor Atom"),
            ("", "neither RSS nor Atom"),
            ("<rss><item>", ""),
            (deep.as_str(), "nested too deeply"),
            (&format!("<rss>{}</rss>", "<item/>".repeat(1001)), "more than 1000"),
        ] {
            if why.is_empty() {
                assert_eq!(parse(document), Ok(Vec::new()));
            } else {
                assert!(parse(document).unwrap_err().contains(why), "{document}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_document_breaks_the_reader(
            parts in prop::collection::vec(prop::sample::select(&[
                "<rss>", "<feed>", "<item>", "</item>", "<entry>", "</entry>", "<guid>", "</guid>", "<link href='a'/>",
                "<title>", "</title>", "&amp;", "&#1;", "&#x110000;", "&x;", "<![CDATA[", "]]>", "<!--", "-->", "\u{0}",
                "<a b=c d>", "é", "<pubDate>", "</pubDate>", "Tue, 10 Jun 2003", "<?", "<!DOCTYPE a [", "<", ">",
            ][..]), 0..40)
        ) {
            if let Ok(entries) = parse(&parts.concat()) {
                for entry in entries {
                    let _ = (entry.key(), entry.payload());
                }
            }
        }
    }
}
