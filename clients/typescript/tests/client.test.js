/** Calls and watches over a fetch and a WebSocket that are handed in. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError, HeadraceClient, UnreachableError, WaitTimeoutError } from "../src/index.js";

const JOB = { id: "j", state: "queued", event_seq: 1 };

/** A fetch that gives these answers in turn, the last one again and again; it notes what it was asked. */
function answers(...given) {
  const asked = [];
  const fetch = async (url, request) => {
    asked.push({ url, ...request });
    const answer = given[Math.min(asked.length, given.length) - 1];
    if (answer instanceof Error) throw answer;
    return new Response(JSON.stringify(answer.body), { status: answer.status, headers: answer.headers });
  };
  return { asked, fetch };
}

/** A socket that says that, and closes with that code. */
function socketThat(messages, code) {
  const socket = {
    onmessage: null,
    onerror: null,
    onclose: null,
    isClosed: false,
    close: () => (socket.isClosed = true),
  };
  queueMicrotask(() => {
    for (const message of messages) socket.onmessage({ data: JSON.stringify(message) });
    if (code) socket.onclose({ code, reason: "" });
  });
  return socket;
}

test("a submission is sent again with the same key", async () => {
  const { asked, fetch } = answers(
    { status: 503, body: { code: "database_unavailable" }, headers: { "Retry-After": "0" } },
    new TypeError("reset"),
    { status: 202, body: JOB },
  );

  const job = await new HeadraceClient("http://here", { fetch, token: "t" }).submit(
    "noop",
    {},
    { priority: 9 },
  );

  assert.deepEqual(job, JOB);
  assert.equal(new Set(asked.map((one) => one.headers["Idempotency-Key"])).size, 1);
  assert.equal(asked.length, 3);
  assert.equal(asked[0].headers.Authorization, "Bearer t");
  assert.deepEqual(JSON.parse(asked[0].body), { pipeline: "noop", params: {}, priority: 9 });
});

test("a cancel that may have arrived is not sent again", async () => {
  const { asked, fetch } = answers(new TypeError("reset"));

  await assert.rejects(new HeadraceClient("http://here", { fetch }).cancel("j"), UnreachableError);

  assert.equal(asked.length, 1);
});

test("a problem becomes an error with its parts", async () => {
  const errors = [{ path: "$.params.count", message: "too small" }];
  const { fetch } = answers({ status: 422, body: { code: "params_invalid", detail: "no", errors } });

  await assert.rejects(
    new HeadraceClient("http://here", { fetch }).submit("ticks"),
    (error) =>
      error instanceof ApiError && error.code === "params_invalid" && error.errors[0].path === errors[0].path,
  );
});

test("a socket is taken where there is one, and gets the headers", async () => {
  const opened = [];
  const webSocket = (url, headers) => {
    opened.push([url, headers]);
    return socketThat([[{ type: "log", seq: 1 }], { type: "end", state: "failed" }]);
  };
  const client = new HeadraceClient("https://here/below/", { token: "t", webSocket });

  const frames = await all(client.watch("j"));

  assert.deepEqual(
    frames.map((frame) => frame.type),
    ["log", "end"],
  );
  assert.deepEqual(opened, [
    ["wss://here/below/api/v1/jobs/j/ws?after=0&batch=true", { Authorization: "Bearer t" }],
  ]);
});

test("leaving a watch closes its socket", async () => {
  const socket = socketThat([
    { type: "log", seq: 1 },
    { type: "log", seq: 2 },
  ]);

  for await (const _ of new HeadraceClient("http://here", { webSocket: () => socket }).watch("j")) break;

  assert.ok(socket.isClosed);
});

test("a signal ends a watch that hears nothing", async () => {
  const socket = socketThat([{ type: "beat" }]);
  const controller = new AbortController();
  const client = new HeadraceClient("http://here", { webSocket: () => socket });

  const seen = (async () => {
    for await (const _ of client.watch("j", { signal: controller.signal }))
      controller.abort(new Error("enough"));
  })();

  await assert.rejects(seen, /enough/);
  assert.ok(socket.isClosed);
});

test("waiting ends in time", async () => {
  const { fetch } = answers({ status: 200, body: { ...JOB, state: "running" } });
  const client = new HeadraceClient("http://here", {
    fetch,
    webSocket: () => socketThat([{ type: "beat" }]),
  });

  await assert.rejects(client.wait("j", { timeoutMs: 20 }), WaitTimeoutError);
});

async function all(frames) {
  const seen = [];
  for await (const frame of frames) seen.push(frame);
  return seen;
}
