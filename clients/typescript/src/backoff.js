/** How long to pause before the next try: full jitter under a limit that doubles. Pure. */

const SHORTEST_MS = 200;
const LONGEST_MS = 5_000;

/** What a service may ask for; beyond it, whoever called decides. */
export const LONGEST_ASKED_MS = 60_000;

/** The pauses of one row of failures: clients that failed together do not come back together. */
export class Backoff {
  #limit = SHORTEST_MS;
  #draw;

  /** @param {() => number} draw a number from 0 to 1 */
  constructor(draw = Math.random) {
    this.#draw = draw;
  }

  /** Milliseconds until the next try; the one after it may be twice as long. */
  pause() {
    const limit = this.#limit;
    this.#limit = Math.min(limit * 2, LONGEST_MS);
    return this.#draw() * limit;
  }

  /** The row is over. */
  reset() {
    this.#limit = SHORTEST_MS;
  }
}
