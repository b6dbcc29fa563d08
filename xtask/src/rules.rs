//! The architecture's rules, as a test: who may depend on whom, whose tables SQL may name, how long
//! a file may get.

use std::path::Path;

use anyhow::bail;

use crate::shell::{files, metadata, root};

/// Each owns the schema of its name.
pub(crate) const SERVICES: [&str; 4] = ["credsvc", "eventsvc", "engine", "gateway"];

/// `shared-models ← dbutil ← pubsub ← servicekit ← services ← switchyard`; whoever is not named
/// here may depend on nothing of ours.
const MAY_USE: &[(&str, &[&str])] = &[
    ("agentcore", &["shared-models", "agentcore-macros"]),
    ("dbutil", &["shared-models"]),
    ("pubsub", &["shared-models", "dbutil"]),
    ("servicekit", &["shared-models", "dbutil", "pubsub"]),
    ("credsvc", &["shared-models", "dbutil", "pubsub", "servicekit"]),
    ("eventsvc", &["shared-models", "dbutil", "pubsub", "servicekit"]),
    ("gateway", &["shared-models", "dbutil", "pubsub", "servicekit"]),
    ("engine", &["shared-models", "dbutil", "pubsub", "servicekit", "agentcore"]),
    ("testkit", &["shared-models", "dbutil", "pubsub", "servicekit", "agentcore", "localdeps"]),
    ("xtask", &["localdeps"]),
];
/// These put the services together, so they may use anything but each other and the chores.
const ON_TOP: [&str; 3] = ["switchyard", "e2e", "bench"];
const NEVER_USED: [&str; 3] = ["e2e", "bench", "xtask"];
/// Tests of any crate may use these.
const FOR_TESTS: [&str; 2] = ["testkit", "localdeps"];

/// Reads every schema on purpose: it searches them for secrets, watches them fail, or counts what they did.
const READS_ALL_SCHEMAS: [&str; 3] = ["e2e", "bench", "xtask"];

/// At this length ask what the second thing in the file is.
const LONGEST_FILE: usize = 400;

/// Words of SQL that a table, function or schema name follows.
const BEFORE_A_NAME: &str = "from join into update table references on only exists truncate call function \
                             sequence select execute lateral";

pub(crate) fn check() -> anyhow::Result<()> {
    let metadata = metadata()?;
    let broken =
        [dependencies(&metadata), image(root(), &metadata), schemas(root()), lengths(root())]
            .concat();
    if !broken.is_empty() {
        bail!("the architecture's rules are broken:\n  {}", broken.join("\n  "));
    }
    Ok(())
}

fn dependencies(metadata: &serde_json::Value) -> Vec<String> {
    let items = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let packages = items(&metadata["packages"]);
    let ours: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut broken = Vec::new();
    for package in &packages {
        let user = package["name"].as_str().unwrap_or_default();
        for dependency in items(&package["dependencies"]) {
            let used = dependency["name"].as_str().unwrap_or_default();
            let in_tests = dependency["kind"].as_str() == Some("dev");
            if ours.contains(&used) && !may_use(user, used, in_tests) {
                broken.push(format!("{user} must not depend on {used}"));
            }
        }
    }
    broken
}

/// The image is built from all manifests first; its Dockerfile finds them by their depth.
fn image(root: &Path, metadata: &serde_json::Value) -> Vec<String> {
    let dockerfile = std::fs::read_to_string(root.join("deploy/Dockerfile")).unwrap_or_default();
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let manifests = packages.iter().filter_map(|package| package["manifest_path"].as_str());
    let ours = manifests.filter_map(|path| Path::new(path).strip_prefix(root).ok());
    ours.filter_map(|path| {
        let above = path.components().count() - 1;
        let pattern = format!(" {}Cargo.toml", "*/".repeat(above));
        let copied = dockerfile.matches(&pattern).count() == 2;
        (!copied).then(|| format!("deploy/Dockerfile leaves out {}", path.display()))
    })
    .collect()
}

fn may_use(user: &str, used: &str, in_tests: bool) -> bool {
    if NEVER_USED.contains(&used) {
        return false;
    }
    if in_tests && (FOR_TESTS.contains(&used) || user == used) {
        return true;
    }
    if ON_TOP.contains(&user) {
        // Whoever nobody uses is not shipped.
        return in_tests || used != "testkit" || NEVER_USED.contains(&user);
    }
    MAY_USE.iter().any(|(name, uses)| *name == user && uses.contains(&used))
}

fn schemas(root: &Path) -> Vec<String> {
    let mut broken = Vec::new();
    let mut look = |dir: &Path, owner: &str| {
        for file in files(dir, &["rs", "sql"]) {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            for (line, name) in foreign_names(&text, owner) {
                let file = file.strip_prefix(root).unwrap_or(&file).display();
                broken.push(format!("{file}:{line} names {name}, which is not {owner}'s"));
            }
        }
    };
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if READS_ALL_SCHEMAS.contains(&&*name) {
            continue;
        }
        look(&entry.path().join("src"), &name);
        // A library's tests borrow a service's schema, which is empty there.
        if SERVICES.contains(&&*name) {
            look(&entry.path().join("tests"), &name);
        }
    }
    for entry in std::fs::read_dir(root.join("migrations")).into_iter().flatten().flatten() {
        look(&entry.path(), &entry.file_name().to_string_lossy());
    }
    broken
}

/// Qualified names of other schemas where SQL expects a name, with their lines.
fn foreign_names(text: &str, owner: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut before = "";
    for (number, line) in text.lines().enumerate() {
        let code = line.trim_start();
        if code.starts_with("//") || code.starts_with("--") {
            continue;
        }
        let is_edge = |c: char| c.is_whitespace() || "(),;\"'".contains(c);
        for word in line.split(is_edge).filter(|word| !word.is_empty()) {
            let schema = word.split_once('.').map(|(schema, _)| schema);
            let foreign =
                schema.is_some_and(|schema| schema != owner && SERVICES.contains(&schema));
            if foreign && BEFORE_A_NAME.split(' ').any(|word| word == before) {
                found.push((number + 1, word.to_owned()));
            }
            before = word;
        }
    }
    found
}

fn lengths(root: &Path) -> Vec<String> {
    let mut broken = Vec::new();
    for file in files(root, &["rs"]) {
        let lines = std::fs::read_to_string(&file).unwrap_or_default().lines().count();
        if lines > LONGEST_FILE {
            let file = file.strip_prefix(root).unwrap_or(&file).display();
            broken.push(format!("{file} has {lines} lines, more than {LONGEST_FILE}"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{check, dependencies, foreign_names};

    #[test]
    fn the_workspace_keeps_its_rules() {
        check().unwrap();
    }

    #[test]
    fn a_service_that_depends_on_another_service_is_reported() {
        let uses = |name: &str, kind: Option<&str>| json!({ "name": name, "kind": kind });
        let metadata = json!({ "packages": [
            { "name": "shared-models", "dependencies": [uses("serde", None), uses("dbutil", None)] },
            { "name": "dbutil", "dependencies": [uses("shared-models", None), uses("testkit", Some("dev"))] },
            { "name": "engine", "dependencies": [uses("credsvc", Some("dev")), uses("testkit", None)] },
            { "name": "credsvc", "dependencies": [uses("dbutil", None)] },
            { "name": "testkit", "dependencies": [uses("engine", None)] },
            { "name": "switchyard", "dependencies": [uses("engine", None), uses("e2e", None)] },
            { "name": "e2e", "dependencies": [uses("engine", Some("dev")), uses("testkit", None)] },
        ] });

        assert_eq!(
            dependencies(&metadata),
            [
                "shared-models must not depend on dbutil",
                "engine must not depend on credsvc",
                "engine must not depend on testkit",
                "testkit must not depend on engine",
                "switchyard must not depend on e2e",
            ]
        );
    }

    #[test]
    fn sql_that_names_another_schema_is_reported() {
        let text = "
            // the rows from credsvc.credential arrive over HTTP
            select run_id from engine.run join credsvc.credential using (tenant_id)
            let answer = engine.start(gateway.url());
            insert into\n gateway.member (user_id) values ($1)
            update eventsvc.delivery set status = 'done'";

        let expected = [(3, "credsvc.credential"), (6, "gateway.member"), (7, "eventsvc.delivery")];
        let found = foreign_names(text, "engine");
        assert_eq!(found, expected.map(|(line, name)| (line, name.to_owned())));
    }
}
