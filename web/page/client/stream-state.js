/**
 * What the stream has told so far. Two states are kept apart: the one that the server takes this client to stand at, from which deltas
 * and `since` go on, and the newest one that was shown. They differ only while a server that lags behind catches up.
 */

import { DeltaError, applyOps, checksum } from "./stream-delta.js";

/** @typedef {import("./stream-types.d.ts").Snapshot} Snapshot */
/** @typedef {import("./stream-types.d.ts").Delta} Delta */
/** @typedef {import("./stream-types.d.ts").Position} Position */

export class StreamedBoard {
  /** @type {Snapshot | null} */
  #told = null;
  /** @type {Position | null} */
  #shown = null;

  /** From where on the server is to go on; null: from nowhere, with a snapshot. */
  get since() {
    return positionOf(this.#told);
  }

  /** The newest state that was shown. */
  get shown() {
    return positionOf(this.#shown);
  }

  /**
   * @param {Snapshot} state
   * @returns {Snapshot | null} what to show; null: something newer is shown already
   */
  snapshot(state) {
    this.#told = state;
    const isOlder = this.#shown?.epoch === state.epoch && state.version < this.#shown.version;
    return isOlder ? null : this.#show();
  }

  /**
   * @param {Snapshot} state
   * @returns {Snapshot | null}
   */
  update(state) {
    if (this.#told?.epoch === state.epoch && state.version <= this.#told.version) return null;
    this.#told = state;
    return this.#isNews(state) ? this.#show() : null;
  }

  /**
   * @param {Delta} delta
   * @returns {Snapshot | null}
   * @throws {DeltaError} it does not follow on what was told before, or leads elsewhere than it should
   */
  delta({ from, version, ops, check }) {
    const before = this.#told;
    if (before === null || from !== before.version || version < from) {
      throw new DeltaError(`a delta from ${from} to ${version} does not follow on ${before?.version ?? "nothing"}`);
    }
    const leaderboard = applyOps(before.leaderboard, ops);
    if (check !== undefined && check !== checksum(leaderboard)) {
      throw new DeltaError(`the rows of version ${version} are not the server's`);
    }
    this.#told = { ...before, version, leaderboard };
    return this.#isNews(this.#told) ? this.#show() : null;
  }

  /** What the server tells next is to stand alone. What was shown stays, so that nothing older follows it. */
  distrust() {
    this.#told = null;
  }

  /** @param {Position} state */
  #isNews({ epoch, version }) {
    return this.#shown?.epoch !== epoch || version > this.#shown.version;
  }

  #show() {
    this.#shown = positionOf(this.#told);
    return this.#told;
  }
}

/** @param {Position | null} state */
function positionOf(state) {
  return state === null ? null : { epoch: state.epoch, version: state.version };
}
