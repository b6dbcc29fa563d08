"""The benchmark's agent on Python frameworks: one tool, two model calls.

Takes the options of `bench library` after the framework's name, and says a figure in the same form.
"""

import argparse
import asyncio
import json
import os
import resource
import time

INSTRUCTIONS = "Look it up, then answer in one sentence."
QUESTION = "What is the state of things?"
ANSWER = "all is well"


def openai_agents(url):
    from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
    from openai import AsyncOpenAI

    set_tracing_disabled(True)

    @function_tool
    def look_up(text: str) -> str:
        """Looks something up."""
        return '{"ok":true}'

    model = OpenAIChatCompletionsModel("mock", AsyncOpenAI(base_url=url, api_key="sk-bench"))
    agent = Agent(name="worker", instructions=INSTRUCTIONS, model=model, tools=[look_up])

    async def run():
        return (await Runner.run(agent, QUESTION)).final_output

    return run


def pydantic_ai(url):
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel("mock", provider=OpenAIProvider(base_url=url, api_key="sk-bench"))
    agent = Agent(model, instructions=INSTRUCTIONS)

    @agent.tool_plain
    def look_up(text: str) -> str:
        """Looks something up."""
        return '{"ok":true}'

    async def run():
        return (await agent.run(QUESTION)).output

    return run


def langgraph(url):
    from langchain_core.messages import SystemMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode, tools_condition

    @tool
    def look_up(text: str) -> str:
        """Looks something up."""
        return '{"ok":true}'

    model = ChatOpenAI(model="mock", base_url=url, api_key="sk-bench").bind_tools([look_up])

    async def ask(state):
        return {"messages": [await model.ainvoke([SystemMessage(INSTRUCTIONS), *state["messages"]])]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_node("tools", ToolNode([look_up]))
    graph.add_edge(START, "ask")
    graph.add_conditional_edges("ask", tools_condition)
    graph.add_edge("tools", "ask")
    agent = graph.compile()

    async def run():
        return (await agent.ainvoke({"messages": [("user", QUESTION)]}))["messages"][-1].content

    return run


FRAMEWORKS = {"openai-agents": openai_agents, "pydantic-ai": pydantic_ai, "langgraph": langgraph}


async def work(run, in_flight, seconds):
    until, times = time.perf_counter() + seconds, []

    async def one_after_the_other():
        while (sent := time.perf_counter()) < until:
            output = await run()
            if ANSWER not in output:
                raise RuntimeError(f"the agent said: {output}")
            times.append((time.perf_counter() - sent) * 1e3)

    await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))
    return sorted(times)


def percentile(times, percent):
    place = -(-len(times) * percent // 100)
    return times[max(int(place) - 1, 0)] if times else None


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("framework", choices=FRAMEWORKS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--threads", type=int, choices=[1], default=1)
    parser.add_argument("--millis", type=int, required=True)
    options = parser.parse_args()
    run = FRAMEWORKS[options.framework](options.url)
    seconds = options.millis / 1e3
    await work(run, options.in_flight, seconds / 4)
    before, started = time.process_time(), time.perf_counter()
    times = await work(run, options.in_flight, seconds)
    elapsed, cpu = time.perf_counter() - started, time.process_time() - before
    figure = {
        "per_second": len(times) / elapsed,
        "p50_ms": percentile(times, 50),
        "p99_ms": percentile(times, 99),
        "count": len(times),
        "more": {
            "cpu runner ms": cpu * 1e3 / max(len(times), 1),
            "memory MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        },
    }
    print(json.dumps(figure))


if __name__ == "__main__":
    # Nothing is to be sent anywhere but to the mock.
    os.environ.update(LANGSMITH_TRACING="false", OPENAI_AGENTS_DISABLE_TRACING="1")
    asyncio.run(main())
