/** When a watch reconnects, and which frames it drops. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Backoff } from "../src/backoff.js";
import { GaveUpError, LostError, UnreachableError, WatchRefusedError } from "../src/errors.js";
import { Position } from "../src/position.js";

const createPosition = (more = {}) =>
  new Position({
    url: "http://here",
    jobId: "job",
    after: 0,
    patienceMs: 60_000,
    backoff: new Backoff(() => 1),
    ...more,
  });

test("each event is delivered once and in order", () => {
  const position = createPosition();

  const delivered = [1, 2, 2, 1, 3].map((seq) => position.advance({ type: "log", seq }));

  assert.deepEqual(delivered, [true, true, false, false, true]);
  assert.equal(position.cursor, 3);
  assert.throws(() => position.advance({ type: "log", seq: 5 }), LostError);
  assert.equal(position.cursor, 3);
});

test("a permanently missing event ends the watch", () => {
  const position = createPosition();

  const gaps = Array.from({ length: 8 }, () => {
    try {
      return position.advance({ type: "log", seq: 2 });
    } catch (error) {
      return error;
    }
  });

  assert.ok(gaps.slice(0, -1).every((error) => error instanceof LostError));
  assert.ok(gaps.at(-1) instanceof WatchRefusedError && gaps.at(-1).code === "event_missing");
});

test("pauses double up to a limit and start again after an event", () => {
  const position = createPosition({ patienceMs: 1e9 });
  position.advance({ type: "beat" });

  const pauses = [0, 1, 2, 3, 4, 5, 6].map((now) => position.lost("gone", now));
  position.advance({ type: "log", seq: 1 });

  assert.deepEqual(pauses, [200, 400, 800, 1600, 3200, 5000, 5000]);
  assert.equal(position.lost("gone", 10), 200);
});

test("a hello alone does not shorten the pauses", () => {
  const position = createPosition();

  const pauses = [0, 1, 2].map((now) => {
    position.advance({ type: "hello" });
    return position.lost("gone", now);
  });

  assert.deepEqual(pauses, [200, 400, 800]);
});

test("the retry_after of a bye applies only to the next pause", () => {
  const position = createPosition();
  position.advance({ type: "bye", retry_after: 2.5 });

  assert.deepEqual([position.lost("gone", 0), position.lost("gone", 1)], [2500, 200]);
});

test("a watch that gives up reports the cursor to resume from", () => {
  const notices = [];
  const position = createPosition({ patienceMs: 2_000, tell: (why) => notices.push(why) });
  position.advance({ type: "log", seq: 1 });
  position.lost("gone", 0);
  position.advance({ type: "beat" });
  position.lost("gone again", 50_000);

  assert.throws(
    () => position.lost("gone", 52_000),
    (error) => error instanceof GaveUpError && error.after === 1,
  );
  assert.deepEqual(notices, ["gone", null, "gone again"]);
});

test("a service that never responded is reported as unreachable", () => {
  const position = createPosition({ firstPatienceMs: 100 });

  assert.throws(() => position.lost("gone", 0), UnreachableError);
});
