/** The pause before the next try: full jitter below a limit that doubles. Pure. */

const MIN_MS = 200;
const MAX_MS = 5_000;

/** The longest pause that a service may request; beyond it the caller decides. */
export const MAX_REQUESTED_MS = 60_000;

/** The pauses between consecutive failures. Clients that fail together do not return together. */
export class Backoff {
  #limit = MIN_MS;
  #draw;

  /** @param {() => number} draw a number from 0 to 1 */
  constructor(draw = Math.random) {
    this.#draw = draw;
  }

  /** Return the milliseconds until the next try, and double the limit of the following one. */
  pause() {
    const limit = this.#limit;
    this.#limit = Math.min(limit * 2, MAX_MS);
    return this.#draw() * limit;
  }

  /** Start again with the shortest limit, after a success. */
  reset() {
    this.#limit = MIN_MS;
  }
}
