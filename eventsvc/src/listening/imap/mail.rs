//! A message as triggers see it. It comes from anybody: whatever is in it, something readable is made of it.

use chrono::{DateTime, Utc};
use mail_parser::{Addr, Address, MessageParser, MimeHeaders as _};
use serde_json::{Value, json};

use super::{LARGEST, session::Fetched};

/// Characters of a text that are shown.
const LONGEST_TEXT: usize = 100_000;
const LONGEST_FIELD: usize = 2_000;
const MOST_ADDRESSES: usize = 100;
const MOST_ATTACHMENTS: usize = 100;

/// What of a message filters, templates and agents are given.
pub(super) fn payload(message: &Fetched) -> Value {
    let mut payload = json!({
        "uid": message.uid,
        "size": message.size,
        "truncated": message.size.is_some_and(|size| size as usize > LARGEST),
        "received_at": message.arrived_at,
    });
    let Some(parsed) = MessageParser::default().parse(&message.body) else {
        payload["text"] = cut(&String::from_utf8_lossy(&message.body), LONGEST_TEXT).into();
        return payload;
    };
    let short = |text: Option<&str>| text.map(|text| cut(text, LONGEST_FIELD));
    let sent =
        parsed.date().and_then(|date| DateTime::<Utc>::from_timestamp(date.to_timestamp(), 0));
    let attachments: Vec<Value> = parsed
        .attachments()
        .take(MOST_ATTACHMENTS)
        .map(|part| {
            let kind = part.content_type();
            let kind = kind.map(|kind| match kind.subtype() {
                Some(subtype) => format!("{}/{subtype}", kind.ctype()),
                None => kind.ctype().to_owned(),
            });
            json!({ "name": short(part.attachment_name()), "type": kind.map(|kind| cut(&kind, 200)),
                "size": part.contents().len() })
        })
        .collect();
    payload["message_id"] = json!(short(parsed.message_id()));
    payload["in_reply_to"] = json!(short(parsed.in_reply_to().as_text()));
    payload["subject"] = json!(short(parsed.subject()));
    payload["from"] = people(parsed.from()).into_iter().next().unwrap_or_default();
    payload["to"] = people(parsed.to()).into();
    payload["cc"] = people(parsed.cc()).into();
    payload["reply_to"] = people(parsed.reply_to()).into();
    payload["sent_at"] = json!(sent);
    payload["text"] = json!(parsed.body_text(0).map(|text| cut(&text, LONGEST_TEXT)));
    payload["attachments"] = attachments.into();
    payload
}

fn people(address: Option<&Address<'_>>) -> Vec<Value> {
    let all = address.into_iter().flat_map(Address::iter).take(MOST_ADDRESSES);
    all.map(|one: &Addr<'_>| {
        let short = |text: Option<&str>| text.map(|text| cut(text, LONGEST_FIELD));
        json!({ "name": short(one.name()), "address": short(one.address()) })
    })
    .collect()
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &[u8]) -> Value {
        let body = body.to_vec();
        payload(&Fetched { uid: 7, size: Some(body.len() as u32), arrived_at: None, body })
    }

    #[test]
    fn a_message_is_told_by_its_fields_and_its_text() {
        let mail = b"From: =?utf-8?q?Ann_=C3=84?= <ann@example.com>\r\nTo: bob@example.com, c@example.com\r\n\
            Subject: Hello\r\nDate: Wed, 1 Jul 2026 12:00:00 +0200\r\nMessage-ID: <1@example.com>\r\n\
            Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>Hi &amp; bye</p>\r\n\
            --b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\nxyz\r\n--b--\r\n";

        let mail = read(mail);

        assert_eq!(mail["from"], json!({ "name": "Ann \u{c4}", "address": "ann@example.com" }));
        assert_eq!(mail["to"][1]["address"], "c@example.com");
        assert_eq!(
            (&mail["subject"], &mail["message_id"]),
            (&json!("Hello"), &json!("1@example.com"))
        );
        assert_eq!(mail["sent_at"], "2026-07-01T10:00:00Z");
        assert!(mail["text"].as_str().unwrap().contains("Hi & bye"), "{mail}");
        assert_eq!(mail["attachments"][0]["name"], "a.pdf");
        assert_eq!(mail["attachments"][0]["type"], "application/pdf");
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::sample::select(
                &[
                    "From: ",
                    "To: a@b, ",
                    "Subject: =?utf-8?b?",
                    "?=",
                    "\r\n",
                    "\r\n\r\n",
                    "--b\r\n",
                    "--b--",
                    "Content-Type: multipart/mixed; boundary=b\r\n",
                    "Content-Type: message/rfc822\r\n",
                    "Content-Type: text/html; charset=utf-7\r\n",
                    "Content-Transfer-Encoding: base64\r\n",
                    "Content-Transfer-Encoding: quoted-printable\r\n",
                    "Date: Wed, 99 Feb 99999 99:99:99 +9999\r\n",
                    "Content-Disposition: attachment; filename*0*=utf-8''%ff%\r\n",
                    "<p>&#x110000;&amp",
                    "=FF=",
                    "\"<(",
                ][..]
            )
            .prop_map(|text| text.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..12),
        ];
        prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_message_breaks_the_reader(mail in pieces()) {
            let mail = read(&mail);
            prop_assert!(mail.is_object());
        }
    }

    #[test]
    fn messages_within_messages_have_an_end() {
        let deep = "Content-Type: message/rfc822\r\n\r\n".repeat(5_000);
        let wide: Vec<String> = (0..5_000)
            .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
            .collect();

        for hostile in [deep, wide.concat()] {
            assert!(read(hostile.as_bytes()).is_object());
        }
    }
}
