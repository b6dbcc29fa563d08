//! Looking after the keys of a laptop, with the commands as they are in the documentation.

use std::collections::BTreeMap;

use e2e::{Laptop, Process};

/// Runs a command in the folder of `up`, with no settings at all: exit code, and all it said.
fn command(laptop: &Laptop, name: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let (status, output) = Process::run(laptop.dir(), name, arguments, &BTreeMap::new());
    let log = std::fs::read_to_string(laptop.dir().join(format!("{name}.log"))).unwrap();
    (status.code(), output + &log)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_and_verified_beside_up_and_again_without_harm() {
    let laptop = Laptop::start(&[]).await;
    let tenant = laptop.env()["SWITCHYARD_TENANT"].clone();

    let (code, said) = command(&laptop, "verify", &["credentials", "verify"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("secrets open"), "{said}");
    for n in 1..=2 {
        let name = format!("rotate-{n}");
        let rotate = ["credentials", "rotate", "--tenant", &tenant];
        let (code, said) = command(&laptop, &name, &rotate);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("1 old keys retired"), "{said}");
        let root = command(&laptop, &format!("root-{n}"), &["credentials", "rotate", "--root"]);
        assert_eq!(root.0, Some(0), "{}", root.1);
        assert!(root.1.starts_with("0 tenant keys"), "{}", root.1);
    }
    let (code, said) = command(&laptop, "chains", &["audit", "verify"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("{tenant} intact, ")), "{said}");

    let made = command(&laptop, "made", &["credentials", "new-root-key", "new.key"]);
    let again = command(&laptop, "again", &["credentials", "new-root-key", "new.key"]);
    let nothing = command(&laptop, "nothing", &["credentials", "rotate"]);
    let other = ["credentials", "destroy-keys", "--tenant", &tenant, "--yes-destroy", OTHER];
    let other = command(&laptop, "other", &other);
    assert_eq!((made.0, again.0, nothing.0, other.0), (Some(0), Some(1), Some(1), Some(1)));
    assert!(made.1.contains("back it up"), "{}", made.1);
    assert!(again.1.contains("is there already"), "{}", again.1);
    assert!(nothing.1.contains("--root, --tenant <id> or --all-tenants"), "{}", nothing.1);
    assert!(other.1.contains("names another tenant"), "{}", other.1);
    let fired = laptop.api().get("/v1/agents").await;
    assert_eq!(fired.status, 200, "{}", fired.text);
}

const OTHER: &str = "ten_01990000000070008000000000000000";

#[test]
fn without_a_platform_every_missing_setting_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (status, _) = Process::run(dir.path(), "alone", &["audit", "verify"], &BTreeMap::new());

    let said = std::fs::read_to_string(dir.path().join("alone.log")).unwrap();
    assert_eq!(status.code(), Some(2), "{said}");
    for name in ["SWITCHYARD_DATABASE_URL", "SWITCHYARD_DATABASE_SYSTEM_URL"] {
        assert!(said.contains(name), "{said}");
    }
}
