import assert from "node:assert/strict";
import { test } from "node:test";
import { DELTA_PROTOCOL, PROTOCOL, ScoreboardStream, backoffMs } from "../page/client/scoreboard-stream.js";
import { streamUrl } from "../page/client/stream-transports.js";
import { FakeClock, FakeSocket } from "./support/fake-socket.js";

/** @typedef {import("../page/client/stream-types.d.ts").StreamOptions} StreamOptions */

/** @param {Partial<StreamOptions>} [options] */
function setUp(options = {}) {
  /** @type {FakeSocket[]} */
  const sockets = [];
  const clock = new FakeClock();
  const stream = new ScoreboardStream({
    baseUrl: "http://board.example:8080",
    board: "global",
    clock,
    random: () => 1,
    transports: ["websocket"],
    openSocket: (url, protocols) => {
      const socket = new FakeSocket(url, protocols);
      sockets.push(socket);
      return socket;
    },
    ...options,
  });
  /** @type {string[]} */
  const states = [];
  /** @type {number[]} */
  const versions = [];
  stream.on("status", ({ state }) => states.push(state));
  stream.on("board", ({ version }) => versions.push(version));
  const last = () => /** @type {FakeSocket} */ (sockets.at(-1));
  return { stream, sockets, clock, states, versions, last };
}

/** @param {Partial<StreamOptions>} [options] */
function setUpLive(options) {
  const all = setUp(options);
  all.stream.start();
  all.last().open();
  all.last().frame("scoreboard:snapshot", state(5));
  return all;
}

/**
 * @param {number} version
 * @param {string} [epoch]
 */
function state(version, epoch = "e1") {
  return { board: "global", epoch, version, leaderboard: [] };
}

/**
 * @param {number} version
 * @param {string} [epoch]
 */
function update(version, epoch) {
  return { ...state(version, epoch), userId: "u", newScore: version, updates: [] };
}

test("a connection that fails before it stands is made again also where only an error says so, as in Node", () => {
  const { stream, sockets, clock, last, states } = setUp();
  stream.start();
  last().onerror?.({});
  assert.deepEqual(states, ["connecting", "reconnecting"]);
  assert.ok(last().isClosed);
  clock.advance(500);
  assert.equal(sockets.length, 2);
  last().open();
  last().frame("scoreboard:snapshot", state(5));
  last().onerror?.({}); // its close follows, and says why
  assert.equal(stream.state, "live");
  last().drop();
  assert.equal(stream.state, "reconnecting");
});

test("the stream's address follows from the origin's", () => {
  const query = { board: "global", limit: 10, curve: false, since: null };
  assert.equal(streamUrl("websocket", "http://a:8081", query), "ws://a:8081/ws/scoreboard?board=global&limit=10");
  assert.equal(streamUrl("websocket", "https://a/", query), "wss://a/ws/scoreboard?board=global&limit=10");
  assert.equal(streamUrl("websocket", "https://a/live/?x=1#y", query), "wss://a/live/ws/scoreboard?board=global&limit=10");
  assert.equal(streamUrl("sse", "wss://a/live/", { ...query, curve: true }), "https://a/live/api/v1/scoreboard/stream?board=global&limit=10&curve=1");
  const resumed = { ...query, since: { epoch: "e 1", version: 7 } };
  assert.equal(new URL(streamUrl("websocket", "http://a", resumed)).searchParams.get("since"), "e 1.7");
});

test("the first connection asks for no past and for deltas before whole lists", () => {
  const { stream, last, states } = setUp();
  stream.start();
  assert.deepEqual(last().protocols, [DELTA_PROTOCOL, PROTOCOL]);
  assert.equal(last().url.searchParams.has("since"), false);
  assert.deepEqual(states, ["connecting"]);
  last().open();
  assert.equal(stream.state, "connecting"); // nothing to show yet
  last().frame("scoreboard:snapshot", state(5));
  assert.equal(stream.state, "live");
  assert.deepEqual(stream.position, { epoch: "e1", version: 5 });
});

test("within an epoch the version never goes back", () => {
  const { stream, last, versions } = setUpLive();
  last().frame("score:update", update(7));
  for (const late of [6, 7, 5]) last().frame("score:update", update(late));
  last().frame("scoreboard:snapshot", state(6));
  last().frame("score:update", update(8));
  assert.deepEqual(versions, [5, 7, 8]);
  assert.deepEqual(stream.position, { epoch: "e1", version: 8 });
});

test("whatever comes in whatever order, what is delivered only rises", () => {
  const { last, versions } = setUpLive();
  for (let round = 0; round < 2_000; round += 1) {
    const version = Math.floor(Math.random() * 100);
    if (Math.random() < 0.5) last().frame("score:update", update(version));
    else last().frame("scoreboard:snapshot", state(version));
  }
  versions.forEach((version, index) => assert.ok(index === 0 || version >= /** @type {number} */ (versions[index - 1])));
});

test("it does not go back over a reconnect either", () => {
  const { last, clock, versions, sockets } = setUpLive();
  last().frame("score:update", update(9));
  last().drop();
  clock.advance(1_000);
  assert.equal(sockets.length, 2);
  last().open();
  last().frame("scoreboard:snapshot", state(8));
  last().frame("scoreboard:snapshot", state(9));
  last().frame("score:update", update(10));
  assert.deepEqual(versions, [5, 9, 9, 10]);
});

test("another epoch starts a new count", () => {
  const { stream, last, versions } = setUpLive();
  last().frame("scoreboard:snapshot", state(2, "e2"));
  assert.deepEqual(stream.position, { epoch: "e2", version: 2 });
  assert.deepEqual(versions, [5, 2]);
});

test("a lost connection is taken up where it was", () => {
  const { stream, sockets, clock, last, states } = setUpLive();
  last().frame("score:update", update(12));
  last().drop();
  assert.equal(stream.state, "reconnecting");
  clock.advance(500);
  assert.equal(sockets.length, 2);
  assert.equal(last().url.searchParams.get("since"), "e1.12");
  last().open();
  assert.deepEqual(states, ["connecting", "live", "reconnecting", "live"]); // at the head nothing old is sent
});

test("an old socket is not listened to any more", () => {
  const { stream, sockets, clock, last } = setUpLive();
  const [old] = /** @type {[FakeSocket]} */ (sockets);
  old.drop();
  clock.advance(500);
  last().open();
  old.open();
  old.frame("score:update", update(99));
  old.drop();
  assert.equal(sockets.length, 2);
  assert.equal(stream.position?.version, 5);
});

test("the wait is anything up to a step that doubles up to its cap", () => {
  const options = { baseMs: 500, capMs: 15_000 };
  const steps = [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000];
  steps.forEach((step, failures) => {
    assert.equal(backoffMs(failures, { ...options, random: () => 0 }), 0);
    assert.equal(backoffMs(failures, { ...options, random: () => 0.5 }), step / 2);
    assert.equal(backoffMs(failures, { ...options, random: () => 1 }), step);
  });
  assert.equal(backoffMs(10_000, { ...options, random: () => 1 }), 15_000);
});

test("failed attempts wait longer each time, up to the cap", () => {
  const { stream, last, clock, sockets } = setUp({ backoffBaseMs: 500, backoffCapMs: 3_000 });
  /** @type {(number | null)[]} */
  const waits = [];
  stream.on("status", ({ retryInMs }) => retryInMs !== null && waits.push(retryInMs));
  stream.start();
  for (let attempt = 0; attempt < 6; attempt += 1) {
    last().drop();
    clock.advance(3_000);
  }
  assert.deepEqual(waits, [500, 1_000, 2_000, 3_000, 3_000, 3_000]);
  assert.equal(sockets.length, 7);
});

test("only a connection that holds starts the backoff anew", () => {
  const { stream, last, clock } = setUp();
  /** @type {(number | null)[]} */
  const waits = [];
  stream.on("status", ({ retryInMs }) => retryInMs !== null && waits.push(retryInMs));
  stream.start();
  for (const heldMs of [100, 100, 6_000, 100]) {
    last().open();
    clock.advance(heldMs);
    last().drop();
    clock.advance(/** @type {number} */ (waits.at(-1)));
  }
  assert.deepEqual(waits, [500, 1_000, 500, 1_000]);
});

test("server:bye names the wait", () => {
  const { stream, last, clock, sockets } = setUpLive();
  last().frame("server:bye", { reason: "shutdown", reconnectInMs: 3_210 });
  assert.equal(stream.state, "live"); // until the close
  last().drop(1012);
  clock.advance(3_209);
  assert.equal(sockets.length, 1);
  clock.advance(1);
  assert.equal(sockets.length, 2);
});

test("a server that says bye and does not close is left", () => {
  const { last, clock, sockets } = setUpLive();
  const first = last();
  first.frame("server:bye", { reason: "shutdown", reconnectInMs: 100 });
  clock.advance(5_100);
  assert.equal(first.isClosed, true);
  assert.equal(sockets.length, 2);
});

test("45 seconds without a frame are a lost connection", () => {
  const { stream, last, clock, sockets } = setUpLive();
  const first = last();
  clock.advance(44_000);
  first.frame("heartbeat", { board: "global", epoch: "e1", version: 5 });
  clock.advance(44_999);
  assert.equal(stream.state, "live");
  clock.advance(1);
  assert.equal(stream.state, "reconnecting");
  assert.equal(first.isClosed, true);
  clock.advance(500);
  assert.equal(sockets.length, 2);
});

test("a handshake that hangs is given up", () => {
  const { stream, last, clock, sockets } = setUp();
  stream.start();
  clock.advance(10_000);
  assert.equal(last().isClosed, true);
  clock.advance(500);
  assert.equal(sockets.length, 2);
});

test("stale lasts until a snapshot, though updates are shown", () => {
  const { stream, last, versions } = setUpLive();
  last().frame("scoreboard:stale", { reason: "behind" });
  assert.equal(stream.state, "stale");
  last().frame("score:update", update(6));
  assert.equal(stream.state, "stale");
  last().frame("scoreboard:snapshot", state(6));
  assert.equal(stream.state, "live");
  assert.deepEqual(versions, [5, 6, 6]);
});

test("a heartbeat moves nothing, and one of another epoch asks for a snapshot", () => {
  const { stream, last, clock, sockets } = setUpLive();
  last().frame("heartbeat", { board: "global", epoch: "e1", version: 40 });
  assert.equal(stream.position?.version, 5);
  last().frame("heartbeat", { board: "global", epoch: "e2", version: 1 });
  clock.advance(500);
  assert.equal(sockets.length, 2);
  assert.equal(last().url.searchParams.has("since"), false);
});

test("what is not a frame of this board is passed over", () => {
  const { stream, last, versions } = setUpLive();
  for (const raw of ["", "{", "null", "[]", '"x"', "{}", '{"event":"score:update"}', '{"event":7,"data":{}}', new ArrayBuffer(4)]) last().raw(raw);
  last().frame("score:update", { ...update(9), board: "other" });
  last().frame("score:update", { ...update(9), version: "9" });
  last().frame("score:update", { ...update(9), version: 2 ** 60 });
  last().frame("scoreboard:snapshot", { ...state(9), leaderboard: null });
  last().frame("something:new", { board: "global" });
  assert.equal(stream.state, "live");
  assert.deepEqual(versions, [5]);
});

test("private events come through", () => {
  const { stream, last } = setUpLive();
  /** @type {unknown[]} */
  const own = [];
  stream.on("score:me", (data) => own.push(data.newScore));
  last().frame("score:me", { board: "global", version: 6, newScore: 60, rank: 14_200, previousRank: 14_300 });
  assert.deepEqual(own, [60]);
});

test("stop closes, ends every timer, and start goes on from the same position", () => {
  const { stream, last, clock, sockets } = setUpLive();
  stream.stop();
  assert.equal(last().isClosed, true);
  assert.equal(stream.state, "stopped");
  assert.equal(clock.pending, 0);
  stream.start();
  assert.equal(sockets.length, 2);
  assert.equal(last().url.searchParams.get("since"), "e1.5");
});

test("reconnectNow ends a wait and leaves an open connection alone", () => {
  const { stream, last, sockets } = setUpLive();
  stream.reconnectNow();
  assert.equal(sockets.length, 1);
  last().drop();
  stream.reconnectNow();
  stream.reconnectNow();
  assert.equal(sockets.length, 2);
});

test("a listener that was taken off hears nothing more", () => {
  const { stream, last } = setUpLive();
  let heard = 0;
  const off = stream.on("board", () => (heard += 1));
  last().frame("score:update", update(6));
  off();
  last().frame("score:update", update(7));
  assert.equal(heard, 1);
});
