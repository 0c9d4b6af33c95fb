/** The client under `scoreboard.v1.delta`, over both transports, and with a token. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { checksum } from "../page/client/stream-delta.js";
import { ScoreboardStream } from "../page/client/scoreboard-stream.js";
import { FakeClock, FakeSocket } from "./support/fake-socket.js";

/** @typedef {import("../page/client/stream-types.d.ts").StreamOptions} StreamOptions */
/** @typedef {import("../page/client/stream-types.d.ts").Entry} Entry */

const TIME = "2026-11-20T10:00:00.000Z";

/** @param {Partial<StreamOptions>} [options] */
function setUp(options = {}) {
  /** @type {(FakeSocket & { way: string, token?: string | null, lastEventId?: string | null })[]} */
  const connections = [];
  const clock = new FakeClock();
  const stream = new ScoreboardStream({
    baseUrl: "http://board.example:8080",
    clock,
    random: () => 1,
    transports: ["websocket", "sse"],
    openSocket: (url, protocols) => {
      const socket = Object.assign(new FakeSocket(url, protocols), { way: "websocket" });
      connections.push(socket);
      return socket;
    },
    openEventStream: (url, { token, lastEventId }) => {
      const socket = Object.assign(new FakeSocket(url, []), { way: "sse", token, lastEventId });
      connections.push(socket);
      return socket;
    },
    ...options,
  });
  /** @type {string[]} */
  const boards = [];
  stream.on("board", ({ version, leaderboard }) => boards.push(`${version}: ${leaderboard.map(({ rank, userId, score }) => `${rank}${userId}${score}`).join(" ")}`));
  const last = () => /** @type {(typeof connections)[0]} */ (connections.at(-1));
  let waitMs = 0;
  stream.on("status", ({ retryInMs }) => (waitMs = retryInMs ?? waitMs));
  const untilRetry = () => clock.advance(waitMs);
  return { stream, connections, clock, boards, last, untilRetry };
}

/** @param {Partial<StreamOptions>} [options] */
function setUpLive(options) {
  const all = setUp(options);
  all.stream.start();
  all.last().open();
  all.last().frame("scoreboard:snapshot", snapshot(5));
  return all;
}

/**
 * @param {number} version
 * @param {string} [epoch]
 */
function snapshot(version, epoch = "e1") {
  return { board: "global", epoch, version, leaderboard: [entry("a", 30, 1), entry("b", 20, 2)] };
}

/**
 * @param {string} userId
 * @param {number} score
 * @param {number} rank
 * @returns {Entry}
 */
function entry(userId, score, rank) {
  return { userId, username: userId, score, rank, lastUpdated: TIME };
}

test("deltas lead from a snapshot on, and their checksum is looked at", () => {
  const { stream, last, boards, connections } = setUpLive();
  last().frame("delta", { from: 5, version: 7, ops: [["m", 1, 0, 31, TIME]] });
  last().frame("delta", { from: 7, version: 8, ops: [["+", 1, "c", "c", 30, TIME]], check: checksum([entry("b", 31, 1), entry("c", 30, 2), entry("a", 30, 3)]) });
  assert.deepEqual(boards, ["5: 1a30 2b20", "7: 1b31 2a30", "8: 1b31 2c30 3a30"]);
  assert.deepEqual(stream.position, { epoch: "e1", version: 8 });
  assert.equal(connections.length, 1);
});

for (const [what, delta] of /** @type {[string, unknown][]} */ ([
  ["does not start where the client stands", { from: 6, version: 7, ops: [] }],
  ["is a repetition", { from: 4, version: 5, ops: [] }],
  ["goes back", { from: 5, version: 4, ops: [] }],
  ["does not fit the rows", { from: 5, version: 6, ops: [["-", 2]] }],
  ["leads to other rows than the server's", { from: 5, version: 6, ops: [["-", 1]], check: "00000000" }],
  ["has no operations", { from: 5, version: 6 }],
])) {
  test(`a delta that ${what} is not shown, and the next connection starts with a snapshot`, () => {
    const { stream, last, clock, boards, connections } = setUpLive();
    const first = last();
    first.frame("delta", delta);
    assert.equal(first.isClosed, true);
    assert.equal(stream.state, "reconnecting");
    assert.deepEqual(boards, ["5: 1a30 2b20"]);
    clock.advance(500);
    assert.equal(connections.length, 2);
    assert.equal(last().url.searchParams.has("since"), false);
    last().open();
    assert.equal(stream.state, "reconnecting"); // not before there is something to trust
    last().frame("scoreboard:snapshot", snapshot(9));
    assert.equal(stream.state, "live");
  });
}

test("a resumed connection takes the missed delta, without a snapshot", () => {
  const { stream, last, clock, boards } = setUpLive();
  last().drop();
  clock.advance(500);
  assert.equal(last().url.searchParams.get("since"), "e1.5");
  last().open();
  last().frame("delta", { from: 5, version: 12, ops: [["=", 0, 42, TIME]] });
  assert.deepEqual(boards.at(-1), "12: 1a42 2b20");
  assert.equal(stream.state, "live");
});

test("a server that lags behind is gone on from unseen, until it has caught up with what is shown", () => {
  const { last, clock, boards } = setUpLive();
  last().frame("delta", { from: 5, version: 9, ops: [["=", 0, 39, TIME]] });
  last().drop();
  clock.advance(500);
  last().open();
  last().frame("scoreboard:snapshot", snapshot(5));
  last().frame("delta", { from: 5, version: 8, ops: [["=", 0, 38, TIME]] });
  assert.equal(boards.length, 2);
  last().frame("delta", { from: 8, version: 10, ops: [["=", 0, 40, TIME]] });
  assert.deepEqual(boards, ["5: 1a30 2b20", "9: 1a39 2b20", "10: 1a40 2b20"]);
});

test("deltas go on from whole lists: a server may speak either", () => {
  const { last, boards } = setUpLive();
  last().frame("score:update", { ...snapshot(6), userId: "a", newScore: 30, updates: [] });
  last().frame("delta", { from: 6, version: 7, ops: [["-", 0]] });
  assert.equal(boards.at(-1), "7: 1b20");
});

test("server:bye is waited for, and then the stream goes on where it was", () => {
  const { last, clock, connections } = setUpLive();
  last().frame("delta", { from: 5, version: 6, ops: [] });
  last().frame("server:bye", { reason: "restart", reconnectInMs: 7_000 });
  last().drop(1012);
  clock.advance(6_999);
  assert.equal(connections.length, 1);
  clock.advance(1);
  assert.equal(last().url.searchParams.get("since"), "e1.6");
});

test("where WebSockets worked it takes six that bring nothing until SSE comes, from the same position, and it stays while it works", () => {
  const { stream, last, clock, connections, untilRetry } = setUpLive();
  last().drop();
  clock.advance(500);
  for (let miss = 0; miss < 6; miss += 1) {
    assert.equal(last().way, "websocket"); // a server that restarts answers no WebSocket for a while
    last().drop();
    untilRetry();
  }
  assert.deepEqual(connections.map(({ way }) => way), [...Array(7).fill("websocket"), "sse"]);
  assert.equal(last().url.href, "http://board.example:8080/api/v1/scoreboard/stream?board=global&limit=10");
  assert.equal(last().lastEventId, "e1.5");
  last().open();
  last().frame("score:update", { ...snapshot(6), userId: "a", newScore: 30, updates: [] });
  assert.deepEqual(stream.position, { epoch: "e1", version: 6 });
  last().drop();
  untilRetry();
  assert.equal(last().way, "sse");
});

test("where SSE brings nothing either, WebSockets have their turn again", () => {
  const { stream, last, connections, untilRetry } = setUp();
  stream.start();
  for (let miss = 0; miss < 6; miss += 1) {
    last().drop();
    untilRetry();
  }
  assert.deepEqual(connections.map(({ way }) => way), ["websocket", "websocket", "sse", "sse", "websocket", "websocket", "sse"]);
});

test("a WebSocket that opens and stays silent counts as one that brought nothing", () => {
  const { stream, last, clock, untilRetry } = setUp();
  stream.start();
  for (let miss = 0; miss < 2; miss += 1) {
    last().open();
    clock.advance(45_000);
    untilRetry();
  }
  assert.equal(last().way, "sse");
});

test("after ten minutes of SSE a lost connection gives WebSockets one more try", () => {
  const { stream, last, clock, connections, untilRetry } = setUp();
  stream.start();
  for (let miss = 0; miss < 2; miss += 1) {
    last().drop();
    untilRetry();
  }
  last().open();
  for (let beat = 0; beat < 31; beat += 1) {
    last().frame("heartbeat", { board: "global", epoch: "e1", version: 1 });
    clock.advance(20_000);
  }
  last().drop();
  untilRetry();
  assert.equal(last().way, "websocket");
  last().drop();
  untilRetry();
  assert.equal(last().way, "sse");
  assert.equal(connections.length, 5);
});

test("SSE's answer says when to come back", () => {
  const { stream, last, clock, connections } = setUp({ transports: ["sse"] });
  stream.start();
  last().onclose?.({ status: 429, retryAfterMs: 9_000 });
  clock.advance(8_999);
  assert.equal(connections.length, 1);
  clock.advance(1);
  assert.equal(connections.length, 2);
});

test("a token goes along as a subprotocol; another one is asked for at every connection and on renew", async () => {
  let number = 0;
  const { stream, last, clock, connections } = setUp({ token: async () => `t${(number += 1)}` });
  stream.start();
  assert.equal(connections.length, 0);
  await settled();
  assert.deepEqual(last().protocols, ["scoreboard.v1.delta", "scoreboard.v1", "bearer.t1"]);
  last().open();
  last().frame("scoreboard:snapshot", snapshot(5));
  last().drop();
  clock.advance(500);
  await settled();
  assert.equal(last().protocols.at(-1), "bearer.t2");
  last().open();
  const second = last();
  stream.renew();
  await settled();
  assert.equal(second.isClosed, true);
  assert.equal(stream.state, "live"); // what is shown is as good as before
  assert.equal(last().protocols.at(-1), "bearer.t3");
});

test("a token that comes after the stop opens nothing", async () => {
  const { stream, connections } = setUp({ token: async () => "t" });
  stream.start();
  stream.stop();
  await settled();
  assert.equal(connections.length, 0);
});

test("a refused token is told, and the stream goes on without it", () => {
  const { stream, last, untilRetry } = setUp({ token: () => "old" });
  /** @type {string[]} */
  const refused = [];
  stream.on("token:refused", ({ token }) => refused.push(token));
  stream.start();
  for (let miss = 0; miss < 2; miss += 1) {
    last().drop(); // all that a browser tells of a 401
    untilRetry();
  }
  assert.deepEqual([last().way, last().token], ["sse", "old"]);
  last().onclose?.({ status: 401 });
  assert.deepEqual(refused, ["old"]);
  untilRetry();
  assert.deepEqual(last().protocols, ["scoreboard.v1.delta", "scoreboard.v1"]);
  last().open();
  last().frame("scoreboard:snapshot", snapshot(5));
  assert.equal(stream.state, "live");
});

test("a token that ends while the stream is open ends the stream, which goes on without it until there is another", () => {
  let token = "t1";
  const { stream, last, untilRetry } = setUpLive({ token: () => token });
  /** @type {string[]} */
  const refused = [];
  stream.on("token:refused", (event) => refused.push(event.token));
  last().onclose?.({ code: 1008, reason: "token_revoked" });
  assert.deepEqual(refused, ["t1"]);
  untilRetry();
  assert.deepEqual(last().protocols, ["scoreboard.v1.delta", "scoreboard.v1"]);
  assert.equal(last().url.searchParams.get("since"), "e1.5");
  token = "t2";
  stream.renew();
  assert.equal(last().protocols.at(-1), "bearer.t2");
});

test("the curve is asked for, never goes back, and ends with its epoch", () => {
  const { stream, last } = setUpLive({ curve: true });
  assert.equal(last().url.searchParams.get("curve"), "1");
  assert.equal(stream.approximateRank(15), null);
  const curve = { board: "global", epoch: "e1", version: 7, players: 101, points: [[1, 30], [101, 10]] };
  last().frame("scoreboard:curve", curve);
  assert.equal(stream.approximateRank(15), 76);
  last().frame("scoreboard:curve", { ...curve, version: 6, points: [[1, 30]] });
  assert.equal(stream.approximateRank(15), 76);
  last().frame("scoreboard:snapshot", snapshot(1, "e2"));
  assert.equal(stream.approximateRank(15), null);
});

test("a platform that does not even try counts as a miss", () => {
  const { stream, last, untilRetry } = setUp({
    openSocket: () => {
      throw new Error("mixed content");
    },
  });
  stream.start();
  untilRetry();
  untilRetry();
  assert.equal(last().way, "sse");
});

async function settled() {
  await new Promise((resolve) => setImmediate(resolve));
}
