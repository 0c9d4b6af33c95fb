/** Stand-ins for the browser's WebSocket and for time. */

/** @typedef {import("../../page/client/stream-types.d.ts").SocketLike} SocketLike */
/** @typedef {import("../../page/client/stream-types.d.ts").Clock} Clock */

/** @implements {SocketLike} */
export class FakeSocket {
  /** @type {((event: any) => void) | null} */
  onopen = null;
  /** @type {((event: any) => void) | null} */
  onmessage = null;
  /** @type {((event: any) => void) | null} */
  onclose = null;
  /** @type {((event: any) => void) | null} */
  onerror = null;
  isClosed = false;

  /**
   * @param {string} url
   * @param {string[]} protocols
   */
  constructor(url, protocols) {
    this.url = new URL(url);
    this.protocols = protocols;
  }

  close() {
    this.isClosed = true;
  }

  open() {
    this.onopen?.({});
  }

  /**
   * @param {string} event
   * @param {unknown} data
   */
  frame(event, data) {
    this.onmessage?.({ data: JSON.stringify({ event, data }) });
  }

  /** @param {unknown} data */
  raw(data) {
    this.onmessage?.({ data });
  }

  /** @param {number} code */
  drop(code = 1006) {
    this.isClosed = true;
    this.onclose?.({ code });
  }
}

/** @implements {Clock} */
export class FakeClock {
  #now = 0;
  #sequence = 0;
  /** @type {Map<number, { at: number, callback: () => void }>} */
  #timers = new Map();

  now() {
    return this.#now;
  }

  /**
   * @param {() => void} callback
   * @param {number} ms
   */
  setTimeout(callback, ms) {
    this.#sequence += 1;
    this.#timers.set(this.#sequence, { at: this.#now + ms, callback });
    return this.#sequence;
  }

  /** @param {number} handle */
  clearTimeout(handle) {
    this.#timers.delete(handle);
  }

  get pending() {
    return this.#timers.size;
  }

  /** @param {number} ms */
  advance(ms) {
    const end = this.#now + ms;
    for (;;) {
      const next = [...this.#timers].sort(([, a], [, b]) => a.at - b.at)[0];
      if (next === undefined || next[1].at > end) break;
      this.#timers.delete(next[0]);
      this.#now = next[1].at;
      next[1].callback();
    }
    this.#now = end;
  }
}
