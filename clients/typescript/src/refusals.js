/**
 * What the close codes of a socket and the statuses of an answer mean to a watch. Pure.
 *
 * The Python client follows the same rules. A code that is not listed means a lost connection: reconnect.
 */

export const NOT_SIGNED_IN = 4401;
export const NOT_FOUND = 4404;

/**
 * The close codes after which a reconnect does not help, with the code of the error. An `error` frame before the
 * close has the exact code.
 */
export const FINAL_CLOSES = {
  4400: "cursor_beyond_head",
  [NOT_SIGNED_IN]: "unauthenticated",
  4403: "forbidden",
  [NOT_FOUND]: "job_not_found",
};

/** The close codes with which the service asks for a reconnect, with what they mean if it gives no reason. */
export const TEMPORARY_CLOSES = {
  1008: "the service closed the connection",
  1012: "the service stops",
  1013: "the service asks to come back later",
};

/** Maps the statuses of an answer to the close codes of a socket. */
const CLOSES = { 401: NOT_SIGNED_IN, 403: 4403, 404: NOT_FOUND };

/** Statuses whose meaning needs no problem document: a proxy in front of the service sends them as well. */
const PLAIN_STATUSES = new Set([401, 403]);

/** Return whether a status means to reconnect. */
export function isTemporary(status) {
  return status >= 500 || status === 408 || status === 429;
}

/** Return the close code that a socket would have for a status; undefined if it has none. */
export function closeOf(status, problem) {
  return problem.code || PLAIN_STATUSES.has(status) ? CLOSES[status] : undefined;
}
