/** The stream's client, in a real browser and in Node, against the real binary. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { Ajv } from "ajv";
import { ScoreboardStream } from "../page/client/scoreboard-stream.js";
import { OPTIONS, SKIPPED, binary } from "./support/binary.js";
import { launchBrowser, visitor } from "./support/browser.js";
import { Player } from "./support/player.js";
import { Server } from "./support/server.js";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {import("../page/client/stream-types.d.ts").Snapshot} Snapshot */

/** @type {Server} */
let server;
/** @type {import("playwright-core").Browser} */
let browser;
/** @type {Player} */
let ada;
/** @type {Player} */
let grace;

before(async () => {
  if (SKIPPED) return;
  server = await Server.create(binary());
  await server.start(LIMITS);
  browser = await launchBrowser();
  ada = await Player.register(server.url, "Ada");
  grace = await Player.register(server.url, "Grace");
});

after(async () => {
  await browser?.close();
  await server?.remove();
});

const LIMITS = { SCOREBOARD__LIMITS__USER_UPDATES_PER_MINUTE: "0" };

test("in a browser: deltas, a crash, a restart with a goodbye, and never a step back", OPTIONS, async (t) => {
  const { page } = await visitor(browser);
  t.after(() => page.context().close());
  await page.goto(server.url);
  await watch(page, { token: ada.accessToken });
  await hasState(page, "live");
  await ada.finishTask();
  await shows(page, ["1 Ada 10"]);
  await grace.finishTask();
  await grace.finishTask();
  await shows(page, ["1 Grace 20", "2 Ada 10"]);
  const { events } = await seen(page);
  assert.ok(events.includes("delta"));
  assert.equal(events.filter((event) => event === "score:me").length, 1, "Ada's own change, and nobody else's");

  await server.kill();
  await hasState(page, "reconnecting");
  await server.start(LIMITS);
  await ada.finishTask();
  await ada.finishTask();
  await shows(page, ["1 Ada 30", "2 Grace 20"]);

  const beforeBye = (await seen(page)).events.length;
  assert.equal(await server.terminate(), 0);
  await hasState(page, "reconnecting");
  assert.ok((await seen(page)).events.slice(beforeBye).includes("server:bye"), "there was no goodbye");
  await server.start(LIMITS);
  await grace.finishTask();
  await grace.finishTask();
  await shows(page, ["1 Grace 40", "2 Ada 30"]);
  assert.deepEqual(await truth(), ["1 Grace 40", "2 Ada 30"]);
  const { versions, transports } = await seen(page);
  versions.forEach((version, index) => assert.ok(index === 0 || version >= /** @type {number} */ (versions[index - 1]), `versions: ${versions}`));
  assert.ok(transports.filter((url) => url.startsWith("ws")).length >= 3, `connections: ${transports}`);
});

test("where no WebSocket gets through, the browser's client takes SSE, and resumes there too", OPTIONS, async (t) => {
  const { page } = await visitor(browser);
  t.after(() => page.context().close());
  await page.addInitScript(() => {
    // As behind a proxy that knows nothing of upgrades.
    const Real = WebSocket;
    window.WebSocket = /** @type {any} */ (class extends Real {
      constructor(/** @type {string} */ url, /** @type {string[]} */ protocols) {
        super(`${url.split("/ws/")[0]}/no-upgrade-here`, protocols);
      }
    });
  });
  await page.goto(server.url);
  await watch(page, {});
  await shows(page, await truth());
  await ada.finishTask();
  await shows(page, await truth());
  await server.kill();
  await hasState(page, "reconnecting");
  await server.start(LIMITS);
  await ada.finishTask();
  await shows(page, await truth());
  const { events, transports } = await seen(page);
  assert.ok(events.includes("score:update"));
  assert.ok(transports.some((url) => url.includes("/api/v1/scoreboard/stream")));
});

test("the client follows the board from Node too", OPTIONS, async () => {
  const stream = new ScoreboardStream({ baseUrl: server.url, curve: true });
  /** @type {Snapshot | null} */
  let state = null;
  stream.on("board", (board) => (state = board));
  stream.start();
  await until(async () => state !== null && equals(brief(state), await truth()));
  await grace.finishTask();
  await until(async () => state !== null && equals(brief(state), await truth()));
  await until(async () => (stream.curve?.players ?? 0) >= 2);
  assert.equal(stream.approximateRank(1_000_000), 1);
  assert.equal(stream.approximateRank(-1), stream.curve?.players);
  stream.stop();
  assert.equal(stream.state, "stopped");
});

test("asyncapi.json is an AsyncAPI 3.0 document, and what the stream really sends is as it says", OPTIONS, async (t) => {
  const answer = await fetch(`${server.url}asyncapi.json`);
  assert.equal(answer.status, 200);
  assert.equal((await fetch(`${server.url}asyncapi.json`, { method: "HEAD" })).status, 200);
  /** @type {any} */
  const document = await answer.json();
  const specification = await readFile(new URL("../node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json", import.meta.url), "utf8");
  const asyncapi = new Ajv({ strict: false, allErrors: true, validateFormats: false });
  assert.ok(asyncapi.validate(JSON.parse(specification), /** @type {object} */ (document)), asyncapi.errorsText());
  assert.equal(document.servers.websocket.host, new URL(server.url).host);

  const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false }).addSchema(document, "doc");
  /** @param {string} id @param {unknown} payload */
  const fits = (id, payload) => {
    const validate = ajv.getSchema(`doc#/components/messages/${id}/payload`);
    assert.ok(validate, id);
    assert.ok(validate(payload), `${id}: ${ajv.errorsText(validate.errors)} in ${JSON.stringify(payload)}`);
  };
  for (const [id, message] of Object.entries(document.components.messages)) {
    for (const { payload } of /** @type {any} */ (message).examples) fits(id, payload);
  }

  const { page } = await visitor(browser);
  t.after(() => page.context().close());
  /** @type {any[]} */
  const frames = [];
  page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => frames.push(JSON.parse(String(payload)))));
  await page.goto(server.url);
  await watch(page, { token: grace.accessToken });
  await until(async () => frames.length > 0);
  await grace.finishTask();
  await shows(page, await truth());
  const ids = new Map(Object.entries(document.components.messages).flatMap(([id, message]) => (id.endsWith("Event") ? [] : [[/** @type {any} */ (message).name, id]])));
  for (const frame of frames) fits(/** @type {string} */ (ids.get(frame.event)), frame);
  for (const event of ["scoreboard:snapshot", "delta"]) assert.ok(frames.some((frame) => frame.event === event), event);
});

test("/docs shows every operation, asks nobody else, and keeps to its policy", OPTIONS, async (t) => {
  const { page, complaints } = await visitor(browser, { viewport: { width: 1280, height: 900 } });
  t.after(() => page.context().close());
  /** @type {string[]} */
  const foreign = [];
  page.on("request", (request) => {
    if (!request.url().startsWith(server.url) && !request.url().startsWith("data:")) foreign.push(request.url());
  });
  const response = await page.goto(`${server.url}docs`);
  assert.match(response?.headers()["content-security-policy"] ?? "", /default-src 'self'/);
  assert.doesNotMatch(response?.headers()["content-security-policy"] ?? "", /script-src|unsafe-eval/);
  await page.locator(".opblock").first().waitFor();
  const document = /** @type {any} */ (await (await fetch(`${server.url}openapi.json`)).json());
  const operations = Object.values(document.paths).flatMap((path) => Object.keys(/** @type {object} */ (path))).filter((name) => /^(get|post|put|delete|patch|head)$/.test(name));
  await until(async () => (await page.locator(".opblock").count()) === operations.length);
  await page.locator(".opblock-summary").first().click();
  await page.locator(".opblock-body").first().waitFor();
  for (const path of ["/asyncapi.json", "/docs"]) assert.ok(document.paths[path], path);
  assert.equal((await fetch(`${server.url}docs/`)).url, `${server.url}docs`);
  assert.equal((await fetch(`${server.url}docs`, { method: "HEAD" })).status, 200);
  assert.deepEqual(foreign, []);
  assert.deepEqual(complaints, []);
});

/**
 * Follows the board in the page with the client that the server itself gives out.
 * @param {Page} page
 * @param {{ token?: string }} options
 */
async function watch(page, { token = "" }) {
  await page.evaluate(async (accessToken) => {
    const own = /** @type {any} */ (window);
    const path = "/client/scoreboard-stream.js";
    const { ScoreboardStream: Client } = await import(path);
    const [RealSocket, realFetch] = [window.WebSocket, window.fetch];
    own.seen = { events: [], versions: [], transports: [], rows: [], state: "" };
    const stream = new Client({
      baseUrl: location.origin,
      token: () => (accessToken === "" ? null : accessToken),
      backoffBaseMs: 200,
      backoffCapMs: 1_000,
      openSocket: (/** @type {string} */ url, /** @type {string[]} */ protocols) => {
        own.seen.transports.push(url);
        return new RealSocket(url, protocols);
      },
    });
    window.fetch = (input, init) => {
      own.seen.transports.push(String(input));
      return realFetch(input, init);
    };
    for (const event of ["scoreboard:snapshot", "score:update", "delta", "score:me", "server:bye", "scoreboard:stale"]) {
      stream.on(event, () => own.seen.events.push(event));
    }
    stream.on("status", (/** @type {any} */ status) => (own.seen.state = status.state));
    stream.on("board", (/** @type {any} */ board) => {
      own.seen.versions.push(board.version);
      own.seen.rows = board.leaderboard.map((/** @type {any} */ entry) => `${entry.rank} ${entry.username} ${entry.score}`);
    });
    stream.start();
  }, token);
}

/**
 * @param {Page} page
 * @returns {Promise<{ events: string[], versions: number[], transports: string[], rows: string[], state: string }>}
 */
async function seen(page) {
  return page.evaluate(() => /** @type {any} */ (window).seen);
}

/**
 * @param {Page} page
 * @param {string[]} rows
 */
async function shows(page, rows) {
  await until(async () => equals((await seen(page)).rows, rows), async () => JSON.stringify(await seen(page)));
}

/**
 * @param {Page} page
 * @param {string} state
 */
async function hasState(page, state) {
  await until(async () => (await seen(page)).state === state);
}

async function truth() {
  const top = await fetch(`${server.url}api/v1/scoreboard/top`);
  return brief({ leaderboard: /** @type {any} */ (await top.json()) });
}

/** @param {Pick<Snapshot, "leaderboard">} state */
function brief({ leaderboard }) {
  return leaderboard.map(({ rank, username, score }) => `${rank} ${username} ${score}`);
}

/**
 * @param {string[]} left
 * @param {string[]} right
 */
function equals(left, right) {
  return left.join("\n") === right.join("\n");
}

/**
 * @param {() => Promise<boolean>} holds
 * @param {() => Promise<string>} [instead]
 */
async function until(holds, instead = async () => "") {
  const deadline = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > deadline) assert.fail(`it did not come true within 30 s ${await instead()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
