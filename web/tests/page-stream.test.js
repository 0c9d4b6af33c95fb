/** What the page makes of a stream that the test writes itself; everything else is the real binary's. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { OPTIONS, SKIPPED, binary } from "./support/binary.js";
import { launchBrowser, visitor } from "./support/browser.js";
import { Server } from "./support/server.js";

const TIME = "2026-11-20T10:00:00.000Z";

/** @type {Server} */
let server;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  if (SKIPPED) return;
  server = await Server.create(binary());
  await server.start();
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await server?.remove();
});

/**
 * A page on which five others stand.
 * @param {import("node:test").TestContext} t
 */
async function pageWithFive(t) {
  const { page, complaints } = await visitor(browser);
  t.after(() => page.context().close());
  const names = ["Ada", "Grace", "Lin", "Joan", "Mary"];
  const leaderboard = names.map((name, index) => ({ userId: name, username: name, score: 500 - index * 50, rank: index + 1, lastUpdated: TIME }));
  /** @type {import("playwright-core").WebSocketRoute[]} */
  const sockets = [];
  await page.routeWebSocket(/\/ws\/scoreboard/, (socket) => {
    sockets.push(socket);
    socket.send(JSON.stringify({ event: "scoreboard:snapshot", data: { board: "global", epoch: "e", version: 100, leaderboard } }));
  });
  await page.goto(server.url);
  await page.locator("#rows tr").nth(4).waitFor();
  /** @param {string} event @param {object} data */
  const send = (event, data) => sockets.at(-1)?.send(JSON.stringify({ event, data }));
  return { page, complaints, sockets, send };
}

test("who stands below the visible rows is told about where, and exactly after a move of one's own", OPTIONS, async (t) => {
  const { page, complaints, sockets, send } = await pageWithFive(t);
  assert.equal(new URL(sockets[0]?.url() ?? "").searchParams.get("curve"), "1");
  await page.getByLabel("Player name").fill("Below");
  await page.getByLabel("Password").fill("correct horse battery");
  await page.locator("#sign-in-submit").click();
  await page.locator('[data-points="10"]').click();
  await page.locator("#player-score", { hasText: "10" }).waitFor();
  const rank = page.locator("#player-rank");
  const curve = { board: "global", epoch: "e", version: 101, players: 20_000, points: [[1, 500], [5, 300], [14_237, 10], [20_000, 1]] };
  send("scoreboard:curve", curve);
  await rank.getByText("about 14,200th", { exact: true }).waitFor();
  send("score:me", { board: "global", version: 102, newScore: 20, rank: 12_345, previousRank: 14_237 });
  await rank.getByText("12,345th", { exact: true }).waitFor();
  send("scoreboard:curve", { ...curve, version: 103, players: 6, points: [[1, 500], [5, 300]] });
  await rank.getByText("about 6th", { exact: true }).waitFor();
  assert.ok(sockets.length >= 2, "who logs in connects anew, with the token");
  assert.deepEqual(complaints, []);
});

test("a row that moves covers what it passes", OPTIONS, async (t) => {
  const { page, send } = await pageWithFive(t);
  send("delta", { from: 100, version: 101, ops: [["m", 3, 0, 600, TIME]] });
  const backgrounds = await page.waitForFunction(() => {
    const row = document.querySelector('#rows tr[data-user="Joan"].changed');
    if (row === null || row.getAnimations().length === 0) return null;
    for (const animation of document.getAnimations()) {
      animation.pause();
      animation.currentTime = 90;
    }
    return [...row.children].map((cell) => getComputedStyle(cell).backgroundColor);
  }, undefined, { polling: "raf" });
  for (const colour of /** @type {string[]} */ (await backgrounds.jsonValue())) {
    assert.doesNotMatch(colour, /rgba\(.*, 0(\.\d+)?\)|\/ 0?\.\d+|transparent/, colour);
  }
});
