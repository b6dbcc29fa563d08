//! A webhook that waits for an answer, on the platform and on n8n, one after the other in one run: the sender posts JSON, a
//! model is asked once about it, and what it says is the HTTP answer.
//!
//! Ours is a signed delivery through the gateway at a trigger with `respond: result`; it is verified, stored, and made a
//! durable run of an agent. Theirs is the workflow Webhook → HTTP Request → Respond to Webhook, which is neither signed nor
//! recorded before it is done. The model is the same mock, and each has a Postgres of its own with durable commits.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::Args;
use localdeps::{Home, Postgres};
use nix::sys::signal::Signal;
use serde_json::json;
use shared_models::Service;

use crate::{
    bench::Bench,
    figure::Figure,
    fleet::{Fleet, Hook, Settled, text},
    load::{Connection, Plan, Same, request},
    proc::Processes,
    process::{Process, Program},
    tell,
    webhook::{BODY, Deliveries},
};

/// Where n8n is; `make bench-n8n` installs it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Programs {
    /// The Node.js that it runs on.
    #[arg(long)]
    node: PathBuf,
    /// The `n8n` in its package.
    #[arg(long)]
    n8n: PathBuf,
    /// What it does with a webhook.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/n8n/workflow.json"))]
    workflow: PathBuf,
}

const GROUP: &str = "webhook to answer";
const CONNECTIONS: [usize; 2] = [1, 64];
/// As it comes, and with its faster, older way of evaluating expressions.
const VARIANTS: [(&str, &[(&str, &str)]); 2] =
    [("n8n", &[]), ("n8n with legacy expressions", &[("N8N_EXPRESSION_ENGINE", "legacy")])];
/// How long it may take until its webhook answers.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn compare(bench: &mut Bench, programs: &Programs) -> anyhow::Result<()> {
    let mut plan = bench.plan.at_most(3);
    if !bench.quick {
        (plan.warm_up, plan.measure) = (Duration::from_secs(5), Duration::from_secs(10));
    }
    tell("webhook to answer, ours");
    ours(bench, plan).await?;
    for (name, vars) in VARIANTS {
        tell(&format!("webhook to answer, {name}"));
        theirs(bench, plan, programs, (name, vars)).await?;
    }
    Ok(())
}

async fn ours(bench: &mut Bench, plan: Plan) -> anyhow::Result<()> {
    let fleet = Fleet::start(bench).await?;
    let agent = fleet.api.agent("answering", "mock", None).await?;
    let trigger =
        json!({ "system": "webhook", "options": {}, "respond": "result", "respond_seconds": 60 });
    let made = fleet.api.post(&format!("/agent/{}/trigger", agent.id), &trigger).await?;
    let hook = Hook { path: text(&made, "hook_url")?, secret: text(&made, "signing_secret")? };
    let mut settled = Settled::new(&fleet).await?;
    for connections in CONNECTIONS {
        crate::progress(&format!("switchyard, {connections} connections"));
        let processes = bench.with_mock(&fleet.processes());
        let door = fleet.door(Service::Gateway);
        let make = |count| {
            let deliveries = Deliveries::sign(&hook.path, &hook.secret, count);
            deliveries.answered(200, "all is well")
        };
        let figure = bench.measure((door, connections), plan, &processes, make, async |figure| {
            settled.everything().await?;
            Ok(figure)
        });
        let figure = with_memory(figure.await?, &fleet.own_processes());
        bench.report.row(GROUP, &format!("switchyard, {connections} connections"), figure);
    }
    fleet.stop().await
}

async fn theirs(
    bench: &mut Bench,
    plan: Plan,
    programs: &Programs,
    (name, vars): (&str, &[(&str, &str)]),
) -> anyhow::Result<()> {
    let home = Home::temporary()?;
    let mut postgres = Postgres::start(home.postgres()).await?;
    let mut n8n = N8n::prepare(bench, programs, &postgres, vars)?;
    n8n.start().await?;
    let mut processes = Processes::default();
    processes.add_family("postgres", postgres.pid());
    processes.add("client", std::process::id());
    for connections in CONNECTIONS {
        crate::progress(&format!("{name}, {connections} connections"));
        let pid = n8n.pid()?;
        let mut processes = bench.with_mock(&processes);
        processes.add_family("n8n", pid);
        let make = |_| post();
        let load = (n8n.door, connections);
        let figure = bench.measure(load, plan, &processes, make, async |figure| Ok(figure)).await?;
        let mut own = Processes::default();
        own.add("n8n", pid);
        let figure = with_memory(figure, &own);
        bench.report.row(GROUP, &format!("{name}, {connections} connections"), figure);
    }
    n8n.stop().await?;
    postgres.stop().await;
    Ok(())
}

fn with_memory(figure: Figure, processes: &Processes) -> Figure {
    figure.with("memory MB", processes.memory().values().sum())
}

/// An unsigned delivery to its webhook.
fn post() -> Same {
    let headers = [("content-type", "application/json")];
    let request = request("POST", "/webhook/bench", &headers, BODY.as_bytes());
    Same { request, status: 200, contains: "all is well" }
}

/// An n8n by itself.
struct N8n {
    node: PathBuf,
    program: PathBuf,
    dir: PathBuf,
    vars: BTreeMap<String, String>,
    door: SocketAddr,
    running: Option<Process>,
}

impl N8n {
    /// Lays out its folder, and writes down what it shall do.
    fn prepare(
        bench: &Bench,
        programs: &Programs,
        postgres: &Postgres,
        vars: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let dir = bench.dir.join(format!("n8n-{}", rand::random::<u32>()));
        std::fs::create_dir_all(&dir)?;
        let workflow = std::fs::read_to_string(&programs.workflow)
            .with_context(|| format!("cannot read {}", programs.workflow.display()))?;
        let workflow = workflow.replace("MODEL_URL", &format!("http://{}/v1", bench.mock_at));
        std::fs::write(dir.join("workflow.json"), workflow)?;
        let node = std::path::absolute(&programs.node)?;
        let door = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut all = environment(&dir, &node, postgres, door)?;
        all.extend(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let program = std::path::absolute(&programs.n8n)?;
        Ok(Self { node, program, dir, vars: all, door, running: None })
    }

    fn program(&self, arguments: &[&str]) -> Program<'_> {
        let own = self.program.display().to_string();
        let arguments = std::iter::once(own).chain(arguments.iter().map(ToString::to_string));
        Program {
            path: &self.node,
            arguments: arguments.collect(),
            vars: self.vars.clone(),
            dir: &self.dir,
        }
    }

    /// Gives it its workflow, and waits until that answers.
    async fn start(&mut self) -> anyhow::Result<()> {
        self.program(&["import:workflow", "--input=workflow.json"]).output().await?;
        self.program(&["publish:workflow", "--id=hookModelAnswer1"]).output().await?;
        let started = Instant::now();
        self.running = Some(self.program(&["start"]).start("n8n")?);
        while !self.answers().await {
            if started.elapsed() > PATIENCE {
                let log = self.running.as_ref().map(Process::log_end).unwrap_or_default();
                bail!("n8n does not answer: {log}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn answers(&self) -> bool {
        let Ok(mut connection) = Connection::open(self.door).await else { return false };
        let answer = connection.exchange(&post().request).await;
        answer.is_ok_and(|answer| answer.unless(200, "all is well").is_none())
    }

    fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.running.as_ref().context("n8n is not running")?.pid())
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        match &mut self.running {
            Some(process) => process.stop(Signal::SIGTERM).await,
            None => Ok(()),
        }
    }
}

/// Its settings: Postgres, and nothing that would ask the world.
fn environment(
    dir: &Path,
    node: &Path,
    postgres: &Postgres,
    door: SocketAddr,
) -> anyhow::Result<BTreeMap<String, String>> {
    let admin: url::Url = postgres.admin_url().parse()?;
    let beside = node.parent().unwrap_or(Path::new("/usr/bin")).display();
    let vars = [
        ("PATH", format!("{beside}:/usr/local/bin:/usr/bin:/bin")),
        ("DB_TYPE", "postgresdb".into()),
        ("DB_POSTGRESDB_HOST", "127.0.0.1".into()),
        ("DB_POSTGRESDB_PORT", postgres.port().to_string()),
        ("DB_POSTGRESDB_DATABASE", "postgres".into()),
        ("DB_POSTGRESDB_USER", admin.username().into()),
        ("DB_POSTGRESDB_PASSWORD", admin.password().unwrap_or_default().into()),
        ("N8N_USER_FOLDER", dir.display().to_string()),
        ("N8N_LISTEN_ADDRESS", door.ip().to_string()),
        ("N8N_PORT", door.port().to_string()),
        (
            "N8N_RUNNERS_BROKER_PORT",
            TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string(),
        ),
        ("N8N_ENCRYPTION_KEY", "bench".into()),
        ("N8N_DIAGNOSTICS_ENABLED", "false".into()),
        ("N8N_VERSION_NOTIFICATIONS_ENABLED", "false".into()),
        ("N8N_TEMPLATES_ENABLED", "false".into()),
        ("N8N_PERSONALIZATION_ENABLED", "false".into()),
    ];
    Ok(vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
