/** Puts the parts together: settings, stream, table, and the visitor's form or card. */

import { ApiError, ScoreboardApi } from "./api.js";
import { BoardView } from "./board-view.js";
import { find } from "./dom.js";
import { explain } from "./messages.js";
import { PlayerCard } from "./player-card.js";
import { Session } from "./session.js";
import { SignIn } from "./sign-in.js";
import { ScoreboardStream, backoffMs } from "./client/scoreboard-stream.js";

/** @typedef {import("../contract.js").ActionType} ActionType */
/** @typedef {import("./client/stream-types.d.ts").StreamStatus} StreamStatus */

const BOARD_ID = /^[a-z0-9-]{1,64}$/;
const START_BACKOFF = { baseMs: 500, capMs: 10_000, random: Math.random };

const api = new ScoreboardApi();
const session = new Session(api, sessionStorage);
const view = new BoardView(() => api.now());
const signIn = new SignIn(api, session);
const card = new PlayerCard(api, session);

/** A returning player may stand below the visible rows. Nothing to ask before the board is known. */
let showStanding = async () => {};
/** Who logs in or out wants other private events. */
let renewStream = () => {};

session.onChange(({ newcomer, endedBy }) => {
  showPlayer();
  renewStream();
  if (session.player === null) {
    signIn.say(endedBy === null ? "" : explain(endedBy));
    signIn.focus();
    return;
  }
  card.focus();
  if (!newcomer) void showStanding();
});
showPlayer();
void start();

async function start() {
  const config = await untilAnswered(() => api.pageConfig(), { streamUrl: null, board: "global" });
  const board = new URLSearchParams(location.search).get("board") ?? config.board;
  find("#board-name", HTMLElement).textContent = board;
  const info = BOARD_ID.test(board) ? await untilAnswered(() => api.board(board), null) : null;
  if (info === null) {
    view.showUnknown();
    find("#play", HTMLElement).hidden = true;
    showStatus({ state: "stopped", retryInMs: null });
    return;
  }
  document.title = board === "global" ? "Scoreboard" : `${board} · Scoreboard`;
  card.offer(board, info.actionTypes);
  watch(config.streamUrl ?? location.origin, board);
}

/**
 * @param {string} baseUrl
 * @param {string} board
 */
function watch(baseUrl, board) {
  const stream = new ScoreboardStream({ baseUrl, board, limit: 10, curve: true, token: () => session.streamToken(api.now()) });
  stream.on("status", showStatus);
  /** @type {import("./client/stream-types.d.ts").Snapshot | null} */
  let shown = null;
  const estimate = () => {
    const { curve } = stream;
    if (curve === null || shown === null || shown.leaderboard.some(isOwn)) return;
    const places = shown.leaderboard.length;
    card.estimate((score) => Math.max(stream.approximateRank(score) ?? 0, places + 1), curve.version);
  };
  stream.on("board", (state) => {
    if (shown?.epoch !== state.epoch) card.forget();
    const own = state.leaderboard.find(isOwn);
    const before = shown?.leaderboard.find(isOwn);
    shown = state;
    view.show(state);
    if (own !== undefined || before === undefined) card.observe(own, state.version);
    else card.observe({ score: before.score, rank: null }, state.version); // overtaken, out of the visible rows
    estimate();
  });
  stream.on("score:me", ({ newScore, rank, version }) => card.observe({ score: newScore, rank }, version));
  stream.on("scoreboard:curve", estimate);
  renewStream = () => stream.renew();
  showStanding = async () => {
    const player = session.player;
    if (player === null) return;
    try {
      const entry = await api.entry(player.userId, board);
      if (session.player?.userId === player.userId) card.observe(entry, stream.position?.version ?? 0);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error; // else: without a score, or not to be had right now
    }
  };
  addEventListener("online", () => stream.reconnectNow());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") stream.reconnectNow();
  });
  stream.start();
  void showStanding();
}

function showPlayer() {
  view.highlight(session.player?.userId ?? null);
  signIn.visible = session.player === null;
  card.show(session.player);
}

/** @param {{ userId: string }} row */
function isOwn({ userId }) {
  return userId === session.player?.userId;
}

/** @param {StreamStatus} status */
function showStatus({ state, retryInMs }) {
  const texts = { connecting: "Connecting", live: "Live", stale: "Catching up", reconnecting: "Reconnecting", stopped: "Not connected" };
  find("#status", HTMLElement).dataset["state"] = state;
  find("#board-card", HTMLElement).dataset["state"] = state;
  const seconds = Math.ceil((retryInMs ?? 0) / 1000);
  find("#status-text", HTMLElement).textContent = seconds > 3 ? `${texts[state]} in ${seconds} s` : texts[state];
}

/**
 * Asks again while there is no answer at all: a page that is opened during a restart is to come up by itself.
 * @template T
 * @param {() => Promise<T>} ask
 * @param {T} fallback for a refusal
 * @returns {Promise<T>}
 */
async function untilAnswered(ask, fallback) {
  for (let failures = 0; ; failures += 1) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!error.isTransient && error.status !== 429) return fallback;
    }
    showStatus({ state: "reconnecting", retryInMs: null });
    await new Promise((resolve) => setTimeout(resolve, backoffMs(failures, START_BACKOFF)));
  }
}
