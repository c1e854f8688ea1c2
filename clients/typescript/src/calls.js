/** Sends calls of the REST API, retries them where that is safe, and reports their errors. */

import { Backoff, MAX_REQUESTED_MS } from "./backoff.js";
import { ApiError, problemOf, UnreachableError } from "./errors.js";
import { linked, pause } from "./timing.js";

export const API = "/api/v1";
const TEMPORARY_STATUSES = new Set([429, 503]);
const GATEWAY_STATUSES = new Set([502, 504]);

export class Calls {
  #url;
  #headers;
  #fetch;
  #retries;
  #timeoutMs;

  constructor(url, headers, fetch, retries, timeoutMs) {
    this.#url = url;
    this.#headers = headers;
    this.#fetch = fetch;
    this.#retries = retries;
    this.#timeoutMs = timeoutMs;
  }

  /** Idempotent calls are retried when the connection is lost. */
  async send(method, path, { body, form, key, isBlob = false, isRepeatable = false, signal }) {
    const headers = { ...this.#headers };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (key !== undefined) headers["Idempotency-Key"] = key;
    const content = body === undefined ? form : JSON.stringify(body);
    const request = { method, headers, body: content };
    const backoff = new Backoff();
    for (let left = this.#retries; ; left -= 1) {
      const outcome = await this.#request(this.#url + API + path, request, isBlob, signal);
      if (outcome.ok) return outcome.body;
      const requestedMs = (outcome.error.retryAfter ?? 0) * 1000;
      const mayRepeat = outcome.status
        ? TEMPORARY_STATUSES.has(outcome.status) || (isRepeatable && GATEWAY_STATUSES.has(outcome.status))
        : isRepeatable;
      if (!mayRepeat || left <= 0 || requestedMs > MAX_REQUESTED_MS) throw outcome.error;
      await pause(backoff.pause() + requestedMs, signal);
    }
  }

  async #request(url, request, isBlob, signal) {
    const { controller, release } = linked(signal);
    const timer = setTimeout(() => controller.abort(), this.#timeoutMs);
    try {
      const answer = await this.#fetch(url, { ...request, signal: controller.signal });
      if (answer.ok && isBlob) return { ok: true, body: await answer.blob() };
      const text = await answer.text();
      if (!answer.ok) return { ok: false, status: answer.status, error: apiError(answer, text) };
      return { ok: true, body: text === "" ? {} : JSON.parse(text) };
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      const reason = error instanceof SyntaxError ? "the server is not Headrace" : "it does not answer";
      return { ok: false, error: new UnreachableError(this.#url, reason, { cause: error }) };
    } finally {
      clearTimeout(timer);
      release();
    }
  }
}

function apiError(answer, text) {
  const problem = problemOf(text);
  const retryAfter = answer.headers.get("Retry-After") ?? "";
  return new ApiError(
    answer.status,
    problem.code ?? "",
    problem.detail ?? `${answer.url} answers ${answer.status}`,
    problem.errors ?? [],
    /^\d+$/.test(retryAfter) ? Number(retryAfter) : undefined,
    problem,
  );
}
