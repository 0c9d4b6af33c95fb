/** One client of our library in a crowd, and a record of what became of it. */

import { ScoreboardStream } from "../page/client/scoreboard-stream.js";
import { openEventStream, openSocket } from "../page/client/stream-transports.js";

/** @typedef {import("../page/client/stream-types.d.ts").Entry} Entry */
/** @typedef {import("../page/client/stream-types.d.ts").Snapshot} Snapshot */
/** @typedef {import("../page/client/stream-types.d.ts").StreamStatus} StreamStatus */
/** @typedef {import("../page/client/stream-types.d.ts").Transport} Transport */
/** @typedef {import("./verdict.js").MemberFacts} MemberFacts */

export class Member {
  #stream;
  #now;
  /** @type {Snapshot | null} */
  #board = null;
  #isUp = false;
  /** The connection that is being made asked to go on from a state. */
  #asksSince = false;
  /** @type {MemberFacts} */
  #facts;

  /**
   * @param {{ baseUrl: string, board: string, limit: number, transports?: Transport[], protocols?: string[] }} options
   * @param {() => number} [now] milliseconds
   */
  constructor(options, now = Date.now) {
    this.#now = now;
    this.#facts = { transport: null, losses: [], returns: [], byes: [], failedAttempts: 0, startedOver: 0, wentBack: 0, isUp: false };
    this.#stream = new ScoreboardStream({
      ...options,
      openSocket: (url, protocols) => {
        this.#dials("websocket", new URL(url).searchParams.has("since"));
        return openSocket(url, protocols);
      },
      openEventStream: (url, asked) => {
        this.#dials("sse", asked.lastEventId !== null);
        return openEventStream(url, asked);
      },
    });
    this.#stream.on("status", (status) => this.#status(status));
    this.#stream.on("board", (board) => this.#shows(board));
    this.#stream.on("server:bye", ({ reconnectInMs }) => this.#facts.byes.push({ at: this.#now(), waitMs: reconnectInMs }));
    for (const event of /** @type {const} */ (["scoreboard:snapshot", "score:update", "delta"])) {
      this.#stream.on(event, () => this.#resumesBy(event));
    }
  }

  start() {
    this.#stream.start();
  }

  stop() {
    this.#stream.stop();
  }

  get isUp() {
    return this.#isUp;
  }

  /** @returns {MemberFacts} */
  get facts() {
    return { ...this.#facts, isUp: this.#isUp };
  }

  /** @param {string} rows as {@link rowsOf} writes them */
  shows(rows) {
    return this.#isUp && this.#board !== null && rowsOf(this.#board.leaderboard) === rows;
  }

  /**
   * @param {Transport} transport
   * @param {boolean} asksSince
   */
  #dials(transport, asksSince) {
    this.#facts.transport = transport;
    this.#asksSince = asksSince;
    if (!asksSince && this.#board !== null) this.#facts.startedOver += 1;
  }

  /** @param {StreamStatus} status */
  #status({ state }) {
    if (state === "stopped") return; // by us, at the end
    const wasUp = this.#isUp;
    this.#isUp = state === "live" || state === "stale";
    if (wasUp && !this.#isUp) this.#facts.losses.push(this.#now());
    else if (state === "reconnecting") this.#facts.failedAttempts += 1;
    const isBack = this.#isUp && !wasUp && this.#facts.losses.length > this.#facts.returns.length;
    if (isBack) this.#facts.returns.push({ at: this.#now(), asksSince: this.#asksSince, by: null });
  }

  /** @param {"scoreboard:snapshot" | "score:update" | "delta"} event the first one says how the server led on */
  #resumesBy(event) {
    const last = this.#facts.returns.at(-1);
    if (last?.by === null) last.by = event;
  }

  /** @param {Snapshot} board */
  #shows(board) {
    const before = this.#board;
    if (before?.epoch === board.epoch && board.version < before.version) this.#facts.wentBack += 1;
    this.#board = board;
  }
}

/**
 * What a screen shows, to compare.
 * @param {readonly Entry[]} entries
 */
export function rowsOf(entries) {
  return entries.map(({ userId, username, score, rank }) => `${rank} ${userId} ${username} ${score}`).join("\n");
}
