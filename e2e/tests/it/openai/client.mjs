// Drives the official client, as its own documentation does. Ends with a failure when anything differs.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI();
const messages = [{ role: "user", content: "Hello there" }];
const tools = [{ type: "function", function: { name: "look", description: "Looks something up.",
  parameters: { type: "object", properties: { q: { type: "string" } }, required: ["q"] } } }];

const names = [];
for await (const model of client.models.list()) names.push(model.id);
assert(names.includes("sim:echo") && names.includes("agent:greeter"), names.join());

const whole = await client.chat.completions.create({ model: "sim:echo", messages });
assert.equal(whole.choices[0].message.content, "Hello there");
assert.equal(whole.choices[0].finish_reason, "stop");

let said = "", usage = null;
const chunks = await client.chat.completions.create(
  { model: "sim:echo", messages, stream: true, stream_options: { include_usage: true } });
for await (const chunk of chunks) {
  said += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(said, "Hello there");
assert.equal(usage.completion_tokens, 2);

// The client puts the pieces of a stream together by itself, tool calls included.
const streamed = client.chat.completions.stream({ model: "sim:demo", messages, tools });
const called = await streamed.finalMessage();
assert.equal(called.tool_calls[0].function.name, "look");
const told = await client.chat.completions.create({ model: "sim:demo", tools, messages: [...messages, called,
  { role: "tool", tool_call_id: called.tool_calls[0].id, content: "found it" }] });
assert(told.choices[0].message.content.includes("found it"));

const { data, response } =
  await client.chat.completions.create({ model: "agent:greeter", messages }).withResponse();
assert.match(response.headers.get("x-run-id"), /^run_/);
assert.equal(data.choices[0].message.content, "You said Hello there");

const forced = await client.chat.completions.create({ model: "sim:demo", messages, tools,
  tool_choice: { type: "function", function: { name: "look" } } });
assert.equal(forced.choices[0].message.tool_calls[0].function.name, "look");

const schema = { type: "object", required: ["n"], properties: { n: { type: "integer" } } };
const formed = await client.chat.completions.parse({ model: "agent:echo",
  messages: [{ role: "user", content: '{"n": 7}' }],
  response_format: { type: "json_schema", json_schema: { name: "number", schema } } });
assert.deepEqual(JSON.parse(formed.choices[0].message.content), { n: 7 });

const runs = [];
for (let time = 0; time < 2; time++) {
  const { response } = await client.chat.completions.create({ model: "agent:greeter", messages },
    { headers: { "Idempotency-Key": "the-same-again" } }).withResponse();
  runs.push(response.headers.get("x-run-id"));
}
assert.equal(runs[0], runs[1]);

// The client asks for base64 by itself and turns it into numbers again.
const embedded = await client.embeddings.create({ model: "sim:embed", dimensions: 64,
  input: ["the cat sat", "the cat sat down", "quarterly figures"] });
const [a, b, c] = embedded.data.map((item) => item.embedding);
const alike = (x, y) => x.reduce((sum, value, at) => sum + value * y[at], 0);
assert.equal(a.length, 64);
assert(alike(a, b) > alike(a, c));

await assert.rejects(client.chat.completions.create({ model: "agent:nobody", messages }),
  (error) => error instanceof OpenAI.NotFoundError && error.code === "agent_not_found");
await assert.rejects(new OpenAI({ apiKey: "sy_wrong" }).models.list(), OpenAI.AuthenticationError);
