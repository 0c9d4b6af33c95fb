/** Sends one action of the player: signed, repeated where that is safe, and followed to its end when it is only accepted at first. */

import { ApiError } from "./api.js";
import { sign, toHex } from "./signature.js";

/** @typedef {import("../contract.js").ScoreAnswer} ScoreAnswer */
/** @typedef {{ board: string, actionType: string, proof: string, points?: number }} Action */

const ATTEMPTS = 4;
const PAUSE_MS = 400;
/** Who is to wait longer is told so instead. */
const LONGEST_PAUSE_MS = 3_000;
const RECEIPT_POLLS = 20;

/**
 * @param {import("./api.js").ScoreboardApi} api
 * @param {import("./session.js").Session} session
 * @param {Action} action
 * @param {{ pause?: (ms: number) => Promise<void> }} [options]
 * @returns {Promise<ScoreAnswer>}
 */
export async function play(api, session, action, { pause = sleep } = {}) {
  const actionId = newActionId();
  let answer = await repeated(() => session.authorized(async (tokens) => api.updateScore(tokens.accessToken, await body(api, tokens, action, actionId))), pause);
  for (let poll = 0; answer.status === "pending" && poll < RECEIPT_POLLS; poll += 1) {
    await pause(PAUSE_MS);
    answer = await repeated(() => session.authorized((tokens) => api.receipt(tokens.accessToken, actionId, action.board)), pause);
  }
  return answer;
}

/**
 * The same action and key at every attempt, so that it counts once however often it is sent.
 * @param {import("./api.js").ScoreboardApi} api
 * @param {import("../contract.js").Tokens} tokens
 * @param {Action} action
 * @param {string} actionId
 */
async function body(api, tokens, { board, actionType, proof, points }, actionId) {
  /** @type {import("../contract.js").ScoreUpdateBody} */
  const update = { actionId, board, actionType, idempotencyKey: actionId };
  if (points !== undefined) update.points = points;
  if (proof === "token") return update;
  const timestamp = new Date(api.now()).toISOString();
  const signature = await sign(tokens.signingKey, { board, userId: tokens.userId, actionId, actionType, points, timestamp });
  return { ...update, timestamp, signature };
}

/**
 * @template T
 * @param {() => Promise<T>} call
 * @param {(ms: number) => Promise<void>} pause
 * @returns {Promise<T>}
 */
async function repeated(call, pause) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof ApiError) || !error.isTransient || attempt === ATTEMPTS) throw error;
      const waitMs = Math.max((error.retryAfterSeconds ?? 0) * 1000, PAUSE_MS * attempt);
      if (waitMs > LONGEST_PAUSE_MS) throw error;
      await pause(waitMs);
    }
  }
}

/** `crypto.randomUUID` is for secure contexts only. */
function newActionId() {
  return `web-${toHex(crypto.getRandomValues(new Uint8Array(16)))}`;
}

/** @param {number} ms */
function sleep(ms) {
  return /** @type {Promise<void>} */ (new Promise((resolve) => setTimeout(resolve, ms)));
}
