/** The visitor's session: tokens that live as long as the tab, renewed when the service says that they have expired. */

import { ApiError } from "./api.js";

/** @typedef {import("../contract.js").Tokens} Tokens */
/** @typedef {{ newcomer: boolean, endedBy: ApiError | null }} SessionChange */
/** @typedef {Pick<Storage, "getItem" | "setItem" | "removeItem">} TokenStorage */

const STORAGE_KEY = "scoreboard.session";

/** A token that is good for less than this is not worth a connection. */
const SHORT_MS = 5_000;

/** A session that ended on the service's side. */
const ENDED = new Set(["unauthenticated", "token_expired", "token_revoked", "refresh_token_reused"]);

export class Session {
  #api;
  #storage;
  /** @type {Tokens | null} */
  #tokens;
  /** @type {Promise<void> | null} */
  #refreshing = null;
  /** @type {(change: SessionChange) => void} */
  #onChange = () => {};

  /**
   * @param {Pick<import("./api.js").ScoreboardApi, "refresh" | "logout">} api
   * @param {TokenStorage} storage
   */
  constructor(api, storage) {
    this.#api = api;
    this.#storage = storage;
    this.#tokens = read(storage);
  }

  /** @param {(change: SessionChange) => void} listener called when the player comes, goes or is sent away */
  onChange(listener) {
    this.#onChange = listener;
  }

  /** @returns {{ userId: string, username: string } | null} */
  get player() {
    return this.#tokens;
  }

  /**
   * @param {Tokens} tokens
   * @param {{ newcomer?: boolean }} [player] a newcomer has no score yet
   */
  adopt(tokens, { newcomer = false } = {}) {
    const changed = this.#tokens?.userId !== tokens.userId;
    this.#tokens = tokens;
    this.#storage.setItem(STORAGE_KEY, JSON.stringify(tokens));
    if (changed) this.#onChange({ newcomer, endedBy: null });
  }

  /**
   * Runs a call with the tokens; once more with fresh ones if they have expired. The call is to make its signature itself,
   * since the signing key may have changed with the tokens.
   * @template T
   * @param {(tokens: Tokens) => Promise<T>} call
   * @returns {Promise<T>}
   */
  async authorized(call) {
    const tokens = this.#required();
    try {
      return await call(tokens);
    } catch (error) {
      if (!(error instanceof ApiError) || !ENDED.has(error.code)) throw error;
      if (error.code !== "token_expired") {
        this.#end(tokens, error);
        throw error;
      }
    }
    if (this.#tokens === tokens) await this.#refresh(tokens);
    return call(this.#required());
  }

  /**
   * The access token, for what shows no refusal that could be answered with a fresh one: the handshake of a WebSocket.
   * @param {number} nowMs the server's time
   * @returns {Promise<string | null>} null: nobody is logged in, or no fresh token is to be had
   */
  async streamToken(nowMs) {
    const tokens = this.#tokens;
    if (tokens === null) return null;
    if (expiryOf(tokens.accessToken) > nowMs + SHORT_MS) return tokens.accessToken;
    await this.#refresh(tokens).catch(() => {});
    return this.#tokens === tokens ? null : (this.#tokens?.accessToken ?? null);
  }

  /** Ends the session here at once, and on the service if it can be reached. */
  async logout() {
    const tokens = this.#tokens;
    if (tokens === null) return;
    this.#end(tokens, null);
    await this.#api.logout(tokens.accessToken).catch(() => {});
  }

  /**
   * One at a time: a refresh token is good for one use.
   * @param {Tokens} tokens
   */
  #refresh(tokens) {
    this.#refreshing ??= this.#api
      .refresh(tokens.refreshToken)
      .then(
        (fresh) => this.adopt(fresh),
        (error) => {
          if (error instanceof ApiError && error.status === 401) this.#end(tokens, error);
          throw error;
        },
      )
      .finally(() => {
        this.#refreshing = null;
      });
    return this.#refreshing;
  }

  #required() {
    if (this.#tokens === null) throw new ApiError({ status: 401, code: "unauthenticated", message: "log in first" });
    return this.#tokens;
  }

  /**
   * @param {Tokens} tokens
   * @param {ApiError | null} endedBy
   */
  #end(tokens, endedBy) {
    if (this.#tokens !== tokens) return;
    this.#tokens = null;
    this.#storage.removeItem(STORAGE_KEY);
    this.#onChange({ newcomer: false, endedBy });
  }
}

/**
 * @param {TokenStorage} storage
 * @returns {Tokens | null}
 */
function read(storage) {
  try {
    const tokens = JSON.parse(storage.getItem(STORAGE_KEY) ?? "null");
    return typeof tokens?.accessToken === "string" && typeof tokens.userId === "string" ? tokens : null;
  } catch {
    return null;
  }
}

/**
 * @param {string} token
 * @returns {number} milliseconds since 1970; 0 for a token that does not say it
 */
function expiryOf(token) {
  try {
    const claims = token.split(".")[1] ?? "";
    return Number(JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/"))).exp ?? 0) * 1000;
  } catch {
    return 0;
  }
}
