/** A player without a page: 10 points at a time. */

import assert from "node:assert/strict";

let actions = 0;

export class Player {
  /**
   * @param {string} url
   * @param {{ accessToken: string, userId: string }} tokens
   */
  constructor(url, { accessToken, userId }) {
    this.url = url;
    this.accessToken = accessToken;
    this.userId = userId;
  }

  /**
   * @param {string} url
   * @param {string} username
   */
  static async register(url, username) {
    const credentials = { username, password: "correct horse battery" };
    await posted(`${url}api/v1/auth/register`, credentials);
    return new Player(url, await posted(`${url}api/v1/auth/login`, credentials));
  }

  /** @returns {Promise<{ newScore: number, version: number }>} */
  async finishTask() {
    return posted(`${this.url}update-score`, { actionId: `task-${(actions += 1)}` }, { authorization: `Bearer ${this.accessToken}` });
  }
}

/**
 * @param {string} url
 * @param {object} body
 * @param {Record<string, string>} [headers]
 * @returns {Promise<any>}
 */
async function posted(url, body, headers = {}) {
  const answer = await fetch(url, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
  const text = await answer.text();
  assert.ok(answer.ok, text);
  return JSON.parse(text);
}
