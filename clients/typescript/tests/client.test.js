/** Calls and watches over an injected fetch and an injected WebSocket. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError, HeadraceClient, UnreachableError, WaitTimeoutError } from "../src/index.js";

const JOB = { id: "j", state: "queued", event_seq: 1 };

/** Returns a fetch that gives these responses in turn and repeats the last one, and the requests it got. */
function fakeFetch(...responses) {
  const requests = [];
  const fetch = async (url, request) => {
    requests.push({ url, ...request });
    const response = responses[Math.min(requests.length, responses.length) - 1];
    if (response instanceof Error) throw response;
    const { body, status, headers } = response;
    return new Response(JSON.stringify(body), { status, headers });
  };
  return { requests, fetch };
}

/** Returns a socket that receives these messages, and then closes with that code. */
function fakeSocket(messages, code) {
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

test("a submission is retried with the same key", async () => {
  const { requests, fetch } = fakeFetch(
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
  assert.equal(new Set(requests.map((request) => request.headers["Idempotency-Key"])).size, 1);
  assert.equal(requests.length, 3);
  assert.equal(requests[0].headers.Authorization, "Bearer t");
  assert.deepEqual(JSON.parse(requests[0].body), { pipeline: "noop", params: {}, priority: 9 });
});

test("a cancel that may have arrived is not retried", async () => {
  const { requests, fetch } = fakeFetch(new TypeError("reset"));

  await assert.rejects(new HeadraceClient("http://here", { fetch }).cancel("j"), UnreachableError);

  assert.equal(requests.length, 1);
});

test("a problem response becomes an ApiError with its fields", async () => {
  const errors = [{ path: "$.params.count", message: "too small" }];
  const { fetch } = fakeFetch({ status: 422, body: { code: "params_invalid", detail: "no", errors } });

  await assert.rejects(
    new HeadraceClient("http://here", { fetch }).submit("ticks"),
    (error) =>
      error instanceof ApiError && error.code === "params_invalid" && error.errors[0].path === errors[0].path,
  );
});

test("a used up quota is retried and then reported with what is used of it", async () => {
  const body = { code: "quota_exceeded", detail: "full", quota: "queued_jobs", used: 3, limit: 3 };
  const { requests, fetch } = fakeFetch({ status: 429, body }, { status: 429, body });

  await assert.rejects(
    new HeadraceClient("http://here", { fetch, retries: 1 }).submit("ticks"),
    (error) => error instanceof ApiError && error.quota === "queued_jobs" && error.used === 3 && error.limit === 3,
  );

  assert.equal(requests.length, 2);
});

test("an injected WebSocket is used and gets the headers", async () => {
  const opened = [];
  const webSocket = (url, headers) => {
    opened.push([url, headers]);
    return fakeSocket([[{ type: "log", seq: 1 }], { type: "end", state: "failed" }]);
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
  const socket = fakeSocket([
    { type: "log", seq: 1 },
    { type: "log", seq: 2 },
  ]);

  for await (const _ of new HeadraceClient("http://here", { webSocket: () => socket }).watch("j")) break;

  assert.ok(socket.isClosed);
});

test("an abort signal ends a watch", async () => {
  const socket = fakeSocket([{ type: "beat" }]);
  const controller = new AbortController();
  const client = new HeadraceClient("http://here", { webSocket: () => socket });

  const seen = (async () => {
    for await (const _ of client.watch("j", { signal: controller.signal }))
      controller.abort(new Error("enough"));
  })();

  await assert.rejects(seen, /enough/);
  assert.ok(socket.isClosed);
});

test("wait times out", async () => {
  const { fetch } = fakeFetch({ status: 200, body: { ...JOB, state: "running" } });
  const client = new HeadraceClient("http://here", {
    fetch,
    webSocket: () => fakeSocket([{ type: "beat" }]),
  });

  await assert.rejects(client.wait("j", { timeoutMs: 20 }), WaitTimeoutError);
});

async function all(frames) {
  const seen = [];
  for await (const frame of frames) seen.push(frame);
  return seen;
}
