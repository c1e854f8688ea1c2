/** Reads the frames of a job as server-sent events with fetch; works wherever fetch streams. */

import { LostError, problemOf } from "./errors.js";
import { closeOf } from "./refusals.js";
import { linked } from "./timing.js";

const OPEN_MS = 10_000;
// The service sends a frame at least every 10 s.
const SILENCE_MS = 30_000;

/** The job is final and all its events are known, so there is nothing to stream. */
export const NOTHING_LEFT = Symbol("nothing left");

/**
 * Yields the frames of each chunk, or `NOTHING_LEFT`.
 *
 * @param {typeof fetch} fetch
 * @throws {LostError} with the close code that a socket would have, if the service refuses
 */
export async function* framesOfEvents(fetch, url, headers, signal) {
  const { controller, release } = linked(signal);
  const timed = (promise, milliseconds) => within(promise, milliseconds, controller);
  try {
    const answer = await timed(
      fetch(url, { headers: { ...headers, Accept: "text/event-stream" }, signal: controller.signal }),
      OPEN_MS,
    );
    if (answer.status === 204) {
      yield NOTHING_LEFT;
      return;
    }
    if (!answer.ok) throw await refused(answer, timed);
    const reader = answer.body.getReader();
    const decoder = new TextDecoder();
    let rest = "";
    while (true) {
      const { done, value } = await timed(reader.read(), SILENCE_MS);
      if (done) throw new LostError("the connection was closed");
      const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = blocks.pop();
      const frames = blocks.map(frameOf).filter((frame) => frame !== null);
      if (frames.length > 0) yield frames;
    }
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw error instanceof LostError ? error : new LostError("the connection was lost");
  } finally {
    release();
    controller.abort();
  }
}

/** Return the frame of one block of lines; null for a comment. */
function frameOf(block) {
  const lines = block.split("\n").filter((line) => line.startsWith("data:"));
  if (lines.length === 0) return null;
  try {
    return JSON.parse(lines.map((line) => line.slice(line[5] === " " ? 6 : 5)).join("\n"));
  } catch {
    throw new LostError("the server is not Headrace");
  }
}

async function refused(answer, timed) {
  const problem = problemOf(await timed(answer.text(), OPEN_MS));
  return LostError.ofStatus(answer.status, closeOf(answer.status, problem), problem);
}

/** Await *promise*, or abort its work and throw a `LostError` after the timeout. */
function within(promise, milliseconds, controller) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      reject(new LostError("the service does not answer"));
      controller.abort();
    }, milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
