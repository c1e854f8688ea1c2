/** A client of one service for one caller, in a browser or in Node. */

import { API, Calls } from "./calls.js";
import { HeadraceClientError, LostError, WaitTimeoutError, WatchRefusedError } from "./errors.js";
import { Position } from "./position.js";
import { CODES, framesOfEvents, NOTHING_LEFT } from "./server_events.js";
import { framesOfSocket } from "./socket.js";
import { linked, pause } from "./timing.js";

const FINAL = new Set(["succeeded", "failed", "cancelled"]);

export class HeadraceClient {
  #headers;
  #fetch;
  #webSocket;
  #calls;

  /** `index.d.ts` describes the options. */
  constructor(url = globalThis.location?.origin ?? "http://127.0.0.1:8000", options = {}) {
    const { protocol } = new URL(url);
    if (protocol !== "http:" && protocol !== "https:") {
      throw new HeadraceClientError(`${url} is not the URL of a service`);
    }
    this.url = url.replace(/\/+$/, "");
    const { token, fetch = globalThis.fetch, retries = 3, timeoutMs = 30_000 } = options;
    this.#headers = token ? { Authorization: `Bearer ${token}` } : {};
    // Called without `this`: the `fetch` of a browser accepts no other object than its window.
    this.#fetch = (...call) => fetch(...call);
    this.#webSocket = options.webSocket === undefined ? openPlain(token) : options.webSocket;
    this.#calls = new Calls(this.url, this.#headers, this.#fetch, retries, timeoutMs);
  }

  /** Submit a job; it is stored when the call returns. The same key again returns the same job. */
  async submit(pipeline, params = {}, { key = newKey(), signal, ...more } = {}) {
    return this.#calls.send("POST", "/jobs", {
      body: { pipeline, params, ...more },
      key,
      isRepeatable: true,
      signal,
    });
  }

  async show(jobId, { signal } = {}) {
    return this.#calls.send("GET", pathOf(jobId), { isRepeatable: true, signal });
  }

  async cancel(jobId, { signal } = {}) {
    return this.#calls.send("POST", `${pathOf(jobId)}/cancel`, { signal });
  }

  async retry(jobId, { signal } = {}) {
    return this.#calls.send("POST", `${pathOf(jobId)}/retry`, { signal });
  }

  /** Wait until the job has ended and return it. */
  async wait(jobId, { timeoutMs, patienceMs, signal } = {}) {
    const { controller, release } = linked(signal);
    const late = new WaitTimeoutError(jobId);
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => controller.abort(late), timeoutMs);
    try {
      while (true) {
        const job = await this.show(jobId, { signal: controller.signal });
        if (FINAL.has(job.state)) return job;
        const frames = this.watch(jobId, { after: job.event_seq, patienceMs, signal: controller.signal });
        for await (const _ of frames);
      }
    } finally {
      clearTimeout(timer);
      release();
    }
  }

  /** Yield each event after `after` once and in order, other frames between them, and `end` last. */
  async *watch(jobId, { after = 0, signal, patienceMs = 60_000, firstPatienceMs, tell } = {}) {
    const position = new Position({ url: this.url, jobId, after, patienceMs, firstPatienceMs, tell });
    while (!position.isOver) {
      try {
        for await (const frames of this.#connect(position, signal)) {
          const known = frames === NOTHING_LEFT ? await this.#conclude(jobId, signal) : frames;
          for (const frame of known) {
            if (position.advance(frame)) yield frame;
          }
          if (position.isOver) return;
        }
        throw new LostError("the connection was closed");
      } catch (error) {
        if (!(error instanceof LostError)) throw error;
        const refusal = refusalOf(error, position);
        if (refusal) throw refusal;
        await pause(position.lost(error.message, performance.now()), signal);
      }
    }
  }

  #connect(position, signal) {
    const job = API + pathOf(position.jobId);
    const after = `after=${position.cursor}`;
    if (!this.#webSocket) {
      return framesOfEvents(this.#fetch, `${this.url}${job}/stream?${after}`, this.#headers, signal);
    }
    const url = `${this.url.replace(/^http/, "ws")}${job}/ws?${after}&batch=true`;
    return framesOfSocket(() => this.#webSocket(url, this.#headers), signal);
  }

  /** Return the `end` frame of a job that has ended and whose events are all known. */
  async #conclude(jobId, signal) {
    const job = await this.show(jobId, { signal }).catch((error) => {
      throw error instanceof HeadraceClientError ? new LostError(error.message, CODES[error.status]) : error;
    });
    const hello = { type: "hello", job_id: job.id, head: job.event_seq, job };
    return FINAL.has(job.state) ? [hello, { type: "end", state: job.state }] : [hello];
  }
}

/** A WebSocket of a browser sends no headers, so a token needs server-sent events. */
function openPlain(token) {
  return typeof globalThis.WebSocket === "function" && !token ? (url) => new globalThis.WebSocket(url) : null;
}

function refusalOf(lost, position) {
  const { status } = lost;
  const isStranger = status !== undefined && lost.code === undefined && status < 500 && status !== 429;
  if (isStranger) {
    return new WatchRefusedError(position.jobId, "not_headrace", `${lost.message}: it is not Headrace`);
  }
  return position.refusal(lost.code, lost.reason);
}

function pathOf(jobId) {
  return `/jobs/${encodeURIComponent(jobId)}`;
}

/** Not `randomUUID`, which browsers offer only on secure origins. */
function newKey() {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
