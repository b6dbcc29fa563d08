use localdeps::{Home, Postgres, PostgresOptions};
use sqlx::{Connection, PgConnection};

use crate::is_alive;

fn fast(home: &Home) -> PostgresOptions {
    PostgresOptions { durable: false, ..home.postgres() }
}

async fn ask(url: &str, sql: &'static str) -> Result<String, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query_scalar(sql).fetch_one(&mut connection).await
}

#[tokio::test]
async fn two_instances_run_side_by_side_and_ask_for_passwords() {
    let (one, two) = (Home::temporary().unwrap(), Home::temporary().unwrap());
    let (first, second) = tokio::join!(Postgres::start(fast(&one)), Postgres::start(fast(&two)));
    let (first, mut second) = (first.unwrap(), second.unwrap());
    assert_ne!(first.port(), second.port());

    let fsync = "select current_setting('fsync')";
    assert_eq!(ask(&first.admin_url(), fsync).await.unwrap(), "off");
    for guess in [
        first.url("postgres", "guess", "postgres"),
        first.socket_url("postgres", "guess", "postgres"),
        first.url("postgres", "", "postgres"),
    ] {
        let refused = ask(&guess, fsync).await.unwrap_err().to_string();
        assert!(refused.contains("password"), "{refused}");
    }

    let password = std::fs::read_to_string(one.state().join("postgres.password")).unwrap();
    let by_socket = first.socket_url("postgres", &password, "postgres");
    let address = "select coalesce(host(inet_server_addr()), 'socket')";
    assert_eq!(ask(&by_socket, address).await.unwrap(), "socket");

    let pid = second.pid();
    second.stop().await;
    assert!(!is_alive(pid));
    let pid = first.pid();
    drop(first);
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn postgres_recovers_its_data_after_a_crash() {
    let home = Home::temporary().unwrap();
    // What a killed first start leaves behind.
    std::fs::create_dir(home.state().join("postgres.new")).unwrap();
    std::fs::write(home.state().join("postgres.new/PG_VERSION"), "15").unwrap();

    let mut postgres = Postgres::start(home.postgres()).await.unwrap();
    let made = "create table kept as select 'yes' as answer";
    let mut connection = PgConnection::connect(&postgres.admin_url()).await.unwrap();
    sqlx::query(made).execute(&mut connection).await.unwrap();
    postgres.kill().await;
    drop(postgres);

    // The dead server's number now belongs to a program that is no server: this one.
    let pid_file = home.state().join("postgres/postmaster.pid");
    let stale = std::fs::read_to_string(&pid_file).unwrap();
    let (_, rest) = stale.split_once('\n').unwrap();
    std::fs::write(&pid_file, format!("{}\n{rest}", std::process::id())).unwrap();

    let mut postgres = Postgres::start(home.postgres()).await.unwrap();
    let kept = "select answer from kept";
    assert_eq!(ask(&postgres.admin_url(), kept).await.unwrap(), "yes");
    assert_eq!(ask(&postgres.admin_url(), "show fsync").await.unwrap(), "on");
    let port = postgres.port();
    postgres.restart().await.unwrap();
    assert_eq!(postgres.port(), port);
    assert_eq!(ask(&postgres.admin_url(), kept).await.unwrap(), "yes");
}

#[tokio::test]
async fn one_data_folder_is_served_once() {
    let home = Home::temporary().unwrap();
    let first = Postgres::start(fast(&home)).await.unwrap();
    let refused = Postgres::start(fast(&home)).await.unwrap_err();
    assert!(refused.to_string().contains("in use"), "{refused}");
    assert!(is_alive(first.pid()));
}
