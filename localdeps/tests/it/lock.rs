use localdeps::{Home, Lock};

#[test]
fn a_second_up_says_what_is_already_running() {
    let home = Home::temporary().unwrap();
    let first = Lock::take(home.dir()).unwrap();
    let starting = Lock::take(home.dir()).unwrap_err();
    assert_eq!(starting.to_string(), "already running (it is just starting)");

    first.publish("http://127.0.0.1:8080").unwrap();
    let running = Lock::take(home.dir()).unwrap_err();
    let pid = std::process::id();
    assert_eq!(
        running.to_string(),
        format!("already running at http://127.0.0.1:8080 (process {pid})")
    );

    drop(first);
    Lock::take(home.dir()).unwrap();
}
