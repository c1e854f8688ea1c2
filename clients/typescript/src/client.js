/** A client of one service for one caller, in a browser or in Node. */

import { API, Calls } from "./calls.js";
import { HeadraceClientError, LostError, WaitTimeoutError } from "./errors.js";
import { Position, Reconnects } from "./position.js";
import { closeOf } from "./refusals.js";
import { idOf, pathOf, queryOf, Resources } from "./resources.js";
import { framesOfEvents, NOTHING_LEFT } from "./server_events.js";
import { framesOfSocket } from "./socket.js";
import { linked, pause } from "./timing.js";

const FINAL = new Set(["succeeded", "failed", "cancelled"]);

export class HeadraceClient extends Resources {
  #headers;
  #fetch;
  #webSocket;
  #calls;

  /** `index.d.ts` describes the options. */
  constructor(url = globalThis.location?.origin ?? "http://127.0.0.1:8000", options = {}) {
    super();
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

  /** Send a call of the REST API. */
  async send(method, path, options) {
    return this.#calls.send(method, path, options);
  }

  /** Wait until the job has ended and return it. */
  async wait(job, { timeoutMs, patienceMs, signal } = {}) {
    const { controller, release } = linked(signal);
    const late = new WaitTimeoutError(idOf(job));
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => controller.abort(late), timeoutMs);
    try {
      while (true) {
        const newest = await this.show(job, { signal: controller.signal });
        if (FINAL.has(newest.state)) return newest;
        const frames = this.watch(job, { after: newest.event_seq, patienceMs, signal: controller.signal });
        for await (const _ of frames);
      }
    } finally {
      clearTimeout(timer);
      release();
    }
  }

  /** Yield each event after `after` once and in order, other frames between them, and `end` last. */
  async *watch(job, { after = 0, signal, patienceMs = 60_000, firstPatienceMs, tell } = {}) {
    const jobId = idOf(job);
    const position = new Position({ url: this.url, jobId, after, patienceMs, firstPatienceMs, tell });
    yield* this.#follow(position, () => this.#connect(position, signal), signal);
  }

  /** Yield the newest jobs that match, and then each job that changes, until the caller leaves. */
  async *watchJobs({ signal, patienceMs = 60_000, firstPatienceMs, tell, ...filters } = {}) {
    if (!this.#webSocket) {
      throw new HeadraceClientError("all jobs come over a WebSocket only: pass one that sends the token");
    }
    const position = new Reconnects({ url: this.url, patienceMs, firstPatienceMs, tell });
    const url = this.#socketUrl(`/ws${queryOf({ ...filters, batch: true })}`);
    const connect = () => framesOfSocket(() => this.#webSocket(url, this.#headers), signal);
    yield* this.#follow(position, connect, signal);
  }

  /** Yield the frames of one connection after the other. */
  async *#follow(position, connect, signal) {
    while (!position.isOver) {
      try {
        for await (const frames of connect()) {
          const known = frames === NOTHING_LEFT ? await this.#conclude(position.jobId, signal) : frames;
          for (const frame of known) {
            if (position.advance(frame)) yield frame;
          }
          if (position.isOver) return;
        }
        throw new LostError("the connection was closed");
      } catch (error) {
        if (!(error instanceof LostError)) throw error;
        await pause(position.lost(position.reasonOf(error), performance.now()), signal);
      }
    }
  }

  #connect(position, signal) {
    const job = pathOf("jobs", position.jobId);
    const after = `after=${position.cursor}`;
    if (!this.#webSocket) {
      return framesOfEvents(this.#fetch, `${this.url}${API}${job}/stream?${after}`, this.#headers, signal);
    }
    const url = this.#socketUrl(`${job}/ws?${after}&batch=true`);
    return framesOfSocket(() => this.#webSocket(url, this.#headers), signal);
  }

  #socketUrl(path) {
    return this.url.replace(/^http/, "ws") + API + path;
  }

  /** Return the `end` frame of a job that has ended and whose events are all known. */
  async #conclude(jobId, signal) {
    const job = await this.show(jobId, { signal }).catch((error) => {
      if (!(error instanceof HeadraceClientError)) throw error;
      if (error.status === undefined) throw new LostError(error.message);
      throw LostError.ofStatus(error.status, closeOf(error.status, error), error);
    });
    const hello = { type: "hello", job_id: job.id, head: job.event_seq, job };
    return FINAL.has(job.state) ? [hello, { type: "end", state: job.state }] : [hello];
  }
}

/** A WebSocket of a browser sends no headers, so a token needs server-sent events. */
function openPlain(token) {
  return typeof globalThis.WebSocket === "function" && !token ? (url) => new globalThis.WebSocket(url) : null;
}
