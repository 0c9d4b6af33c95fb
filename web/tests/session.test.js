import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { ApiError, NETWORK_ERROR, ScoreboardApi, UNEXPECTED_ANSWER } from "../page/api.js";
import { play } from "../page/play.js";
import { Session } from "../page/session.js";
import { signedText } from "../page/signature.js";

/** @typedef {{ path: string, method: string, headers: Record<string, string>, body: any }} Request */
/** @typedef {{ status: number, body?: unknown, headers?: Record<string, string> } | Error} Answer */

const KEY = Buffer.alloc(32, 7);
const NOW = Date.parse("2026-11-20T10:00:00.000Z");
const ACTION = { board: "global", actionType: "default", proof: "session", points: 50 };
const APPLIED = { actionId: "a", board: "global", status: "applied", newScore: 50, rank: 1, version: 1 };

/** @param {string} name */
function tokens(name) {
  return {
    accessToken: `access-${name}`,
    refreshToken: `refresh-${name}`,
    tokenType: "Bearer",
    expiresIn: 3600,
    refreshExpiresIn: 86_400,
    userId: "u1",
    username: "ada",
    signingKey: KEY.toString("base64url"),
  };
}

/**
 * @param {number} status
 * @param {string} code
 * @param {Record<string, string>} [headers]
 */
function refusal(status, code, headers = {}) {
  return { status, body: { error: { code, message: code, requestId: "r1" } }, headers };
}

/** A visitor who is logged in, and a service that gives the listed answers one after the other. */
function setUp(/** @type {Answer[]} */ ...answers) {
  const queue = [...answers];
  return setUpWith(({ path }) => queue.shift() ?? new Error(`no answer is left for ${path}`));
}

/** @param {(request: Request) => Answer} service */
function setUpWith(service) {
  /** @type {Request[]} */
  const requests = [];
  /** @type {typeof globalThis.fetch} */
  const fetch = async (path, init) => {
    const body = typeof init?.body === "string" ? JSON.parse(init.body) : undefined;
    const request = { path: String(path), method: init?.method ?? "GET", headers: /** @type {any} */ (init?.headers), body };
    requests.push(request);
    const answer = service(request);
    if (answer instanceof Error) throw answer;
    const text = answer.body === undefined ? null : typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body);
    return new Response(text, { status: answer.status, headers: answer.headers ?? {} });
  };
  /** @type {Map<string, string>} */
  const stored = new Map();
  const storage = {
    getItem: (/** @type {string} */ key) => stored.get(key) ?? null,
    setItem: (/** @type {string} */ key, /** @type {string} */ value) => void stored.set(key, value),
    removeItem: (/** @type {string} */ key) => void stored.delete(key),
  };
  const api = new ScoreboardApi({ fetch, now: () => NOW });
  const session = new Session(api, storage);
  session.adopt(tokens("1"));
  /** @type {number[]} */
  const pauses = [];
  const pause = async (/** @type {number} */ ms) => void pauses.push(ms);
  return { api, session, storage, requests, pauses, pause };
}

test("an error carries code, message, details, request and wait", async () => {
  const body = { error: { code: "rate_limited", message: "slow down", details: { limit: "user" }, requestId: "r9" } };
  const { api } = setUp({ status: 429, body, headers: { "retry-after": "17" } });
  await assert.rejects(api.login("ada", "secret"), (error) => {
    assert.ok(error instanceof ApiError);
    const { status, code, message, details, requestId, retryAfterSeconds, isTransient } = error;
    assert.deepEqual(
      { status, code, message, details, requestId, retryAfterSeconds, isTransient },
      { status: 429, code: "rate_limited", message: "slow down", details: { limit: "user" }, requestId: "r9", retryAfterSeconds: 17, isTransient: false },
    );
    return true;
  });
});

test("no answer, and an answer of somebody in between, are errors of the same type", async () => {
  const { api } = setUp(new TypeError("failed to fetch"), { status: 502, body: "<h1>Bad Gateway</h1>" }, { status: 200, body: "<p>" });
  await assert.rejects(api.pageConfig(), { code: NETWORK_ERROR, status: 0, isTransient: true });
  await assert.rejects(api.pageConfig(), { code: UNEXPECTED_ANSWER, status: 502, isTransient: true });
  await assert.rejects(api.pageConfig(), { code: UNEXPECTED_ANSWER, status: 200, isTransient: false });
});

test("an action is signed over what is sent", async () => {
  const { api, session, requests, pause } = setUp({ status: 200, body: APPLIED });
  assert.deepEqual(await play(api, session, ACTION, { pause }), APPLIED);
  const { path, method, headers, body } = /** @type {Request} */ (requests[0]);
  assert.deepEqual([method, path, headers["authorization"]], ["POST", "/api/v1/score/update", "Bearer access-1"]);
  const signed = signedText({ board: "global", userId: "u1", actionId: body.actionId, actionType: "default", points: 50, timestamp: "2026-11-20T10:00:00.000Z" });
  assert.equal(body.signature, createHmac("sha256", KEY).update(signed).digest("hex"));
  assert.match(body.actionId, /^web-[0-9a-f]{32}$/);
  assert.equal(body.idempotencyKey, body.actionId);
});

test("an action by token proof goes without signature and points", async () => {
  const { api, session, requests, pause } = setUp({ status: 200, body: APPLIED });
  await play(api, session, { board: "global", actionType: "task", proof: "token" }, { pause });
  assert.deepEqual(Object.keys(requests[0]?.body).sort(), ["actionId", "actionType", "board", "idempotencyKey"]);
});

test("where nothing is promised the same action is sent again", async () => {
  const { api, session, requests, pauses, pause } = setUp(
    new TypeError("failed to fetch"),
    refusal(503, "unavailable", { "retry-after": "2" }),
    refusal(409, "request_in_progress", { "retry-after": "1" }),
    { status: 200, body: APPLIED },
  );
  await play(api, session, ACTION, { pause });
  assert.equal(new Set(requests.map(({ body }) => body.actionId)).size, 1);
  assert.deepEqual(pauses, [400, 2_000, 1_200]);
});

test("after four attempts, or before a long wait, the visitor is told", async () => {
  const tired = setUp(...Array.from({ length: 5 }, () => refusal(503, "unavailable")));
  await assert.rejects(play(tired.api, tired.session, ACTION, { pause: tired.pause }), { code: "unavailable" });
  assert.equal(tired.requests.length, 4);
  const long = setUp(refusal(503, "unavailable", { "retry-after": "30" }));
  await assert.rejects(play(long.api, long.session, ACTION, { pause: long.pause }), { code: "unavailable", retryAfterSeconds: 30 });
  assert.equal(long.requests.length, 1);
});

test("a refusal is not repeated", async () => {
  const { api, session, requests, pause } = setUp(refusal(429, "rate_limited", { "retry-after": "30" }));
  await assert.rejects(play(api, session, ACTION, { pause }), { code: "rate_limited", retryAfterSeconds: 30 });
  assert.equal(requests.length, 1);
});

test("a pending answer is followed to its receipt", async () => {
  const pending = { ...APPLIED, status: "pending", newScore: null, rank: null, version: null };
  const { api, session, requests, pause } = setUp({ status: 202, body: pending }, { status: 200, body: pending }, { status: 200, body: APPLIED });
  assert.equal((await play(api, session, ACTION, { pause })).status, "applied");
  assert.equal(requests[2]?.path, `/api/v1/score/updates/${requests[0]?.body.actionId}?board=global`);
});

test("expired tokens are renewed once for all calls, and the action is signed anew", async () => {
  const { api, session, requests, pause } = setUpWith(({ path, headers }) => {
    if (path === "/api/v1/auth/refresh") return { status: 200, body: tokens("2") };
    return headers["authorization"] === "Bearer access-1" ? refusal(401, "token_expired") : { status: 200, body: APPLIED };
  });
  await Promise.all([play(api, session, ACTION, { pause }), play(api, session, ACTION, { pause })]);
  const refreshes = requests.filter(({ path }) => path === "/api/v1/auth/refresh");
  assert.deepEqual(refreshes.map(({ body }) => body), [{ refreshToken: "refresh-1" }]);
  const renewed = requests.filter(({ headers }) => headers["authorization"] === "Bearer access-2");
  assert.equal(renewed.length, 2);
});

test("the session ends when the service says so, and says why", async () => {
  for (const code of ["token_revoked", "unauthenticated"]) {
    const { api, session, storage, pause } = setUp(refusal(401, code));
    /** @type {(string | undefined)[]} */
    const ends = [];
    session.onChange(({ endedBy }) => ends.push(endedBy?.code));
    await assert.rejects(play(api, session, ACTION, { pause }), { code });
    assert.equal(session.player, null);
    assert.deepEqual(ends, [code]);
    assert.equal(new Session(api, storage).player, null);
  }
});

test("a refresh that is refused ends the session; one without an answer does not", async () => {
  const reused = setUp(refusal(401, "token_expired"), refusal(401, "refresh_token_reused"));
  await assert.rejects(play(reused.api, reused.session, ACTION, { pause: reused.pause }), { code: "refresh_token_reused" });
  assert.equal(reused.session.player, null);

  const offline = setUp(refusal(401, "token_expired"), new TypeError("failed to fetch"), refusal(401, "token_expired"), { status: 200, body: tokens("2") }, { status: 200, body: APPLIED });
  assert.equal((await play(offline.api, offline.session, ACTION, { pause: offline.pause })).status, "applied");
});

test("a session outlives a reload, and a damaged one counts as none", () => {
  const { api, storage } = setUp();
  assert.equal(new Session(api, storage).player?.username, "ada");
  storage.setItem("scoreboard.session", "{");
  assert.equal(new Session(api, storage).player, null);
});

test("logging out ends the session at once, even without a connection", async () => {
  const { session, requests } = setUp(new TypeError("failed to fetch"));
  const done = session.logout();
  assert.equal(session.player, null);
  await done;
  assert.deepEqual([requests[0]?.path, requests[0]?.headers["authorization"]], ["/api/v1/auth/logout", "Bearer access-1"]);
});

test("a device whose clock is off signs with the server's time", async () => {
  const date = new Date(NOW + 3_600_000).toUTCString();
  const { api, session, requests, pause } = setUp({ status: 200, body: { streamUrl: null, board: "global" }, headers: { date } }, { status: 200, body: APPLIED, headers: { date } });
  await api.pageConfig();
  await play(api, session, ACTION, { pause });
  assert.equal(requests[1]?.body.timestamp, "2026-11-20T11:00:00.000Z");
});

test("the stream gets a token that is good, a fresh one if it is not, and none rather than an expired one", async () => {
  const expiring = (/** @type {number} */ at) => `x.${Buffer.from(JSON.stringify({ exp: at / 1000 })).toString("base64url")}.x`;
  const [old, fresh] = [expiring(NOW), expiring(NOW + 3_600_000)];
  const good = setUp({ status: 200, body: { ...tokens("b"), accessToken: fresh } });
  good.session.adopt({ ...tokens("a"), accessToken: old });
  assert.equal(await good.session.streamToken(NOW - 60_000), old);
  assert.equal(good.requests.length, 0);
  assert.equal(await good.session.streamToken(NOW), fresh);
  assert.equal(good.requests[0]?.path, "/api/v1/auth/refresh");

  const away = setUp(new Error("no network"));
  away.session.adopt({ ...tokens("a"), accessToken: old });
  assert.equal(await away.session.streamToken(NOW), null);
  await away.session.logout().catch(() => {});
  assert.equal(await away.session.streamToken(NOW), null);
});
