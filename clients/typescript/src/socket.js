/** Reads the frames of a job over any implementation of a WebSocket. */

import { LostError } from "./errors.js";

const OPEN_MS = 10_000;
// The service sends a frame at least every 10 s.
const SILENCE_MS = 30_000;
// A WebSocket has no backpressure: with more buffered, we disconnect and resume from the log.
const MOST_WAITING = 10_000;

/**
 * Yields the frames of each message.
 *
 * @param {() => WebSocket} open
 * @param {AbortSignal} [signal]
 * @throws {LostError} with the close code, if there was one
 */
export async function* framesOfSocket(open, signal) {
  const waiting = [];
  let over = null;
  let wake = () => {};
  const end = (error) => {
    over ??= error;
    wake();
  };
  let socket;
  try {
    socket = open();
  } catch (error) {
    throw new LostError(`the socket cannot be opened: ${error.message}`);
  }
  socket.onmessage = (event) => {
    waiting.push(event.data);
    if (waiting.length > MOST_WAITING) {
      socket.onmessage = null;
      socket.close();
    }
    wake();
  };
  socket.onerror = () => end(new LostError("the connection was lost"));
  // An error is followed by a close, which has the details.
  socket.onclose = (event) => {
    over = new LostError("the connection was lost", event.code, event.reason);
    wake();
  };
  const stop = () => end(signal.reason);
  if (signal?.aborted) stop();
  else signal?.addEventListener("abort", stop, { once: true });
  let silence = OPEN_MS;
  try {
    while (true) {
      while (waiting.length > 0) {
        if (signal?.aborted) throw signal.reason;
        yield parse(waiting.shift());
      }
      if (over) throw over;
      await new Promise((resolve) => {
        const timer = setTimeout(() => end(new LostError("the service does not answer")), silence);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      silence = SILENCE_MS;
    }
  } finally {
    signal?.removeEventListener("abort", stop);
    socket.onmessage = socket.onerror = socket.onclose = null;
    socket.close();
  }
}

function parse(message) {
  try {
    const frames = JSON.parse(message);
    return Array.isArray(frames) ? frames : [frames];
  } catch {
    throw new LostError("the server is not Headrace");
  }
}
