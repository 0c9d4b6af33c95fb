/**
 * A client of the live stream, usable without the rest of the page.
 *
 *     const stream = new ScoreboardStream({ baseUrl: location.origin, board: "global" });
 *     stream.on("board", ({ leaderboard }) => draw(leaderboard));
 *     stream.on("status", ({ state }) => badge(state));
 *     stream.start();
 *
 * It holds the position (epoch and version) of the state that it delivered last. Within an epoch that position never goes back, whatever
 * arrives; after a lost connection it asks to go on from there. It waits as long as `server:bye` says, and otherwise twice as long after
 * every failure, up to a cap, half of it at random, so that a restarted server is not met by everyone at once.
 */

/** @typedef {import("../contract.js").StreamEvents} StreamEvents */
/** @typedef {import("../contract.js").StreamOptions} StreamOptions */
/** @typedef {import("../contract.js").StreamState} StreamState */
/** @typedef {import("../contract.js").SocketLike} SocketLike */
/** @typedef {{ epoch: string, version: number }} Position */

export const PROTOCOL = "scoreboard.v1";

const DEFAULTS = {
  limit: 10,
  protocols: () => [PROTOCOL],
  backoffBaseMs: 500,
  backoffCapMs: 15_000,
  // The server is never silent for more than 20 s.
  silenceMs: 45_000,
  connectTimeoutMs: 10_000,
  stableMs: 5_000,
  /** @type {NonNullable<StreamOptions["openSocket"]>} */
  openSocket: (url, protocols) => new WebSocket(url, protocols),
  clock: {
    now: () => Date.now(),
    setTimeout: (/** @type {() => void} */ callback, /** @type {number} */ ms) => setTimeout(callback, ms),
    clearTimeout: (/** @type {any} */ handle) => clearTimeout(handle),
  },
  random: () => Math.random(),
};

/** How long the server may take to close after its `server:bye`. */
const BYE_GRACE_MS = 5_000;
const BYE_WAIT_CAP_MS = 120_000;

/**
 * The wait before the attempt after `failures` failed ones: at least half, at most all of a step that doubles up to the cap.
 * @param {number} failures
 * @param {{ baseMs: number, capMs: number, random: () => number }} options
 */
export function backoffMs(failures, { baseMs, capMs, random }) {
  const step = Math.min(capMs, baseMs * 2 ** Math.min(failures, 30));
  return Math.round(step / 2 + (step / 2) * random());
}

/**
 * @param {string} baseUrl http(s) origin, possibly with a path before it
 * @param {{ board: string, limit: number, since: Position | null }} query
 */
export function socketUrl(baseUrl, { board, limit, since }) {
  const url = new URL(baseUrl);
  url.protocol = url.protocol === "https:" || url.protocol === "wss:" ? "wss:" : "ws:";
  url.pathname = `${url.pathname.replace(/\/+$/, "")}/ws/scoreboard`;
  url.hash = "";
  url.search = "";
  url.searchParams.set("board", board);
  url.searchParams.set("limit", String(limit));
  if (since !== null) url.searchParams.set("since", `${since.epoch}.${since.version}`);
  return url.href;
}

export class ScoreboardStream {
  /** @type {Required<StreamOptions>} */
  #options;
  /** @type {Map<string, Set<(data: any) => void>>} */
  #listeners = new Map();
  /** @type {StreamState} */
  #state = "stopped";
  /** @type {Position | null} */
  #position = null;
  /** @type {SocketLike | null} */
  #socket = null;
  #failures = 0;
  /** @type {number | null} */
  #byeWaitMs = null;
  /** @type {Map<string, any>} */
  #timers = new Map();

  /** @param {StreamOptions} options */
  constructor(options) {
    this.#options = { ...DEFAULTS, ...options };
    socketUrl(options.baseUrl, { board: options.board, limit: this.#options.limit, since: null });
  }

  get state() {
    return this.#state;
  }

  /** The state that was delivered last; null before the first one. */
  get position() {
    return this.#position === null ? null : { ...this.#position };
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
    this.#enter(this.#position === null ? "connecting" : "reconnecting");
    this.#connect();
  }

  stop() {
    this.#leave(1000);
    this.#enter("stopped");
  }

  /** Ends a wait: for a browser that is online or in the foreground again. An open connection is left alone. */
  reconnectNow() {
    if (this.#timers.has("retry")) this.#connect();
  }

  #connect() {
    this.#cancel("retry");
    const { baseUrl, board, limit, protocols, openSocket, connectTimeoutMs } = this.#options;
    const socket = openSocket(socketUrl(baseUrl, { board, limit, since: this.#position }), protocols());
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = (event) => this.#received(event.data);
    socket.onclose = () => this.#retry();
    socket.onerror = () => {}; // a close follows
    this.#arm("connect", connectTimeoutMs, () => this.#retry());
  }

  #opened() {
    this.#cancel("connect");
    this.#arm("stable", this.#options.stableMs, () => {
      this.#failures = 0;
    });
    this.#heard();
    // Who resumes at the head is sent nothing old, so there may be no frame to wait for; a server that is unsure says so.
    if (this.#position !== null) this.#enter("live");
  }

  /** @param {unknown} text */
  #received(text) {
    this.#heard();
    const frame = parse(text);
    if (frame === null) return;
    const { event, data } = frame;
    if (typeof data.board === "string" && data.board !== this.#options.board) return;
    switch (event) {
      case "scoreboard:snapshot":
        if (isBoardState(data)) this.#snapshot(event, data);
        break;
      case "score:update":
        if (isBoardState(data)) this.#update(event, data);
        break;
      case "heartbeat":
        if (isPosition(data)) this.#heartbeat(data);
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

  /**
   * @param {"scoreboard:snapshot"} event
   * @param {any} data
   */
  #snapshot(event, data) {
    if (this.#position?.epoch === data.epoch && data.version < /** @type {Position} */ (this.#position).version) return;
    this.#position = { epoch: data.epoch, version: data.version };
    this.#enter("live");
    this.#emit(event, data);
    this.#emit("board", data);
  }

  /**
   * @param {"score:update"} event
   * @param {any} data
   */
  #update(event, data) {
    if (this.#position?.epoch === data.epoch && data.version <= /** @type {Position} */ (this.#position).version) return;
    this.#position = { epoch: data.epoch, version: data.version };
    // After `scoreboard:stale` only a snapshot says that the server is sure again.
    if (this.#state !== "stale") this.#enter("live");
    this.#emit(event, data);
    this.#emit("board", data);
  }

  /** @param {any} data */
  #heartbeat(data) {
    this.#emit("heartbeat", data);
    // Its version is the board's, which may be ahead of the visible rows; so it moves nothing. Another epoch means that
    // what is shown belongs to a history that ended, and no snapshot came: ask for one.
    if (this.#position === null || this.#position.epoch === data.epoch) return;
    this.#position = null;
    this.#retry();
  }

  /** @param {any} data */
  #bye(data) {
    const wait = Number(data.reconnectInMs);
    if (Number.isFinite(wait)) this.#byeWaitMs = Math.min(Math.max(wait, 0), BYE_WAIT_CAP_MS);
    this.#arm("bye", BYE_GRACE_MS, () => this.#retry());
    this.#emit("server:bye", data);
  }

  /** Gives the connection up, if there still is one, and plans the next. */
  #retry() {
    this.#leave(1000);
    const { backoffBaseMs: baseMs, backoffCapMs: capMs, random } = this.#options;
    const waitMs = this.#byeWaitMs ?? backoffMs(this.#failures, { baseMs, capMs, random });
    if (this.#byeWaitMs === null) this.#failures += 1;
    this.#byeWaitMs = null;
    this.#arm("retry", waitMs, () => this.#connect());
    this.#enter("reconnecting", waitMs);
  }

  /**
   * Nothing that the old socket still does is heard: on a dead network its close event may be minutes away.
   * @param {number} code
   */
  #leave(code) {
    for (const name of [...this.#timers.keys()]) this.#cancel(name);
    const socket = this.#socket;
    if (socket === null) return;
    this.#socket = null;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code);
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

/** @param {any} data */
function isPosition(data) {
  return typeof data.epoch === "string" && Number.isSafeInteger(data.version);
}

/** @param {any} data */
function isBoardState(data) {
  return isPosition(data) && Array.isArray(data.leaderboard);
}
