/** The page in a real browser against the real binary. */

import assert from "node:assert/strict";
import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { OPTIONS as options, SKIPPED, binary } from "./support/binary.js";
import { launchBrowser, visitor } from "./support/browser.js";
import { Server } from "./support/server.js";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {import("playwright-core").Browser} Browser */

const VISIBLE_WITHIN_MS = 1_000;
const LIVE_AGAIN_WITHIN_MS = 20_000;
const PASSWORD = "correct horse battery";

/** @type {Server} */
let server;
/** @type {Browser} */
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

test("a score is on another screen within a second, and both screens survive a crash of the server", options, async (t) => {
  const player = await visitor(browser, { colorScheme: "dark", viewport: { width: 1280, height: 900 } });
  const watcher = await visitor(browser, { colorScheme: "light", viewport: { width: 390, height: 844 } });
  t.after(() => Promise.all([player.page.context().close(), watcher.page.context().close()]));
  const shots = await mkdtemp(join(tmpdir(), "scoreboard-screenshots-"));
  t.diagnostic(`screenshots are in ${shots}`);

  await Promise.all([player.page.goto(server.url), watcher.page.goto(server.url)]);
  await Promise.all([isLive(player.page), isLive(watcher.page)]);
  await watcher.page.getByText("The podium is free").waitFor();

  await register(player.page, "Ada");
  const first = await score(player.page, 250);
  assert.equal(first.answer.newScore, 250);
  assert.equal(first.answer.rank, 1);
  const seenAt = await seesRow(watcher.page, "Ada", "250");
  t.diagnostic(`on the other screen ${seenAt - first.answeredAt} ms after the answer`);
  assert.ok(seenAt - first.answeredAt < VISIBLE_WITHIN_MS, `it took ${seenAt - first.answeredAt} ms`);
  assert.equal(await player.page.locator("#rows tr.own .name").textContent(), "Ada");

  const task = await score(player.page, 10);
  assert.equal(task.answer.newScore, 260);
  await seesRow(watcher.page, "Ada", "260");
  await player.page.locator("#player-score", { hasText: "260" }).waitFor();

  await register(watcher.page, "Grace");
  await score(watcher.page, 50);
  await seesRow(player.page, "Grace", "50");
  assert.deepEqual(await board(player.page), ["1 Ada 260", "2 Grace 50"]);
  await player.page.screenshot({ path: join(shots, "desktop-dark.png") });
  await watcher.page.screenshot({ path: join(shots, "phone-light.png"), fullPage: true });
  assert.deepEqual([...player.complaints, ...watcher.complaints], []);

  await server.kill();
  await Promise.all([isNotLive(player.page), isNotLive(watcher.page)]);
  await player.page.screenshot({ path: join(shots, "reconnecting.png") });
  await server.start();
  await Promise.all([isLive(player.page), isLive(watcher.page)]);
  for (const { page } of [player, watcher]) assert.deepEqual(await board(page), ["1 Ada 260", "2 Grace 50"]);
  assert.deepEqual([...player.complaints, ...watcher.complaints].filter((text) => !isConnectionError(text)), []);

  // Session, key and stream are as good as before.
  player.complaints.length = watcher.complaints.length = 0;
  await score(watcher.page, 250);
  await seesRow(player.page, "Grace", "300");
  for (const { page } of [player, watcher]) assert.deepEqual(await board(page), ["1 Grace 300", "2 Ada 260"]);
  assert.deepEqual([...player.complaints, ...watcher.complaints], []);
});

test("refusals are told: a name that is taken, a wrong password, too many actions", options, async (t) => {
  const { page, complaints } = await visitor(browser);
  t.after(() => page.context().close());
  await page.goto(server.url);
  await isLive(page);
  await register(page, "Lin");
  await page.getByRole("button", { name: "Log out" }).click();

  await page.getByText("New player").click();
  await fillIn(page, "lin", PASSWORD);
  await page.getByText("This name is taken").waitFor();
  assert.equal(await page.locator("#username").getAttribute("aria-invalid"), "true");

  await page.getByText("Log in", { exact: true }).first().click();
  await fillIn(page, "Lin", "not the password");
  await page.getByText("Name and password do not match").waitFor();

  await fillIn(page, "Lin", PASSWORD);
  await page.locator("#player-name", { hasText: "Lin" }).waitFor();
  let accepted = 0;
  while ((await press(page, 5)).status() === 200) accepted += 1;
  assert.ok(accepted >= 10, `only ${accepted} were accepted`);
  await page.getByText(/That was too fast\. You can go on in \d+ second/).waitFor();
  assert.equal(await page.locator('[data-points="5"]').getAttribute("aria-disabled"), "true");
  assert.equal(await page.locator("#player-score").textContent(), String(accepted * 5));
  assert.deepEqual(complaints.filter((text) => !/status of (401|404|409|429)/.test(text)), []);
});

test("the page comes with a strict policy, and every part of it with its type", options, async () => {
  const types = { html: "text/html", css: "text/css", js: "text/javascript", svg: "image/svg+xml" };
  const names = await readdir(new URL("../page/", import.meta.url), { recursive: true });
  for (const name of ["", ...names.filter((file) => file.includes(".") && !file.endsWith(".d.ts"))]) {
    const answer = await fetch(server.url + name);
    const extension = /** @type {keyof typeof types} */ (name.split(".")[1] ?? "html");
    assert.equal(answer.status, 200, name);
    assert.equal(answer.headers.get("content-type")?.split(";")[0], types[extension], name);
    assert.equal(answer.headers.get("x-content-type-options"), "nosniff", name);
    if (extension !== "html") continue;
    const policy = answer.headers.get("content-security-policy") ?? "";
    assert.match(policy, /default-src 'self'/);
    assert.doesNotMatch(policy, /unsafe|\*|data:/);
  }
});

test("a board that does not exist is said to be unknown", options, async (t) => {
  const { page } = await visitor(browser);
  t.after(() => page.context().close());
  for (const name of ["nowhere", "Not a board!"]) {
    await page.goto(`${server.url}?board=${encodeURIComponent(name)}`);
    await page.getByText("There is no such board").waitFor();
  }
});

/**
 * @param {Page} page
 * @param {string} username
 */
async function register(page, username) {
  await fillIn(page, username, PASSWORD);
  await page.locator("#player-name", { hasText: username }).waitFor();
}

/**
 * @param {Page} page
 * @param {string} username
 * @param {string} password
 */
async function fillIn(page, username, password) {
  await page.getByLabel("Player name").fill(username);
  await page.getByLabel("Password").fill(password);
  await page.locator("#sign-in-submit").click();
}

/**
 * Presses a button and waits for what the service answers.
 * @param {Page} page
 * @param {number} points
 */
async function press(page, points) {
  await page.locator("#actions:not([aria-busy=true])").waitFor();
  const answered = page.waitForResponse((response) => response.url().includes("/api/v1/score/update"));
  await page.locator(`[data-points="${points}"]`).click();
  return answered;
}

/**
 * @param {Page} page
 * @param {number} points
 */
async function score(page, points) {
  const response = await press(page, points);
  const answeredAt = Date.now();
  assert.equal(response.status(), 200, await response.text());
  return { answer: await response.json(), answeredAt };
}

/**
 * @param {Page} page
 * @param {string} username
 * @param {string} points
 * @returns {Promise<number>} when it was seen
 */
async function seesRow(page, username, points) {
  const seen = await page.waitForFunction(
    ([name, value]) => {
      const rows = [...document.querySelectorAll("#rows tr")];
      const found = rows.some((row) => row.querySelector(".name")?.textContent === name && row.querySelector(".score")?.textContent === value);
      return found ? Date.now() : 0;
    },
    [username, points],
    { timeout: 10_000 },
  );
  return /** @type {Promise<number>} */ (seen.jsonValue());
}

/** @param {Page} page */
async function board(page) {
  return page.$$eval("#rows tr", (rows) =>
    rows.map((row) => [".rank", ".name", ".score"].map((part) => row.querySelector(part)?.textContent).join(" ")),
  );
}

/** @param {Page} page */
async function isLive(page) {
  await page.locator('#status[data-state="live"]').waitFor({ timeout: LIVE_AGAIN_WITHIN_MS });
}

/** @param {Page} page */
async function isNotLive(page) {
  await page.locator('#status[data-state="reconnecting"]').waitFor({ timeout: LIVE_AGAIN_WITHIN_MS });
}

/** @param {string} complaint */
function isConnectionError(complaint) {
  return /WebSocket connection to .* failed|net::ERR_/.test(complaint);
}
