use crate::{
    bench::Bench, fleet::Fleet, load::Plan, proc::Processes, process::Process, webhook::Deliveries,
};
use nix::sys::signal::Signal;

/// The limit that each of ours is held against.
pub(super) async fn measure(bench: &mut Bench, fleet: &Fleet) -> anyhow::Result<()> {
    let database = fleet.database()?;
    let servers = [
        ("axum", vec!["part".into(), "axum".into()]),
        (
            "axum + insert",
            vec!["part".into(), "insert".into(), "--database".into(), database.clone()],
        ),
        (
            "axum + groups",
            vec!["part".into(), "groups".into(), "--database".into(), database.clone()],
        ),
    ];
    for (name, arguments) in servers {
        let mut server = bench.own(&name.replace(" + ", "-"), arguments)?;
        doors(bench, fleet, name, &mut server).await?;
        server.stop(Signal::SIGTERM).await?;
    }
    let millis = bench.plan.measure.as_millis().to_string();
    for in_flight in [1, 64] {
        let name = format!("JetStream publish + ack, {in_flight} in flight");
        let password = fleet.secret("admin_nats_password")?;
        let url = fleet.nats.url();
        let arguments = [
            "part",
            "publish",
            "--url",
            &url,
            "--user",
            "admin",
            "--password",
            password,
            "--in-flight",
            &in_flight.to_string(),
            "--millis",
            &millis,
        ]
        .map(str::to_owned);
        clients(bench, &name, arguments.to_vec()).await?;
    }
    for connections in [1, 32] {
        select(bench, fleet, connections, false).await?;
    }
    Ok(())
}

/// Rows by key, opened or not.
pub(super) async fn select(
    bench: &mut Bench,
    fleet: &Fleet,
    connections: u32,
    open: bool,
) -> anyhow::Result<()> {
    let what = if open { "select by key + AES-GCM open" } else { "select by key" };
    let name = format!("Postgres {what}, {connections} connections");
    let (database, connections) = (fleet.database()?, connections.to_string());
    let millis = bench.plan.measure.as_millis().to_string();
    let mut arguments = vec!["part", "select", "--database", &database];
    arguments.extend(["--connections", &connections, "--millis", &millis]);
    arguments.extend(open.then_some("--open"));
    clients(bench, &name, arguments.into_iter().map(str::to_owned).collect()).await
}

async fn doors(
    bench: &mut Bench,
    fleet: &Fleet,
    name: &str,
    server: &mut Process,
) -> anyhow::Result<()> {
    let address = server.address().await?;
    let mut processes = Processes::default();
    processes.add("server", server.pid());
    processes.add_family("postgres", fleet.postgres.pid());
    processes.add("client", std::process::id());
    for connections in [1, 64, 256] {
        let name = format!("{name}, {connections} connections");
        crate::progress(&name);
        let make = |count| Deliveries::sign("/hook", "", count);
        let plan = Plan { repeats: bench.plan.repeats.min(3), ..bench.plan };
        let figure =
            bench.measure((address, connections), plan, &processes, make, async |f| Ok(f)).await?;
        bench.report.row("raw parts", &name, figure);
    }
    Ok(())
}

async fn clients(bench: &mut Bench, name: &str, arguments: Vec<String>) -> anyhow::Result<()> {
    crate::progress(name);
    let mut repeats = Vec::new();
    for _ in 0..bench.plan.repeats.min(3) {
        repeats.push(bench.told(arguments.clone()).await?);
    }
    bench.report.row("raw parts", name, crate::figure::Figure::median(repeats));
    Ok(())
}
