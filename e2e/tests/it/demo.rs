//! `switchyard init`, `demo-receiver` and `demo`: what containers run besides services.

use std::{collections::BTreeMap, time::Duration};

use e2e::{Fleet, Process, sign};
use testkit::{Api, eventually, eventually_within};

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_of_a_platform_elsewhere_is_made_once_and_works() {
    let fleet = Fleet::start(&[("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1")]).await;
    let (dir, none) = (tempfile::tempdir().unwrap(), BTreeMap::new());
    std::fs::write(dir.path().join("api-key"), &fleet.key).unwrap();
    let port = testkit::free_port();
    let listen = format!("127.0.0.1:{port}");
    let _receiver =
        Process::start(dir.path(), "receiver", &["demo-receiver", "--listen", &listen], &none);
    let notes = format!("http://{listen}/notes");
    eventually("the receiver to listen", async || {
        let asked = Process::run(dir.path(), "asked", &["healthcheck", &notes], &none);
        asked.0.success().then_some(())
    })
    .await;

    let (url, public) = (fleet.url(), "http://public.example");
    let arguments =
        ["demo", "--url", &url, "--public-url", public, "--receiver", &notes, "--home", "."];
    for name in ["first", "second"] {
        let (status, said) = Process::run(dir.path(), name, &arguments, &none);
        assert!(status.success() && said.contains("SIMULATED"), "{said}");
        assert!(said.contains(&format!("{public}/v1/hooks/")) && !said.contains(&url), "{said}");
    }
    let api = fleet.api();
    let agents = api.get("/v1/agents").await.expect(200);
    assert_eq!(agents["items"].as_array().unwrap().len(), 1, "{agents}");

    let env = std::fs::read_to_string(dir.path().join("env")).unwrap();
    let kept = |name: &str| {
        let line = env.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
        line.unwrap_or_else(|| panic!("no {name} in {env}")).to_owned()
    };
    let hook = kept("SWITCHYARD_DEMO_HOOK").replace(public, "");
    let signed = sign(&kept("SWITCHYARD_DEMO_SECRET"), "msg_1", r#"{"subject":"x"}"#);
    assert_eq!(signed.send(&Api::at(url.clone()), &hook).await.status, 202);
    eventually_within(Duration::from_secs(30), "the run to succeed", async || {
        let runs = api.get("/v1/runs?status=succeeded").await.expect(200);
        (runs["items"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    let (_, said) = Process::run(dir.path(), "notes", &["healthcheck", &notes], &none);
    assert!(said.contains(r#""total":1"#) && said.contains(r#""key_received":true"#), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_settings_that_cannot_be_read_is_a_problem_among_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let vars = BTreeMap::from([("SWITCHYARD_ENV_FILE".to_owned(), "nowhere".to_owned())]);

    let (status, _) = Process::run(dir.path(), "serve", &["serve", "engine"], &vars);

    let said = std::fs::read_to_string(dir.path().join("serve.log")).unwrap();
    assert_eq!(status.code(), Some(2));
    assert!(said.contains("SWITCHYARD_ENV_FILE: nowhere: "), "{said}");
}
