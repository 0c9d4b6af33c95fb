/** The HTTP interface: one method per call, and one error type that carries what the service says about a refusal. */

/** @typedef {import("../contract.js").Tokens} Tokens */
/** @typedef {import("../contract.js").ScoreAnswer} ScoreAnswer */

const TIMEOUT_MS = 10_000;

/** A page that is open for long must not sign with a wrong clock; below this the difference is only the network's. */
const CLOCK_SKEW_MS = 5_000;

/** Codes of our own, for what never became an answer of the service. */
export const NETWORK_ERROR = "network_error";
export const UNEXPECTED_ANSWER = "unexpected_answer";

export class ApiError extends Error {
  /**
   * @param {{ status: number, code: string, message: string, details?: Record<string, unknown>, requestId?: string | null,
   *   retryAfterSeconds?: number | null }} facts
   */
  constructor({ status, code, message, details = {}, requestId = null, retryAfterSeconds = null }) {
    super(message);
    this.name = "ApiError";
    /** 0 when there was no answer. */
    this.status = status;
    this.code = code;
    this.details = details;
    this.requestId = requestId;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  /** The same request may end better in a moment, and cannot count twice. */
  get isTransient() {
    return this.status === 0 || this.status === 408 || this.status >= 500 || this.code === "request_in_progress";
  }
}

/** @typedef {{ method?: string, body?: unknown, token?: string, headers?: Record<string, string> }} Call */

export class ScoreboardApi {
  #fetch;
  #now;
  #clockOffsetMs = 0;

  /** @param {{ fetch?: typeof fetch, now?: () => number }} [options] */
  constructor({ fetch: fetchWith = globalThis.fetch.bind(globalThis), now = Date.now } = {}) {
    this.#fetch = fetchWith;
    this.#now = now;
  }

  /** The server's time as far as it is known, in milliseconds. */
  now() {
    return this.#now() + this.#clockOffsetMs;
  }

  /** @returns {Promise<import("../contract.js").PageConfig>} */
  pageConfig() {
    return this.#call("/page-config.json");
  }

  /**
   * @param {string} board
   * @returns {Promise<import("../contract.js").BoardInfo>}
   */
  board(board) {
    return this.#call(`/api/v1/boards/${encodeURIComponent(board)}`);
  }

  /**
   * @param {string} userId
   * @param {string} board
   * @returns {Promise<import("../contract.js").Entry>}
   */
  entry(userId, board) {
    return this.#call(`/api/v1/scoreboard/users/${encodeURIComponent(userId)}?board=${encodeURIComponent(board)}`);
  }

  /**
   * @param {string} username
   * @param {string} password
   * @returns {Promise<import("../contract.js").Registration>}
   */
  register(username, password) {
    return this.#call("/api/v1/auth/register", { method: "POST", body: { username, password } });
  }

  /**
   * @param {string} username
   * @param {string} password
   * @returns {Promise<Tokens>}
   */
  login(username, password) {
    return this.#call("/api/v1/auth/login", { method: "POST", body: { username, password } });
  }

  /**
   * @param {string} refreshToken
   * @returns {Promise<Tokens>}
   */
  refresh(refreshToken) {
    return this.#call("/api/v1/auth/refresh", { method: "POST", body: { refreshToken } });
  }

  /**
   * @param {string} token
   * @returns {Promise<void>}
   */
  logout(token) {
    return this.#call("/api/v1/auth/logout", { method: "POST", token });
  }

  /**
   * @param {string} token
   * @param {import("../contract.js").ScoreUpdateBody} body
   * @returns {Promise<ScoreAnswer>} `pending` is a promise: the receipt tells the end
   */
  updateScore(token, body) {
    return this.#call("/api/v1/score/update", { method: "POST", token, body });
  }

  /**
   * @param {string} token
   * @param {string} actionId
   * @param {string} board
   * @returns {Promise<ScoreAnswer>}
   */
  receipt(token, actionId, board) {
    return this.#call(`/api/v1/score/updates/${encodeURIComponent(actionId)}?board=${encodeURIComponent(board)}`, { token });
  }

  /**
   * @param {string} path
   * @param {Call} [call]
   * @returns {Promise<any>}
   */
  async #call(path, { method = "GET", body, token } = {}) {
    /** @type {Record<string, string>} */
    const headers = { accept: "application/json" };
    if (body !== undefined) headers["content-type"] = "application/json";
    if (token !== undefined) headers["authorization"] = `Bearer ${token}`;
    /** @type {RequestInit} */
    const init = { method, headers, cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(TIMEOUT_MS) };
    if (body !== undefined) init.body = JSON.stringify(body);

    let response;
    let text;
    try {
      response = await this.#fetch(path, init);
      text = await response.text();
    } catch (cause) {
      throw new ApiError({ status: 0, code: NETWORK_ERROR, message: `no answer from the server: ${cause}` });
    }
    this.#readClock(response.headers.get("date"));
    const answer = parseJson(text);
    if (!response.ok) throw errorOf(response, answer);
    if (answer === undefined && response.status !== 204) {
      throw new ApiError({ status: response.status, code: UNEXPECTED_ANSWER, message: "the answer is not JSON" });
    }
    return answer;
  }

  /** @param {string | null} date */
  #readClock(date) {
    const serverTime = Date.parse(date ?? "");
    if (Number.isNaN(serverTime)) return;
    const offset = serverTime - this.#now();
    this.#clockOffsetMs = Math.abs(offset) > CLOCK_SKEW_MS ? offset : 0;
  }
}

/**
 * @param {Response} response
 * @param {any} answer
 */
function errorOf(response, answer) {
  const retryAfter = Number(response.headers.get("retry-after") ?? NaN);
  const error = answer?.error;
  const known = typeof error?.code === "string";
  return new ApiError({
    status: response.status,
    code: known ? error.code : UNEXPECTED_ANSWER,
    message: known ? String(error.message) : `unexpected answer with status ${response.status}`,
    details: typeof error?.details === "object" && error.details !== null ? error.details : {},
    requestId: error?.requestId ?? response.headers.get("x-request-id"),
    retryAfterSeconds: Number.isFinite(retryAfter) ? retryAfter : null,
  });
}

/** @param {string} text */
function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
