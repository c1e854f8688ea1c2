/**
 * The position of a watch in the events of a job, and how frames and lost connections change it. Pure.
 *
 * The clock is an argument, and nothing is read or sent here. The Python client follows the same rules.
 */

import { Backoff, MAX_REQUESTED_MS } from "./backoff.js";
import { GaveUpError, LostError, UnreachableError, WatchRefusedError } from "./errors.js";

export const NOT_SIGNED_IN = 4401;
export const NO_JOB = 4404;
export const BAD_CURSOR = 4400;
// A reconnect repairs a gap. A gap that returns this many times is permanent.
const MAX_GAPS = 8;

/** The position of one watch. `cursor` is the number of the newest returned event, also after an error. */
export class Position {
  isOver = false;
  #url;
  #patience;
  #firstPatience;
  #notify;
  #backoff;
  #reached = false;
  #awaySince = null;
  #requestedPause = null;
  #gaps = 0;
  #isDeleted = false;

  constructor({ url, jobId, after, patienceMs, firstPatienceMs, tell, backoff }) {
    this.cursor = after;
    this.jobId = jobId;
    this.#url = url;
    this.#patience = patienceMs;
    this.#firstPatience = Math.min(firstPatienceMs ?? patienceMs, patienceMs);
    this.#notify = tell ?? (() => {});
    this.#backoff = backoff ?? new Backoff();
  }

  /**
   * Advance by a frame. Returns whether to pass it to the caller: each event once, and in order.
   *
   * @throws {LostError} an event is missing before this one: reconnect from the cursor
   * @throws {WatchRefusedError} it is still missing after several reconnects
   */
  advance(frame) {
    if (this.#awaySince !== null && this.#reached) this.#notify(null);
    this.#reached = true;
    this.#awaySince = null;
    if (typeof frame.seq === "number") {
      if (frame.seq <= this.cursor) return false;
      if (frame.seq > this.cursor + 1) throw this.#gap();
      this.cursor = frame.seq;
      this.#gaps = 0;
    } else if (frame.type === "bye") {
      this.#requestedPause = Math.min(Math.max(frame.retry_after * 1000 || 0, 0), MAX_REQUESTED_MS);
    } else if (frame.type === "error" && frame.code === "job_deleted") {
      this.#isDeleted = true;
    } else if (frame.type === "end") {
      this.isOver = true;
    }
    // A service that dies after each `hello` must not be called again without a pause.
    if (typeof frame.seq === "number" || frame.type === "beat") this.#backoff.reset();
    return true;
  }

  #gap() {
    this.#gaps += 1;
    if (this.#gaps < MAX_GAPS) return new LostError("an event was missing");
    const message = `event ${this.cursor + 1} of job ${this.jobId} never came`;
    return new WatchRefusedError(this.jobId, "event_missing", message);
  }

  /** Return the refusal that a close code means; null means to reconnect. */
  refusal(code, reason) {
    if (code === NO_JOB) {
      const [name, gone] = this.#isDeleted
        ? ["job_deleted", "was deleted"]
        : ["job_not_found", "does not exist"];
      return new WatchRefusedError(this.jobId, name, `there is no job ${this.jobId}: it ${gone}`);
    }
    if (code === BAD_CURSOR) {
      const message = reason || `the job has no event ${this.cursor} yet`;
      return new WatchRefusedError(this.jobId, "cursor_beyond_head", message);
    }
    if (code === NOT_SIGNED_IN) {
      return new WatchRefusedError(this.jobId, "unauthenticated", "not signed in: a valid token is needed");
    }
    return null;
  }

  /**
   * Record a lost connection. Returns the pause in milliseconds before the next one.
   *
   * @throws {GaveUpError} the service was away for longer than `patienceMs`
   * @throws {UnreachableError} the service has never answered
   */
  lost(why, now) {
    const isFirstLoss = this.#awaySince === null;
    this.#awaySince ??= now;
    const away = now - this.#awaySince;
    const pause = this.#requestedPause ?? this.#backoff.pause();
    this.#requestedPause = null;
    if (away + pause > (this.#reached ? this.#patience : this.#firstPatience)) {
      if (!this.#reached) throw new UnreachableError(this.#url);
      throw new GaveUpError(this.#url, this.jobId, away, this.cursor);
    }
    if (isFirstLoss && this.#reached) this.#notify(why);
    return pause;
  }
}
