/** Which way to take to the server: the preferred one as long as it works, and the next one where it brings nothing. */

import { EventStream } from "./event-stream.js";

/** @typedef {import("./stream-types.d.ts").Transport} Transport */
/** @typedef {import("./stream-types.d.ts").Position} Position */

/** So many connections in a row without a single frame, and the next way is tried. */
const MISSES = 2;
/** The same where the preferred way has worked: more likely than the network, the server is away for a moment. */
const MISSES_AFTER_WORKING = 6;

/** @returns {Transport[]} what this platform has, the better one first */
export function transportsHere() {
  return typeof WebSocket === "undefined" ? ["sse"] : ["websocket", "sse"];
}

export class TransportChoice {
  #transports;
  #retryPreferredMs;
  #now;
  #index = 0;
  #misses = 0;
  #workedSince = 0;
  #hasPreferredWorked = false;

  /**
   * @param {readonly Transport[]} transports
   * @param {number} retryPreferredMs
   * @param {() => number} now
   */
  constructor(transports, retryPreferredMs, now) {
    if (transports.length === 0) throw new Error("there is no transport to choose from");
    this.#transports = transports;
    this.#retryPreferredMs = retryPreferredMs;
    this.#now = now;
  }

  /** @returns {Transport} for the next connection */
  next() {
    if (this.#index > 0 && this.#workedSince > 0 && this.#now() - this.#workedSince >= this.#retryPreferredMs) {
      this.reset();
      this.#misses = MISSES - 1; // one try: it is known to have failed here
    }
    return /** @type {Transport} */ (this.#transports[this.#index]);
  }

  /** A connection ended that had brought no frame. */
  missed() {
    this.#misses += 1;
    if (this.#misses < (this.#index === 0 && this.#hasPreferredWorked ? MISSES_AFTER_WORKING : MISSES)) return;
    this.#hasPreferredWorked = false;
    this.#misses = 0;
    this.#workedSince = 0;
    this.#index = (this.#index + 1) % this.#transports.length;
  }

  /** The connection brings frames. */
  worked() {
    this.#misses = 0;
    if (this.#index === 0) this.#hasPreferredWorked = true;
    if (this.#workedSince === 0) this.#workedSince = this.#now();
  }

  /** The failures had a reason that is known and gone. */
  reset() {
    this.#index = this.#misses = this.#workedSince = 0;
  }
}

/**
 * @param {Transport} transport
 * @param {string} baseUrl http(s) origin, possibly with a path before it
 * @param {{ board: string, limit: number, curve: boolean, since: Position | null }} query
 */
export function streamUrl(transport, baseUrl, { board, limit, curve, since }) {
  const url = new URL(baseUrl);
  const isSecure = url.protocol === "https:" || url.protocol === "wss:";
  const [scheme, path] = transport === "websocket" ? ["ws", "ws/scoreboard"] : ["http", "api/v1/scoreboard/stream"];
  url.protocol = `${scheme}${isSecure ? "s" : ""}:`;
  url.pathname = `${url.pathname.replace(/\/+$/, "")}/${path}`;
  url.hash = "";
  url.search = "";
  url.searchParams.set("board", board);
  url.searchParams.set("limit", String(limit));
  if (curve) url.searchParams.set("curve", "1");
  if (since !== null && transport === "websocket") url.searchParams.set("since", eventId(since));
  return url.href;
}

/** @param {Position} position as `since` and the ids of Server-Sent Events write it */
export function eventId({ epoch, version }) {
  return `${epoch}.${version}`;
}

/**
 * @param {string} url
 * @param {string[]} protocols
 * @returns {import("./stream-types.d.ts").SocketLike}
 */
export function openSocket(url, protocols) {
  return new WebSocket(url, protocols);
}

/**
 * @param {string} url
 * @param {import("./stream-types.d.ts").EventStreamOptions} options
 */
export function openEventStream(url, { token, lastEventId }) {
  return new EventStream(url, { token, lastEventId, fetch: (input, init) => fetch(input, init) });
}
