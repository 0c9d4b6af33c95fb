/**
 * Many clients of our own library against a server that is restarted meanwhile by somebody else: opens them in processes of their own,
 * lets players score, and compares every screen with the truth at the end.
 */

import { fork } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { rowsOf } from "./member.js";
import { Scorers } from "./scorers.js";
import { verdict } from "./verdict.js";

/** @typedef {import("./members.js").Progress} Progress */
/** @typedef {import("./verdict.js").MemberFacts} MemberFacts */
/** @typedef {import("./verdict.js").Report} Report */
/**
 * @typedef {object} CrowdOptions
 * @property {string} url where the stream is
 * @property {string} apiUrl where the rest of the public interface is
 * @property {number} clients
 * @property {number} sse so many of them take Server-Sent Events from the start
 * @property {number} plain so many of the others speak the protocol of whole lists only
 * @property {number} perSecond new connections
 * @property {number} seconds for how long players score once all are open; the restart falls into it
 * @property {number} updatesPerSecond
 * @property {number} maxShare see {@link verdict}
 * @property {string} [board]
 * @property {number} [limit] visible rows
 * @property {number} [processes]
 * @property {number} [settleSeconds] for how long screens may take to show the truth once nobody scores any more
 */
/** @typedef {{ phase: string, clients: number } & Progress & { committed: number }} Told */

const OPEN_SLACK_MS = 30_000;
const PAUSE_MS = 100;

/**
 * @param {CrowdOptions} options
 * @param {(told: Told) => void} [tell] called several times a second
 * @returns {Promise<Report>}
 */
export async function crowd(options, tell = () => {}) {
  const { url, apiUrl, clients, maxShare, seconds, perSecond, updatesPerSecond, board = "global", limit = 10, settleSeconds = 60 } = options;
  const scorers = await Scorers.create(apiUrl, board);
  const parts = new Parts({ ...options, board, limit });
  const told = (/** @type {string} */ phase) => tell({ phase, clients, ...parts.progress, committed: scorers.committed });
  try {
    const opened = await until(() => parts.progress.open === clients, OPEN_SLACK_MS + (clients / perSecond) * 1_000, () => told("opening"));
    scorers.start(updatesPerSecond);
    await until(() => false, seconds * 1_000, () => told("scoring"));
    await scorers.stop();
    let behind = clients;
    /** @type {unknown} */
    let unanswered;
    const isSettled = async () => {
      try {
        const truth = rowsOf(await scorers.top(limit));
        unanswered = undefined;
        behind = await parts.behind(truth);
      } catch (error) {
        unanswered = error; // it may be on its way back
      }
      return unanswered === undefined && behind === 0;
    };
    await until(isSettled, settleSeconds * 1_000, () => told(`settling, ${behind} not at the truth`));
    const facts = await parts.end();
    const title = `crowd ${url} (${clients} clients of the library, ${parts.size} processes)`;
    const report = verdict({ title, wanted: clients, maxShare, committed: scorers.committed, failed: scorers.failed, behind, facts });
    if (unanswered !== undefined) report.problems.push(`the truth was not told: ${unanswered}`);
    if (!opened) report.problems.unshift("not all clients were connected before the players began");
    return report;
  } finally {
    await scorers.stop();
    parts.kill();
  }
}

/** The processes that hold the clients: one could not read what two cores send. */
class Parts {
  /** @type {{ child: import("node:child_process").ChildProcess, progress: Progress }[]} */
  #parts;
  #questions = 0;

  /** @param {CrowdOptions & { board: string, limit: number }} options */
  constructor({ url, board, limit, clients, sse, plain, perSecond, processes = Math.max(2, availableParallelism()) }) {
    // Node has had the browser's WebSocket without asking since version 22.
    const execArgv = typeof WebSocket === "undefined" ? ["--experimental-websocket", "--no-warnings"] : [];
    this.#parts = shares(clients, processes).map((share, index) => {
      const child = fork(new URL("members.js", import.meta.url), { execArgv, serialization: "advanced" });
      const part = { child, progress: { open: 0, lost: 0, back: 0, wentBack: 0 } };
      child.on("message", (/** @type {any} */ message) => Object.assign(part.progress, message.progress));
      const ours = (/** @type {number} */ all) => shares(all, processes)[index] ?? 0;
      child.send({ start: { baseUrl: url, board, limit, clients: share, plain: ours(plain), sse: ours(sse), perSecond: perSecond / processes } });
      return part;
    });
  }

  get size() {
    return this.#parts.length;
  }

  /** @returns {Progress} of all together */
  get progress() {
    const sum = { open: 0, lost: 0, back: 0, wentBack: 0 };
    for (const { progress } of this.#parts) {
      for (const key of /** @type {(keyof Progress)[]} */ (Object.keys(sum))) sum[key] += progress[key];
    }
    return sum;
  }

  /**
   * How many clients do not show this.
   * @param {string} truth
   */
  async behind(truth) {
    const question = (this.#questions += 1);
    const answers = await this.#ask({ truth, question }, (message) => (message.question === question ? message.behind : undefined));
    return answers.reduce((sum, behind) => sum + behind, 0);
  }

  /** @returns {Promise<MemberFacts[]>} */
  async end() {
    return (await this.#ask({ tell: true }, ({ facts }) => facts)).flat();
  }

  /**
   * @param {object} order
   * @param {(message: any) => any} answerIn undefined: another message
   * @returns {Promise<any[]>}
   */
  async #ask(order, answerIn) {
    return Promise.all(
      this.#parts.map(async ({ child }) => {
        const gone = once(child, "exit").then(() => {
          throw new Error("a process of the crowd has ended");
        });
        const answered = new Promise((resolve) => {
          const listen = (/** @type {any} */ message) => {
            const answer = answerIn(message);
            if (answer === undefined) return;
            child.off("message", listen);
            resolve(answer);
          };
          child.on("message", listen);
        });
        child.send(order);
        return Promise.race([answered, gone]);
      }),
    );
  }

  kill() {
    for (const { child } of this.#parts) child.kill("SIGKILL");
  }
}

/**
 * @param {number} all
 * @param {number} parts
 */
function shares(all, parts) {
  return Array.from({ length: parts }, (_, index) => Math.floor((all * (index + 1)) / parts) - Math.floor((all * index) / parts));
}

/**
 * @param {() => boolean | Promise<boolean>} holds
 * @param {number} withinMs
 * @param {() => void} meanwhile
 * @returns {Promise<boolean>} whether it came to hold in time
 */
async function until(holds, withinMs, meanwhile) {
  const deadline = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > deadline) return false;
    meanwhile();
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  return true;
}
