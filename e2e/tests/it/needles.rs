//! What is searched for, and where.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use e2e::{Fleet, follow};
use serde_json::Value;
use shared_models::Service;

/// What was used, by kind.
#[derive(Default)]
pub(crate) struct Secrets(Vec<(String, String)>);

impl Secrets {
    pub(crate) fn add(&mut self, kind: &str, secret: &str) {
        assert!(secret.len() >= 16, "{kind} is too short to be told from chance: {secret}");
        self.0.push((kind.to_owned(), secret.to_owned()));
    }

    /// Several of a kind, of which there must be so many.
    pub(crate) fn add_all(&mut self, kind: &str, least: usize, secrets: &[String]) {
        assert!(secrets.len() >= least, "{} of {kind}", secrets.len());
        for secret in secrets {
            self.add(kind, secret);
        }
    }

    /// The kinds of those that are in a text: as they are, or as a database or a token would spell them. The mask may show
    /// the last four characters. A token that a service signs is one of its own kind.
    pub(crate) fn within(&self, text: &str) -> Vec<&str> {
        let found = self.0.iter().filter(|(_, secret)| {
            let part = &secret[..secret.len() - 4];
            // Only whole groups of three bytes are spelled the same wherever the secret ends.
            let groups = &part[..part.len() / 3 * 3];
            let forms = [
                part.to_owned(),
                hex(part),
                STANDARD_NO_PAD.encode(groups),
                URL_SAFE_NO_PAD.encode(groups),
            ];
            forms.iter().any(|form| text.contains(form))
        });
        let found = found.map(|(kind, _)| kind.as_str());
        found.chain(holds_a_token(text).then_some("signed token")).collect()
    }
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// `eyJ….….…`: a JWT with its signature.
fn holds_a_token(text: &str) -> bool {
    let within = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    text.match_indices("eyJ").any(|(at, _)| {
        let token = text[at..].split(|c| !within(c)).next().unwrap_or_default();
        let parts: Vec<&str> = token.split('.').collect();
        parts.len() >= 3 && parts[..3].iter().all(|part| part.len() >= 20)
    })
}

#[test]
fn the_search_finds_a_secret_however_it_is_spelled_and_a_signed_token() {
    let mut secrets = Secrets::default();
    secrets.add("password", "correct-horse-battery-staple");
    let token = format!("eyJ{0}.{0}.{0}", "a".repeat(20));

    for text in [
        "x correct-horse-battery-staple x".to_owned(),
        "the last four are gone: correct-horse-battery-st".to_owned(),
        format!("\\x{}", hex("correct-horse-battery-staple")),
        STANDARD_NO_PAD.encode("correct-horse-battery-staple"),
    ] {
        assert_eq!(secrets.within(&text), ["password"], "{text}");
    }
    assert_eq!(secrets.within(&format!("Bearer {token}")), ["signed token"]);
    assert!(secrets.within("…aple eyJhbGciOiJFZERTQSJ9.e30 correct-horse").is_empty());
}

/// Everything in the database, by Postgres's own dump program.
pub(crate) fn dump(fleet: &Fleet) -> String {
    let bin = localdeps::find::postgres_bin_dir().unwrap();
    let dumped = std::process::Command::new(bin.join("pg_dump"))
        .arg(format!("--dbname={}", fleet.postgres.admin_url()))
        .output()
        .unwrap();
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    String::from_utf8_lossy(&dumped.stdout).into_owned()
}

/// Every file of a folder that ends like this, one behind the other.
pub(crate) fn files(folder: &Path, end: &str) -> String {
    let mut text = String::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // What is gone meanwhile holds nothing.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                text.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()));
            }
        }
    }
    text
}

/// What the services and the servers have written to their standard output and error.
pub(crate) fn logs(fleet: &Fleet) -> String {
    let outputs = Service::ALL.iter().map(|service| {
        std::fs::read_to_string(fleet.logs_dir().join(format!("{service}.out"))).unwrap()
    });
    fleet.logs() + &outputs.collect::<String>() + &files(fleet.state(), ".log")
}

/// Every answer to a GET that the public API has: of each path whose parameters are known, for each of the known. Gives
/// also how many said something.
pub(crate) async fn shown(fleet: &Fleet, known: &BTreeMap<&str, Vec<String>>) -> (String, usize) {
    let api = fleet.api();
    let paths = api.get("/openapi.json").await.expect(200)["paths"].take();
    let (mut text, mut answers) = (String::new(), 0);
    for (path, operations) in paths.as_object().unwrap() {
        let endless =
            operations["get"]["responses"]["200"]["content"]["text/event-stream"].is_object();
        if operations["get"].is_null() || endless || path.starts_with("/v1/proxy/") {
            continue;
        }
        for path in filled(path, known) {
            let reply = api.get(&path).await;
            // What is not there (a trigger that has no listener, say) is told of, and that is searched as well.
            assert!(reply.status < 500, "{path}: {} {}", reply.status, reply.text);
            answers += usize::from(reply.status == 200);
            text.push_str(&reply.text);
        }
    }
    for run in &known["run_id"] {
        let _ = write!(text, "{:?}", follow(&fleet.url(), &fleet.key, run).await);
    }
    (text, answers)
}

/// The path with each value of its parameter; none when that is not known.
fn filled(path: &str, known: &BTreeMap<&str, Vec<String>>) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let (name, after) = rest.split_once('}').unwrap();
    let values = known.get(name).into_iter().flatten();
    values.flat_map(|value| filled(&format!("{before}{value}{after}"), known)).collect()
}

pub(crate) fn id(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap_or_else(|| panic!("no `{field}` in {body}")).to_owned()
}
