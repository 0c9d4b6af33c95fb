/** Players who score while a crowd watches, by the page's own code. */

import { ScoreboardApi } from "../page/api.js";
import { play } from "../page/play.js";
import { Session } from "../page/session.js";

const PLAYERS = 10;
const PASSWORD = "correct horse battery";
/** Enough that the best change places. */
const MOST_POINTS = 50;

export class Scorers {
  #api;
  #apiUrl;
  #board;
  #sessions;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;
  /** @type {Set<Promise<void>>} */
  #underWay = new Set();
  #next = 0;
  committed = 0;
  failed = 0;

  /**
   * @param {ScoreboardApi} api
   * @param {string} apiUrl
   * @param {string} board
   * @param {Session[]} sessions
   */
  constructor(api, apiUrl, board, sessions) {
    this.#api = api;
    this.#apiUrl = apiUrl;
    this.#board = board;
    this.#sessions = sessions;
  }

  /**
   * @param {string} apiUrl
   * @param {string} board
   */
  static async create(apiUrl, board) {
    const api = new ScoreboardApi({ fetch: (path, init) => fetch(new URL(String(path), apiUrl), init) });
    const sessions = [];
    for (let index = 0; index < PLAYERS; index += 1) {
      const username = `crowd-${process.pid.toString(36)}-${Date.now().toString(36)}-${index}`;
      await api.register(username, PASSWORD);
      const session = new Session(api, { getItem: () => null, setItem: () => {}, removeItem: () => {} });
      session.adopt(await api.login(username, PASSWORD));
      sessions.push(session);
    }
    return new Scorers(api, apiUrl, board, sessions);
  }

  /** @param {number} perSecond */
  start(perSecond) {
    this.#timer = setInterval(() => {
      const scored = this.#score().finally(() => this.#underWay.delete(scored));
      this.#underWay.add(scored);
    }, 1_000 / perSecond);
  }

  /** Resolves when everything that was sent is decided. */
  async stop() {
    clearInterval(this.#timer);
    await Promise.all(this.#underWay);
  }

  async #score() {
    const session = this.#sessions[(this.#next += 1) % this.#sessions.length];
    if (session === undefined) return;
    const points = 1 + Math.floor(Math.random() * MOST_POINTS);
    try {
      await play(this.#api, session, { board: this.#board, actionType: "default", proof: "session", points });
      this.committed += 1;
    } catch {
      this.failed += 1; // it may have been applied all the same: the truth is asked at the end
    }
  }

  /**
   * What every screen has to show.
   * @param {number} limit
   * @returns {Promise<import("../contract.js").Entry[]>}
   */
  async top(limit) {
    const answer = await fetch(new URL(`/api/v1/scoreboard/top?board=${encodeURIComponent(this.#board)}&limit=${limit}`, this.#apiUrl));
    if (!answer.ok) throw new Error(`/top: ${answer.status} ${await answer.text()}`);
    return /** @type {Promise<any>} */ (answer.json());
  }
}
