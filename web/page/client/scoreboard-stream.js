/**
 * The client of Scoreboard's live stream, for browsers and Node (22 or newer; older ones take Server-Sent Events). No build, no
 * dependencies: the files of this folder can be copied, or imported from the server itself.
 *
 *     import { ScoreboardStream } from "./client/scoreboard-stream.js";
 *     const stream = new ScoreboardStream({ baseUrl: location.origin, board: "global" });
 *     stream.on("board", ({ leaderboard }) => draw(leaderboard));
 *     stream.on("status", ({ state }) => badge(state));
 *     stream.start();
 *
 * It holds the state that it was told last. Within an epoch what it delivers never goes back, whatever arrives; after a lost connection
 * it asks to go on from there. It waits as long as `server:bye` says, and otherwise a random part of a step that doubles after every
 * failure, up to a cap, so that a restarted server is not met by everyone at once. Where no WebSocket gets through it takes SSE.
 */

import { approximateRank } from "./stream-curve.js";
import { DeltaError } from "./stream-delta.js";
import { StreamedBoard } from "./stream-state.js";
import { TransportChoice, eventId, openEventStream, openSocket, streamUrl, transportsHere } from "./stream-transports.js";

/** @typedef {import("./stream-types.d.ts").Curve} Curve */
/** @typedef {import("./stream-types.d.ts").Snapshot} Snapshot */
/** @typedef {import("./stream-types.d.ts").SocketLike} SocketLike */
/** @typedef {import("./stream-types.d.ts").StreamEvents} StreamEvents */
/** @typedef {import("./stream-types.d.ts").StreamOptions} StreamOptions */
/** @typedef {import("./stream-types.d.ts").StreamState} StreamState */

/** Whole lists at every change. */
export const PROTOCOL = "scoreboard.v1";
/** Only what changed. */
export const DELTA_PROTOCOL = "scoreboard.v1.delta";

const DEFAULTS = {
  board: "global",
  limit: 10,
  curve: false,
  token: /** @type {NonNullable<StreamOptions["token"]>} */ (() => null),
  protocols: [DELTA_PROTOCOL, PROTOCOL],
  backoffBaseMs: 500,
  backoffCapMs: 15_000,
  // The server is never silent for more than 20 s.
  silenceMs: 45_000,
  connectTimeoutMs: 10_000,
  stableMs: 5_000,
  retryPreferredMs: 600_000,
  openSocket,
  openEventStream,
  clock: {
    now: () => Date.now(),
    setTimeout: (/** @type {() => void} */ callback, /** @type {number} */ ms) => setTimeout(callback, ms),
    clearTimeout: (/** @type {any} */ handle) => clearTimeout(handle),
  },
  random: () => Math.random(),
};

/** How long the server may take to close after its `server:bye`. */
const BYE_GRACE_MS = 5_000;
/** Nobody is sent away for longer than this. */
const WAIT_CAP_MS = 120_000;

/**
 * The wait before the attempt after `failures` failed ones: anything up to a step that doubles up to the cap ("full jitter").
 * @param {number} failures
 * @param {{ baseMs: number, capMs: number, random: () => number }} options
 */
export function backoffMs(failures, { baseMs, capMs, random }) {
  return Math.round(Math.min(capMs, baseMs * 2 ** Math.min(failures, 30)) * random());
}

export class ScoreboardStream {
  /** @type {Required<StreamOptions>} */
  #options;
  /** @type {Map<string, Set<(data: any) => void>>} */
  #listeners = new Map();
  /** @type {StreamState} */
  #state = "stopped";
  #board = new StreamedBoard();
  /** @type {Curve | null} */
  #curve = null;
  #choice;
  /** @type {SocketLike | null} */
  #socket = null;
  /** Counts connections, so that what belongs to an old one can be told. */
  #attempt = 0;
  #hasFrames = false;
  /** @type {string | null} */
  #token = null;
  /** @type {string | null} */
  #refusedToken = null;
  #failures = 0;
  /** What the server asked for. @type {number | null} */
  #waitMs = null;
  /** @type {Map<string, any>} */
  #timers = new Map();

  /** @param {StreamOptions} options */
  constructor(options) {
    const transports = options.transports ?? transportsHere();
    this.#options = { ...DEFAULTS, transports, ...options };
    this.#choice = new TransportChoice(transports, this.#options.retryPreferredMs, () => this.#options.clock.now());
    this.#address("websocket"); // says now if the address is none
  }

  get state() {
    return this.#state;
  }

  /** The state that was delivered last; null before the first one. */
  get position() {
    return this.#board.shown;
  }

  /** The shape of the whole board, if it was asked for and has come. */
  get curve() {
    return this.#curve;
  }

  /**
   * About the rank of a score on the whole board, without a query.
   * @param {number} score
   * @returns {number | null} null: not known (yet), or `curve` was not asked for
   */
  approximateRank(score) {
    return this.#curve === null ? null : approximateRank(this.#curve, score);
  }

  /**
   * @template {keyof StreamEvents} K
   * @param {K} event
   * @param {(data: StreamEvents[K]) => void} listener
   * @returns {() => void} takes the listener off again
   */
  on(event, listener) {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  start() {
    if (this.#state !== "stopped") return;
    this.#enter(this.position === null ? "connecting" : "reconnecting");
    this.#connect();
  }

  stop() {
    this.#leave();
    this.#waitMs = null;
    this.#enter("stopped");
  }

  /** Ends a wait: for a browser that is online or in the foreground again. An open connection is left alone. */
  reconnectNow() {
    if (this.#timers.has("retry")) this.#connect();
  }

  /** Connects anew where `token` gives another one than this connection was opened with. What is shown stays. */
  renew() {
    if (this.#state === "stopped" || this.#timers.has("retry")) return; // the next connection asks by itself
    this.#leave();
    this.#connect();
  }

  #connect() {
    this.#cancel("retry");
    const attempt = ++this.#attempt;
    this.#hasFrames = false;
    this.#arm("connect", this.#options.connectTimeoutMs, () => this.#retry());
    const token = this.#options.token();
    if (token === null || typeof token === "string") {
      this.#open(token);
      return;
    }
    const open = (/** @type {string | null} */ settled) => {
      if (attempt === this.#attempt) this.#open(settled);
    };
    token.then(open, () => open(null));
  }

  /** @param {string | null} token */
  #open(token) {
    this.#token = token === this.#refusedToken ? null : token;
    const socket = this.#dial();
    if (socket === null) {
      this.#retry();
      return;
    }
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = (event) => this.#received(event.data);
    socket.onclose = (event) => this.#closed(event);
    socket.onerror = () => this.#failed();
  }

  /** @returns {SocketLike | null} null: this platform will not even try */
  #dial() {
    const transport = this.#choice.next();
    const { protocols, openSocket, openEventStream } = this.#options;
    const since = this.#board.since;
    try {
      if (transport === "sse") {
        return openEventStream(this.#address("sse"), { token: this.#token, lastEventId: since === null ? null : eventId(since) });
      }
      return openSocket(this.#address("websocket"), this.#token === null ? protocols : [...protocols, `bearer.${this.#token}`]);
    } catch {
      return null; // a page that came by https may not open ws, say
    }
  }

  /** @param {import("./stream-types.d.ts").Transport} transport */
  #address(transport) {
    const { baseUrl, board, limit, curve } = this.#options;
    return streamUrl(transport, baseUrl, { board, limit, curve, since: this.#board.since });
  }

  #opened() {
    this.#cancel("connect");
    this.#arm("stable", this.#options.stableMs, () => {
      this.#failures = 0;
    });
    this.#heard();
    // Who resumes at the head is sent nothing old, so there may be no frame to wait for; a server that is unsure says so.
    if (this.#board.since !== null) this.#enter("live");
  }

  /** @param {unknown} text */
  #received(text) {
    this.#heard();
    const frame = parse(text);
    if (frame === null) return;
    const { event, data } = frame;
    if (typeof data.board === "string" && data.board !== this.#options.board) return;
    this.#hasFrames = true;
    this.#choice.worked();
    switch (event) {
      case "scoreboard:snapshot":
        if (isBoardState(data)) this.#snapshot(data);
        break;
      case "score:update":
        if (isBoardState(data)) this.#update(data);
        break;
      case "delta":
        this.#delta(data);
        break;
      case "heartbeat":
        if (isPosition(data)) this.#heartbeat(data);
        break;
      case "scoreboard:curve":
        if (isPosition(data) && Array.isArray(data.points)) this.#tellCurve(data);
        break;
      case "scoreboard:stale":
        this.#enter("stale");
        this.#emit(event, data);
        break;
      case "server:bye":
        this.#bye(data);
        break;
      case "score:me":
        this.#emit(event, data);
        break;
      default: // A newer server may say more than this client knows.
    }
  }

  /** @param {any} data */
  #snapshot(data) {
    const shown = this.#board.snapshot(stateOf(data));
    if (shown === null) return;
    this.#enter("live");
    this.#emit("scoreboard:snapshot", data);
    this.#show(shown);
  }

  /** @param {any} data */
  #update(data) {
    const shown = this.#board.update(stateOf(data));
    if (shown === null) return;
    // After `scoreboard:stale` only a snapshot says that the server is sure again.
    if (this.#state !== "stale") this.#enter("live");
    this.#emit("score:update", data);
    this.#show(shown);
  }

  /** @param {any} data */
  #delta(data) {
    let shown;
    try {
      if (!Array.isArray(data.ops) || !Number.isSafeInteger(data.version)) throw new DeltaError("this is no delta");
      shown = this.#board.delta(data);
    } catch (error) {
      if (!(error instanceof DeltaError)) throw error;
      this.#startOver();
      return;
    }
    if (shown === null) return;
    if (this.#state !== "stale") this.#enter("live");
    this.#emit("delta", data);
    this.#show(shown);
  }

  /** @param {Snapshot} state */
  #show(state) {
    if (this.#curve !== null && this.#curve.epoch !== state.epoch) this.#curve = null;
    this.#emit("board", state);
  }

  /** @param {any} data */
  #heartbeat(data) {
    this.#emit("heartbeat", data);
    // Its version is the board's, which may be ahead of the visible rows; so it moves nothing. Another epoch means that
    // what is shown belongs to a history that ended, and no snapshot came: ask for one.
    const since = this.#board.since;
    if (since !== null && since.epoch !== data.epoch) this.#startOver();
  }

  /** @param {Curve} curve */
  #tellCurve(curve) {
    const before = this.#curve;
    if (before !== null && before.epoch === curve.epoch && curve.version < before.version) return;
    this.#curve = curve;
    this.#emit("scoreboard:curve", curve);
  }

  /** @param {any} data */
  #bye(data) {
    const wait = Number(data.reconnectInMs);
    if (Number.isFinite(wait)) this.#waitMs = Math.min(Math.max(wait, 0), WAIT_CAP_MS);
    this.#arm("bye", BYE_GRACE_MS, () => this.#retry());
    this.#emit("server:bye", data);
  }

  /** What was told cannot be gone on from: the next connection begins with a snapshot. */
  #startOver() {
    this.#board.distrust();
    this.#retry();
  }

  /** @param {{ status?: number, retryAfterMs?: number, code?: number, reason?: string } | undefined} how the first two of SSE, the others of a WebSocket */
  #closed(how) {
    if (how?.retryAfterMs !== undefined) this.#waitMs = Math.min(how.retryAfterMs, WAIT_CAP_MS);
    const token = this.#token;
    const isRefused = how?.status === 401 || (how?.code === 1008 && how.reason?.startsWith("token_"));
    if (isRefused && token !== null) {
      this.#refusedToken = token;
      if (how?.status === 401) this.#choice.reset();
      this.#hasFrames = true; // the way was open
      this.#emit("token:refused", { token });
    }
    if (this.#state !== "stopped") this.#retry(); // unless a listener stopped it
  }

  /** A browser closes a socket after its error; Node does not where the connection never stood. */
  #failed() {
    if (this.#timers.has("connect")) this.#closed(undefined);
  }

  /** Gives the connection up, if there still is one, and plans the next. */
  #retry() {
    this.#leave();
    const { backoffBaseMs: baseMs, backoffCapMs: capMs, random } = this.#options;
    if (!this.#hasFrames) this.#choice.missed();
    const waitMs = this.#waitMs ?? backoffMs(this.#failures, { baseMs, capMs, random });
    if (this.#waitMs === null) this.#failures += 1;
    this.#waitMs = null;
    this.#arm("retry", waitMs, () => this.#connect());
    this.#enter("reconnecting", waitMs);
  }

  /** Nothing that the old socket still does is heard: on a dead network its close event may be minutes away. */
  #leave() {
    for (const name of [...this.#timers.keys()]) this.#cancel(name);
    this.#attempt += 1;
    const socket = this.#socket;
    if (socket === null) return;
    this.#socket = null;
    socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
    socket.close(1000);
  }

  #heard() {
    this.#arm("silence", this.#options.silenceMs, () => this.#retry());
  }

  /**
   * @param {StreamState} state
   * @param {number | null} [retryInMs]
   */
  #enter(state, retryInMs = null) {
    if (state === this.#state && retryInMs === null) return;
    this.#state = state;
    this.#emit("status", { state, retryInMs });
  }

  /**
   * @template {keyof StreamEvents} K
   * @param {K} event
   * @param {StreamEvents[K]} data
   */
  #emit(event, data) {
    for (const listener of this.#listeners.get(event) ?? []) listener(data);
  }

  /**
   * @param {string} name
   * @param {number} ms
   * @param {() => void} callback
   */
  #arm(name, ms, callback) {
    this.#cancel(name);
    const handle = this.#options.clock.setTimeout(() => {
      this.#timers.delete(name);
      callback();
    }, ms);
    this.#timers.set(name, handle);
  }

  /** @param {string} name */
  #cancel(name) {
    if (!this.#timers.has(name)) return;
    this.#options.clock.clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }
}

/**
 * @param {unknown} text
 * @returns {{ event: string, data: any } | null} null for what is not a frame
 */
function parse(text) {
  if (typeof text !== "string") return null;
  try {
    const frame = JSON.parse(text);
    if (typeof frame?.event !== "string" || typeof frame.data !== "object" || frame.data === null) return null;
    return frame;
  } catch {
    return null;
  }
}

/**
 * @param {Snapshot} data of a snapshot, or of an update, which has more
 * @returns {Snapshot}
 */
function stateOf({ board, epoch, version, leaderboard }) {
  return { board, epoch, version, leaderboard };
}

/** @param {any} data */
function isPosition(data) {
  return typeof data.epoch === "string" && Number.isSafeInteger(data.version);
}

/** @param {any} data */
function isBoardState(data) {
  return isPosition(data) && Array.isArray(data.leaderboard);
}
