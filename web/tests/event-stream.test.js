import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { EventParser, EventStream } from "../page/client/event-stream.js";

const TEXT = ': hello\r\nid: e1.5\r\nevent: scoreboard:snapshot\r\ndata: {"version":5,\r\ndata: "name":"Zoë"}\r\n\r\nevent:heartbeat\ndata:{}\n\n\ndata: 1\r\revent: none\n\n';
const EVENTS = [["scoreboard:snapshot", '{"version":5,\n"name":"Zoë"}'], ["heartbeat", "{}"], ["message", "1"]];

test("events are found however the bytes are cut", () => {
  for (let size = 1; size <= TEXT.length; size += 1) {
    /** @type {string[][]} */
    const events = [];
    const parser = new EventParser((event, data) => events.push([event, data]));
    for (let at = 0; at < TEXT.length; at += size) parser.push(TEXT.slice(at, at + size));
    assert.deepEqual(events, EVENTS, `in pieces of ${size}`);
  }
});

test("a stream over HTTP: frames, the end, the headers that it was asked with", async (t) => {
  const server = createServer((request, response) => {
    assert.equal(request.headers["last-event-id"], "e1.5");
    assert.equal(request.headers.authorization, "Bearer t");
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("event: heart");
    response.end('beat\ndata: {"version":5}\n\n');
  });
  const { frames, end } = await asked(t, server, { token: "t", lastEventId: "e1.5" });
  assert.deepEqual(frames, [{ event: "heartbeat", data: { version: 5 } }]);
  assert.deepEqual(end, {});
});

test("a refusal tells its status, and when to come back", async (t) => {
  const server = createServer((_, response) => response.writeHead(429, { "retry-after": "7" }).end("{}"));
  const { frames, end } = await asked(t, server, { token: null, lastEventId: null });
  assert.deepEqual(frames, []);
  assert.deepEqual(end, { status: 429, retryAfterMs: 7_000 });
});

test("a server that is not there is a connection that ended, and after a close nothing is heard", async (t) => {
  const stream = new EventStream("http://127.0.0.1:1/", { token: null, lastEventId: null, fetch });
  assert.deepEqual(await new Promise((resolve) => (stream.onclose = resolve)), {});

  const server = createServer((_, response) => void response.writeHead(200).write("event: heartbeat\ndata: {}\n\n"));
  const url = await listening(t, server);
  const closed = new EventStream(url, { token: null, lastEventId: null, fetch });
  const gone = once(server, "connection").then(([socket]) => once(socket, "close"));
  let heard = 0;
  closed.onmessage = () => closed.close();
  closed.onclose = () => (heard += 1);
  await gone;
  assert.equal(heard, 0);
});

/**
 * @param {import("node:test").TestContext} t
 * @param {import("node:http").Server} server
 * @param {{ token: string | null, lastEventId: string | null }} options
 */
async function asked(t, server, options) {
  const stream = new EventStream(await listening(t, server), { ...options, fetch });
  /** @type {unknown[]} */
  const frames = [];
  stream.onmessage = ({ data }) => data !== "" && frames.push(JSON.parse(data));
  const end = await new Promise((resolve) => (stream.onclose = resolve));
  return { frames, end };
}

/**
 * @param {import("node:test").TestContext} t
 * @param {import("node:http").Server} server
 */
async function listening(t, server) {
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${/** @type {import("node:net").AddressInfo} */ (server.address()).port}/`;
}
