use crate::bench::Bench;
use crate::library::What;

/// `agentcore` by itself: the same agent with a tool in memory, over HTTP to the mock.
pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    for (in_flight, threads) in [(1, 1), (64, 1), (64, 2)] {
        let name = format!("agentcore, {in_flight} in flight, {threads} thread(s)");
        crate::progress(&name);
        let figure = crate::library::repeat(bench, What::Mock, in_flight, threads).await?;
        bench.report.row("library runs", &name, figure);
    }
    for (what, says) in [(What::Sim, "on sim"), (What::Swarm, "swarm of three on sim")] {
        for threads in [1, 2] {
            let figure = crate::library::repeat(bench, what, 64, threads).await?;
            let name = format!("agentcore, {says}, 64 in flight, {threads} thread(s)");
            bench.report.row("library in process", &name, figure);
        }
    }
    Ok(())
}
