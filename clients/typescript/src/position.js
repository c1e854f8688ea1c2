/**
 * The position of a watch, and how frames and lost connections change it. Pure.
 *
 * The clock is an argument, and nothing is read or sent here. The Python client follows the same rules.
 */

import { Backoff, MAX_REQUESTED_MS } from "./backoff.js";
import { GaveUpError, LostError, UnreachableError, WatchRefusedError } from "./errors.js";
import { FINAL_CLOSES, isTemporary, NOT_FOUND, NOT_SIGNED_IN, TEMPORARY_CLOSES } from "./refusals.js";

// A reconnect repairs a gap. A gap that returns this many times is permanent.
const MAX_GAPS = 8;

/** When a watch reconnects, and when it ends. `jobId` is null for a watch of all jobs. */
export class Reconnects {
  isOver = false;
  cursor = 0;
  backoff;
  #url;
  #patience;
  #firstPatience;
  #notify;
  #reached = false;
  #awaySince = null;
  #told = null;
  #requestedPause = null;
  #lastError = null;

  constructor({ url, jobId = null, patienceMs, firstPatienceMs, tell, backoff }) {
    this.jobId = jobId;
    this.backoff = backoff ?? new Backoff();
    this.#url = url;
    this.#patience = patienceMs;
    this.#firstPatience = Math.min(firstPatienceMs ?? patienceMs, patienceMs);
    this.#notify = tell ?? (() => {});
  }

  /** Advance by a frame. Returns whether to pass it to the caller: here always. */
  advance(frame) {
    this.note(frame);
    this.renew(frame);
    return true;
  }

  /** Note a received frame: the service answers. */
  note(frame) {
    if (this.#told !== null) this.#notify(null);
    this.#reached = true;
    this.#awaySince = this.#told = null;
    this.#lastError = frame.type === "error" ? frame : null;
    if (frame.type === "bye") {
      this.#requestedPause = Math.min(Math.max(frame.retry_after * 1000 || 0, 0), MAX_REQUESTED_MS);
    }
  }

  /** A service that dies after each `hello` must not be called again without a pause. */
  renew(frame) {
    if (typeof frame.seq === "number" || frame.type === "beat") this.backoff.reset();
  }

  /**
   * Return why the connection was lost, if a reconnect helps.
   *
   * @param {LostError} lost with the close code of a socket, or the status of an answer and its problem
   * @throws {WatchRefusedError} a reconnect does not help
   */
  reasonOf(lost) {
    const { code, reason, status, problem } = lost;
    const error = this.#lastError;
    if (code in FINAL_CLOSES) throw this.#refusal(code, reason, error ?? problem);
    if (code in TEMPORARY_CLOSES) {
      // The service has answered, even if no frame came.
      this.#reached = true;
      return reason || TEMPORARY_CLOSES[code];
    }
    if (status === undefined) return lost.message;
    const detail = problem?.code ? problem.detail : undefined;
    if (isTemporary(status)) {
      this.#reached ||= detail !== undefined;
      return detail ?? `${this.#url} answers ${status}`;
    }
    if (detail !== undefined) throw new WatchRefusedError(this.jobId, problem.code, detail);
    const message = `${this.#url} answers ${status}: it is not Headrace`;
    throw new WatchRefusedError(this.jobId, "not_headrace", message);
  }

  /**
   * Record a lost connection. Returns the pause in milliseconds before the next one.
   *
   * @throws {GaveUpError} the service was away for longer than `patienceMs`
   * @throws {UnreachableError} the service has never answered
   */
  lost(why, now) {
    this.#awaySince ??= now;
    const away = now - this.#awaySince;
    const pause = this.#requestedPause ?? this.backoff.pause();
    this.#requestedPause = null;
    if (away + pause > (this.#reached ? this.#patience : this.#firstPatience)) {
      if (!this.#reached) throw new UnreachableError(this.#url);
      throw new GaveUpError(this.#url, this.jobId, away, this.cursor, why);
    }
    if (this.#reached && why !== this.#told) {
      this.#told = why;
      this.#notify(why);
    }
    return pause;
  }

  /** Return the refusal of a close code, which an `error` frame or a problem may explain. */
  #refusal(code, reason, error) {
    if (code === NOT_SIGNED_IN) {
      const why = error?.message ?? error?.detail ?? reason?.replaceAll("_", " ");
      const message = `not signed in: a valid token is needed${why ? ` (${why})` : ""}`;
      return new WatchRefusedError(this.jobId, "unauthenticated", message);
    }
    if (code === NOT_FOUND && this.jobId !== null) {
      const [name, gone] =
        error?.code === "job_deleted" ? ["job_deleted", "was deleted"] : ["job_not_found", "does not exist"];
      return new WatchRefusedError(this.jobId, name, `there is no job ${this.jobId}: it ${gone}`);
    }
    if (code === NOT_FOUND) return new WatchRefusedError(null, "user_not_found", reason || "there is no such user");
    const message = reason || error?.message || error?.detail || `the service refuses with ${code}`;
    return new WatchRefusedError(this.jobId, error?.code ?? FINAL_CLOSES[code], message);
  }
}

/** The position of one watch. `cursor` is the number of the newest returned event, also after an error. */
export class Position extends Reconnects {
  #gaps = 0;

  constructor({ after, ...options }) {
    super(options);
    this.cursor = after;
  }

  /**
   * Advance by a frame. Returns whether to pass it to the caller: each event once, and in order.
   *
   * @throws {LostError} an event is missing before this one: reconnect from the cursor
   * @throws {WatchRefusedError} it is still missing after several reconnects
   */
  advance(frame) {
    this.note(frame);
    if (typeof frame.seq === "number") {
      if (frame.seq <= this.cursor) return false;
      if (frame.seq > this.cursor + 1) throw this.#gap();
      this.cursor = frame.seq;
      this.#gaps = 0;
    } else if (frame.type === "end") {
      this.isOver = true;
    }
    this.renew(frame);
    return true;
  }

  #gap() {
    this.#gaps += 1;
    if (this.#gaps < MAX_GAPS) return new LostError("an event was missing");
    const message = `event ${this.cursor + 1} of job ${this.jobId} never came`;
    return new WatchRefusedError(this.jobId, "event_missing", message);
  }
}
