/** The errors of this client. */

export class HeadraceClientError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

/**
 * The service answers with an error in the form of RFC 9457. `code` is stable, `retryAfter` a pause in seconds. With
 * `quota_exceeded`, `used` of `limit` of the `quota` are in use.
 */
export class ApiError extends HeadraceClientError {
  constructor(status, code, detail, errors, retryAfter, { quota, used, limit } = {}) {
    super([detail, ...errors.map((one) => `  ${one.path}: ${one.message}`)].join("\n"));
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.errors = errors;
    this.retryAfter = retryAfter;
    this.quota = quota;
    this.used = used;
    this.limit = limit;
  }
}

/** No Headrace answers at the URL. */
export class UnreachableError extends HeadraceClientError {
  constructor(url, reason, options) {
    super(`no service at ${url}${reason ? ` (${reason})` : ""}`, options);
    this.url = url;
  }
}

/**
 * The job cannot be watched, and a retry does not help. `jobId` is null for a watch of all jobs. `code`:
 * `job_not_found`, `job_deleted`, `cursor_beyond_head`, `event_missing`, `unauthenticated`, `forbidden`,
 * `not_headrace`, or another code of the service.
 */
export class WatchRefusedError extends HeadraceClientError {
  constructor(jobId, code, message) {
    super(message);
    this.jobId = jobId;
    this.code = code;
  }
}

/**
 * The service was away for longer than the watch allows. To resume, watch from `after`. `reason` says what the
 * last connection ended with.
 */
export class GaveUpError extends HeadraceClientError {
  constructor(url, jobId, milliseconds, after, reason) {
    const seconds = Math.round(milliseconds / 1000);
    const seen = jobId === null ? "" : `; job ${jobId} was seen up to event ${after}`;
    super(`${url} has been away for ${seconds} s${reason ? ` (${reason})` : ""}${seen}`);
    this.url = url;
    this.jobId = jobId;
    this.milliseconds = milliseconds;
    this.after = after;
    this.reason = reason;
  }
}

/** The job has not ended within the timeout; it continues. */
export class WaitTimeoutError extends HeadraceClientError {
  constructor(jobId) {
    super(`job ${jobId} has not ended in time; it continues`);
    this.jobId = jobId;
  }
}

/** A connection was lost and may be resumed. Internal to this package. */
export class LostError extends Error {
  /** @param {string} why @param {number} [code] the close code of a socket, or its equivalent */
  constructor(why, code, reason = "") {
    super(why);
    this.code = code;
    this.reason = reason;
  }

  /** The service has answered with *status*. @param {number} [code] the close code that a socket would have */
  static ofStatus(status, code, problem) {
    return Object.assign(new LostError(`the service answers ${status}`, code), { status, problem });
  }
}

/** Return the problem of an answer in the form of RFC 9457; an empty one if the answer is not ours. */
export function problemOf(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
