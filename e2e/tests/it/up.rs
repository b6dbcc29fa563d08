//! `switchyard up` as a newcomer meets it.

use std::{collections::BTreeMap, process::Command, time::Duration};

use e2e::{Laptop, Process, sign};

use testkit::{Api, eventually_within};

/// Runs one of the printed commands as if pasted into a shell.
fn paste(output: &str, from: &str, to: &str) -> String {
    let start = output.find(from).unwrap_or_else(|| panic!("no `{from}` in {output}")) + from.len();
    let end = start + output[start..].find(to).unwrap_or_else(|| panic!("no `{to}` in {output}"));
    let ran = Command::new("bash").args(["-c", &output[start..end]]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_commands_fire_the_webhook_and_follow_its_run_to_the_end() {
    let mut laptop = Laptop::start(&[]).await;
    let output = laptop.process().output();
    assert!(output.contains("SIMULATED"), "{output}");
    let env = laptop.env();

    // Twice, since the commands are to be usable again and again.
    for _ in 0..2 {
        let fired = paste(&output, "1. Fire the demo webhook:", "2. Follow the latest run:");
        assert!(fired.starts_with("HTTP/1.1 202"), "{fired}");
    }
    let api = laptop.api();
    eventually_within(Duration::from_secs(30), "two succeeded runs", async || {
        let runs = api.get("/v1/runs?status=succeeded").await.expect(200);
        (runs["items"].as_array().unwrap().len() == 2).then_some(())
    })
    .await;
    let events = paste(&output, "2. Follow the latest run:", "Ctrl-C stops");
    assert!(events.contains("id:") && events.contains("succeeded"), "{events}");

    for name in [
        "SWITCHYARD_URL",
        "SWITCHYARD_API_KEY",
        "SWITCHYARD_TENANT",
        "SWITCHYARD_DEMO_HOOK",
        "SWITCHYARD_DEMO_SECRET",
    ] {
        assert!(env.contains_key(name), "{name} is not in {env:?}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(laptop.env_file()).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_up_says_what_runs_a_restart_keeps_the_data_and_ctrl_c_stops_all_of_it() {
    let mut laptop = Laptop::start(&[]).await;
    let env = laptop.env();

    let (status, _) = Process::run(laptop.dir(), "second", &["up"], laptop.vars());
    assert_eq!(status.code(), Some(3));
    let said = std::fs::read_to_string(laptop.dir().join("second.log")).unwrap();
    assert!(said.contains(&env["SWITCHYARD_URL"]), "{said}");

    let servers = children(laptop.process().pid());
    assert!(servers.len() >= 2, "{servers:?}");
    assert!(laptop.interrupt().success(), "{}", laptop.process().log());
    gone(&servers).await;

    laptop.again().await;
    let after = laptop.env();
    assert_eq!(env["SWITCHYARD_API_KEY"], after["SWITCHYARD_API_KEY"]);
    assert_eq!(env["SWITCHYARD_DEMO_SECRET"], after["SWITCHYARD_DEMO_SECRET"]);
    let agents = laptop.api().get("/v1/agents").await.expect(200);
    assert_eq!(agents["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_of_everything_the_next_up_recovers_and_finishes_what_was_accepted() {
    let mut laptop = Laptop::start(&[]).await;
    let env = laptop.env();
    let hook = env["SWITCHYARD_DEMO_HOOK"].strip_prefix(&env["SWITCHYARD_URL"]).unwrap().to_owned();
    let open = Api::at(env["SWITCHYARD_URL"].clone());
    for n in 0..5 {
        let signed =
            sign(&env["SWITCHYARD_DEMO_SECRET"], &format!("msg_{n}"), r#"{"subject":"x"}"#);
        assert_eq!(signed.send(&open, &hook).await.status, 202);
    }

    let servers = children(laptop.process().pid());
    laptop.process().kill();
    for server in &servers {
        // Some of them end by themselves when their parent does.
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(*server),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
    gone(&servers).await;
    laptop.again().await;

    let api = laptop.api();
    eventually_within(
        Duration::from_secs(60),
        "the five accepted deliveries to be runs that ended or ask",
        async || {
            let runs = api.get("/v1/runs").await.expect(200);
            let items = runs["items"].as_array().unwrap().clone();
            let settled = items.iter().filter(|run| {
                run["status"] == "succeeded"
                    || (run["status"] == "waiting" && run["wait_reason"] == "doubt")
            });
            assert!(items.len() <= 5, "{items:?}");
            (settled.count() == 5).then_some(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_in_the_middle_of_starting_stops_everything_and_a_lost_key_is_replaced() {
    let mut laptop = Laptop::starting(&[]);
    for said in ["starting Postgres", "preparing databases", "starting services"] {
        laptop.says(said).await;
        let servers = children(laptop.process().pid());
        assert!(laptop.interrupt().success(), "{said}: {}", laptop.process().log());
        gone(&servers).await;
        laptop.start_over();
    }
    laptop.ready().await;
    let first = laptop.env()["SWITCHYARD_API_KEY"].clone();

    // As after a crash between making the key and keeping it.
    assert!(laptop.interrupt().success());
    std::fs::remove_file(laptop.dir().join(".switchyard/api-key")).unwrap();
    laptop.again().await;

    assert_ne!(laptop.env()["SWITCHYARD_API_KEY"], first);
    laptop.api().get("/v1/me").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn help_version_and_configuration_are_helpful() {
    let dir = tempfile::tempdir().unwrap();
    let none = BTreeMap::new();

    let (status, version) = Process::run(dir.path(), "version", &["--version"], &none);
    assert!(status.success() && version.starts_with("switchyard "), "{version}");
    let (status, help) = Process::run(dir.path(), "help", &["--help"], &none);
    assert!(status.success());
    for command in ["up", "serve", "migrate", "config"] {
        assert!(help.contains(command), "{help}");
    }

    let bad = BTreeMap::from([
        ("SWITCHYARD_LISTEN".to_owned(), "nowhere".to_owned()),
        ("SWITCHYARD_DATABASE_URL".to_owned(), "postgres://u:hunter2@db/x".to_owned()),
    ]);
    let (status, shown) = Process::run(dir.path(), "config", &["config", "engine"], &bad);
    let problems = std::fs::read_to_string(dir.path().join("config.log")).unwrap();
    assert_eq!(status.code(), Some(2));
    for name in [
        "SWITCHYARD_LISTEN",
        "SWITCHYARD_DATABASE_SYSTEM_URL",
        "SWITCHYARD_SERVICE_KEY",
        "SWITCHYARD_NATS_PASSWORD",
    ] {
        assert!(problems.contains(name), "{name} is not in {problems}");
    }
    assert!(!shown.contains("hunter2") && !problems.contains("hunter2"), "{shown}{problems}");
    let (status, _) = Process::run(dir.path(), "serve", &["serve", "engine"], &bad);
    assert_eq!(status.code(), Some(2));
    let (status, _) = Process::run(dir.path(), "wrong", &["serve", "nobody"], &none);
    assert_eq!(status.code(), Some(2));
}

/// All processes below a process.
fn children(pid: u32) -> Vec<i32> {
    let listed = Command::new("ps").args(["-eo", "pid=,ppid="]).output().unwrap();
    let pairs: Vec<(i32, i32)> = String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().map(|word| word.parse().unwrap());
            Some((words.next()?, words.next()?))
        })
        .collect();
    let mut found = vec![pid as i32];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(pairs.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        at += 1;
    }
    found.split_off(1)
}

async fn gone(pids: &[i32]) {
    eventually_within(Duration::from_secs(15), "the servers to end", async || {
        let alive = pids
            .iter()
            .filter(|pid| std::path::Path::new(&format!("/proc/{pid}/exe")).read_link().is_ok());
        (alive.count() == 0).then_some(())
    })
    .await;
}
