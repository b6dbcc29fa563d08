//! `bench`: how fast the platform is, beside the raw parts of the machine it runs on, in one go.
//!
//! Without a subcommand it starts everything it needs, measures, prints a table and leaves a JSON file. The subcommands
//! are the other processes of a run: the mock model, the raw parts, the library by itself.

mod bench;
mod figure;
mod fleet;
mod hooks;
mod library;
mod load;
mod measure;
mod mock;
mod parts;
mod peers;
mod proc;
mod process;
mod report;
mod webhook;
mod words;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser};

use bench::Bench;
use report::Report;

#[derive(Parser)]
#[command(about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args, Clone)]
struct Options {
    /// A few moments of everything, to see that it works; the figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Measure these only; may be said several times.
    #[arg(long, value_parser = PossibleValuesParser::new(measure::GROUPS))]
    only: Vec<String>,
    /// Say at the end which statements the database spent its time on.
    #[arg(long)]
    statements: bool,
    /// Where the `switchyard` to be measured is; beside this program unless said.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    /// Where results are kept.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    results: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// The same agent on other frameworks, beside ours.
    Peers {
        #[command(flatten)]
        options: Options,
        #[command(flatten)]
        programs: peers::Programs,
    },
    /// A webhook that waits for an answer, on n8n and on the platform.
    Hooks {
        #[command(flatten)]
        options: Options,
        #[command(flatten)]
        programs: hooks::Programs,
    },
    /// Answer as a model would, at once.
    Mock {
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: String,
    },
    /// Play a raw part.
    #[command(subcommand)]
    Part(parts::Part),
    /// Run an agent by the library alone.
    Library {
        #[arg(long, default_value = "mock")]
        what: library::What,
        #[arg(long)]
        url: String,
        #[arg(long)]
        in_flight: u32,
        #[arg(long)]
        threads: u32,
        #[arg(long)]
        millis: u64,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => alone(1, measure(cli.options)),
        Some(Command::Peers { options, programs }) => alone(1, compare(options, programs)),
        Some(Command::Hooks { options, programs }) => alone(1, answer(options, programs)),
        Some(Command::Mock { listen }) => alone(1, mock(listen)),
        Some(Command::Part(part)) => alone(2, parts::play(part)),
        Some(Command::Library { what, url, in_flight, threads, millis }) => {
            alone(threads, async move {
                let figure = library::load(what, &url, in_flight, threads, millis).await?;
                say(&serde_json::to_string(&figure)?)
            })
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Does something on so many threads; the client has one, so that what it measures has the rest of the machine.
fn alone(threads: u32, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = if threads == 1 {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    } else {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(threads as usize).enable_all().build()
    };
    runtime?.block_on(work)
}

async fn measure(options: Options) -> anyhow::Result<()> {
    with(&options, "bench", async |bench| measure::everything(bench, &options.only).await).await
}

async fn compare(options: Options, programs: peers::Programs) -> anyhow::Result<()> {
    with(&options, "peers", async |bench| peers::compare(bench, &programs).await).await
}

async fn answer(options: Options, programs: hooks::Programs) -> anyhow::Result<()> {
    with(&options, "hooks", async |bench| hooks::compare(bench, &programs).await).await
}

/// Sets up, measures, reports. Ctrl-C ends it, and with it everything it started.
async fn with(
    options: &Options,
    kind: &'static str,
    work: impl AsyncFnOnce(&mut Bench) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let beside = std::env::current_exe()?;
    let beside = beside.parent().unwrap_or(Path::new("."));
    let bin_dir = options.bin_dir.as_deref().unwrap_or(beside);
    let report = Report::new(kind, notes(options));
    let mut bench =
        Bench::start(bin_dir, dir.path(), (options.quick, options.statements), report).await?;
    let done = tokio::select! {
        done = work(&mut bench) => done,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("stopped")),
    };
    // What was measured before something went wrong is still worth reading.
    bench.report.finish();
    say(&bench.report.table())?;
    let path = bench.report.save(&options.results).context("the results are lost")?;
    tell(&format!("results are in {}", path.display()));
    done
}

fn notes(options: &Options) -> Vec<String> {
    let set = fleet::SETTINGS.map(|(name, value)| format!("{name}={value}"));
    let mut notes = vec![
        "client, mock model, NATS, Postgres and every service share the machine; the client has one thread".into(),
        "Postgres with fsync and synchronous_commit on, over its Unix socket, noting times of commit".into(),
        format!("set otherwise than by default: {}", set.join(" ")),
    ];
    if options.statements {
        notes.push("Postgres notes every statement, which costs a little".into());
    }
    if options.quick {
        notes.push("QUICK: a smoke test, not a measurement".into());
    }
    notes
}

/// Results go to standard output.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Everything else goes to standard error.
fn tell(text: &str) {
    // Nobody may be listening there.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says what is measured next.
fn progress(what: &str) {
    tell(&format!("  {what}"));
}

async fn mock(listen: String) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    parts::listening(listener.local_addr()?)?;
    mock::serve(listener).await
}
