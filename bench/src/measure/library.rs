use crate::bench::Bench;

/// `agentcore` by itself: the same agent with a tool in memory, over HTTP to the mock.
pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    for (in_flight, threads) in [(1, 1), (64, 1), (64, 2)] {
        let name = format!("agentcore, {in_flight} in flight, {threads} thread(s)");
        crate::progress(&name);
        let figure = crate::library::repeat(bench, in_flight, threads).await?;
        bench.report.row("library runs", &name, figure);
    }
    Ok(())
}
