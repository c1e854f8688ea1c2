/** Everything that can go wrong between this client and the service. */

export class HeadraceClientError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The service says no, in the form of RFC 9457; `code` is stable, `retryAfter` a pause in seconds. */
export class ApiError extends HeadraceClientError {
  constructor(status, code, detail, errors, retryAfter) {
    super([detail, ...errors.map((one) => `  ${one.path}: ${one.message}`)].join("\n"));
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.errors = errors;
    this.retryAfter = retryAfter;
  }
}

/** Nothing that is Headrace answers there. */
export class UnreachableError extends HeadraceClientError {
  constructor(url, reason, options) {
    super(`no service at ${url}${reason ? ` (${reason})` : ""}`, options);
    this.url = url;
  }
}

/**
 * This job cannot be watched, and asking again is no use. `code`: `job_not_found`, `job_deleted`,
 * `cursor_beyond_head`, `event_missing`, `unauthenticated`, or `not_headrace`.
 */
export class WatchRefusedError extends HeadraceClientError {
  constructor(jobId, code, message) {
    super(message);
    this.jobId = jobId;
    this.code = code;
  }
}

/** The service stayed away for longer than the patience of the watch. `after` is where to go on. */
export class GaveUpError extends HeadraceClientError {
  constructor(url, jobId, milliseconds, after) {
    const seconds = Math.round(milliseconds / 1000);
    super(`${url} has been away for ${seconds} s; job ${jobId} was seen up to event ${after}`);
    this.url = url;
    this.jobId = jobId;
    this.milliseconds = milliseconds;
    this.after = after;
  }
}

/** The job has not ended in the time that was given; it goes on. */
export class WaitTimeoutError extends HeadraceClientError {
  constructor(jobId) {
    super(`job ${jobId} has not ended in time; it goes on`);
    this.jobId = jobId;
  }
}

/** A connection is gone, and may be taken up again. Never leaves this package. */
export class LostError extends Error {
  /** @param {string} why @param {number} [code] the close code of a socket, or what stands for it */
  constructor(why, code, reason = "") {
    super(why);
    this.code = code;
    this.reason = reason;
  }
}

/** What an answer says in the form of RFC 9457; nothing, if it is not of ours. */
export function problemOf(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
