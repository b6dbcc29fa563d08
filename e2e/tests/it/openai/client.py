"""Drives the official client, as its own documentation does. Ends with a failure when anything differs."""

import asyncio
import json

import openai

client = openai.OpenAI()
ASK = [{"role": "user", "content": "Hello there"}]
TOOLS = [{"type": "function", "function": {
    "name": "look", "description": "Looks something up.",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}}}]

names = [model.id for model in client.models.list()]
assert "sim:echo" in names and "agent:greeter" in names, names
assert client.models.retrieve("sim:echo").owned_by == "sim"

whole = client.chat.completions.create(model="sim:echo", messages=ASK)
assert whole.choices[0].message.content == "Hello there", whole
assert whole.choices[0].finish_reason == "stop"
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens

said, usage = "", None
for chunk in client.chat.completions.create(
        model="sim:echo", messages=ASK, stream=True, stream_options={"include_usage": True}):
    said += "".join(choice.delta.content or "" for choice in chunk.choices)
    usage = chunk.usage or usage
assert said == "Hello there" and usage.completion_tokens == 2, (said, usage)

called = client.chat.completions.create(model="sim:demo", messages=ASK, tools=TOOLS)
call = called.choices[0].message.tool_calls[0]
assert called.choices[0].finish_reason == "tool_calls" and call.function.name == "look", called
told = client.chat.completions.create(model="sim:demo", tools=TOOLS, messages=[
    *ASK, called.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "found it"}])
assert "found it" in told.choices[0].message.content, told

raw = client.chat.completions.with_raw_response.create(model="agent:greeter", messages=ASK)
assert raw.headers["x-run-id"].startswith("run_"), raw.headers
assert raw.parse().choices[0].message.content == "You said Hello there"
stream = client.chat.completions.create(model="agent:greeter", messages=ASK, stream=True)
assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "You said Hello there"

forced = client.chat.completions.create(model="sim:demo", messages=ASK, tools=TOOLS,
    tool_choice={"type": "function", "function": {"name": "look"}})
assert forced.choices[0].message.tool_calls[0].function.name == "look", forced
refused = client.chat.completions.create(model="sim:demo", messages=ASK, tools=TOOLS, tool_choice="none")
assert refused.choices[0].message.tool_calls is None, refused

FORM = {"type": "json_schema", "json_schema": {"name": "number", "schema": {
    "type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}}}
formed = client.chat.completions.create(model="agent:echo", response_format=FORM,
    messages=[{"role": "user", "content": '{"n": 7}'}])
assert json.loads(formed.choices[0].message.content) == {"n": 7}, formed

once = {"Idempotency-Key": "the-same"}
runs = [client.chat.completions.with_raw_response.create(
    model="agent:greeter", messages=ASK, extra_headers=once).headers["x-run-id"] for _ in range(2)]
assert runs[0] == runs[1], runs

# The client asks for base64 by itself and turns it into numbers again.
vectors = [item.embedding for item in client.embeddings.create(
    model="sim:embed", input=["the cat sat", "the cat sat down", "quarterly figures"], dimensions=64).data]
alike = lambda a, b: sum(x * y for x, y in zip(a, b))
assert len(vectors[0]) == 64 and alike(vectors[0], vectors[1]) > alike(vectors[0], vectors[2]), vectors

try:
    client.chat.completions.create(model="agent:nobody", messages=ASK)
    raise SystemExit("an agent that is not there has answered")
except openai.NotFoundError as error:
    assert error.code == "agent_not_found" and error.type == "invalid_request_error", error
try:
    client.with_options(max_retries=0).chat.completions.create(model="sim:echo", messages=[])
    raise SystemExit("nothing was said, and it was answered")
except openai.UnprocessableEntityError as error:
    assert error.param == "messages", error
try:
    openai.OpenAI(api_key="sy_wrong").models.list()
    raise SystemExit("anybody may ask")
except openai.AuthenticationError:
    pass


async def hang_up():
    stream = await openai.AsyncOpenAI().chat.completions.create(
        model="agent:slow", messages=ASK, stream=True, extra_body={"on_disconnect": "cancel"})
    print(stream.response.headers["x-run-id"])
    await stream.close()


asyncio.run(hang_up())
