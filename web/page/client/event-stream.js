/**
 * Server-Sent Events with the manners of a WebSocket, for networks that let no WebSocket through. Not the browser's
 * EventSource: that one hides the answer's status, sends no token, reconnects by its own rules, and is not in Node.
 */

/** @typedef {import("./stream-types.d.ts").SocketLike} SocketLike */

/** A server sends less than this for one event; more than it is not a stream of ours. */
const MAX_EVENT_CHARS = 4 * 1024 * 1024;

/** @implements {SocketLike} */
export class EventStream {
  /** @type {((event: any) => void) | null} */
  onopen = null;
  /** @type {((event: any) => void) | null} */
  onmessage = null;
  /** @type {((event: any) => void) | null} */
  onclose = null;
  /** @type {((event: any) => void) | null} */
  onerror = null;
  #abort = new AbortController();
  #closed = false;

  /**
   * @param {string} url
   * @param {{ token: string | null, lastEventId: string | null, fetch: typeof globalThis.fetch }} options
   */
  constructor(url, { token, lastEventId, fetch }) {
    /** @type {Record<string, string>} */
    const headers = { accept: "text/event-stream" };
    if (token !== null) headers["authorization"] = `Bearer ${token}`;
    if (lastEventId !== null) headers["last-event-id"] = lastEventId;
    void this.#run(fetch(url, { headers, cache: "no-store", signal: this.#abort.signal }));
  }

  close() {
    this.#closed = true;
    this.#abort.abort();
  }

  /** @param {Promise<Response>} asked */
  async #run(asked) {
    /** @type {{ status?: number, retryAfterMs?: number }} */
    let end = {};
    try {
      const answer = await asked;
      if (answer.status === 200 && answer.body !== null) {
        if (!this.#closed) this.onopen?.({});
        await this.#read(answer.body);
      } else {
        const seconds = Number(answer.headers.get("retry-after") ?? NaN);
        end = { status: answer.status, ...(Number.isFinite(seconds) ? { retryAfterMs: seconds * 1000 } : {}) };
        await answer.body?.cancel();
      }
    } catch {
      // A network that failed and a stream that was cut both end below.
    }
    if (!this.#closed) this.onclose?.(end);
  }

  /** @param {ReadableStream<Uint8Array>} body */
  async #read(body) {
    const parser = new EventParser((event, data) => this.onmessage?.({ data: `{"event":${JSON.stringify(event)},"data":${data}}` }));
    const decoder = new TextDecoder();
    const reader = body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || this.#closed) return;
      // A comment is a sign of life too.
      if (!parser.push(decoder.decode(value, { stream: true }))) this.onmessage?.({ data: "" });
      if (parser.isOverfull) this.#abort.abort();
    }
  }
}

/** Lines to events, by the rules of the HTML standard as far as a Scoreboard uses them. */
export class EventParser {
  #rest = "";
  #event = "message";
  /** @type {string[]} */
  #data = [];
  #emit;

  /** @param {(event: string, data: string) => void} emit */
  constructor(emit) {
    this.#emit = emit;
  }

  get isOverfull() {
    return this.#rest.length + this.#data.reduce((sum, line) => sum + line.length, 0) > MAX_EVENT_CHARS;
  }

  /**
   * @param {string} text in pieces of any size
   * @returns {boolean} whether it completed an event
   */
  push(text) {
    // A carriage return at the end may be half of a line break.
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    return lines.map((line) => this.#line(line)).some((complete) => complete);
  }

  /** @param {string} line */
  #line(line) {
    if (line === "") {
      const [event, data] = [this.#event, this.#data.join("\n")];
      this.#event = "message";
      this.#data = [];
      if (data !== "") this.#emit(event, data);
      return data !== "";
    }
    const colon = line.indexOf(":");
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#event = value;
    if (field === "data") this.#data.push(value);
    return false;
  }
}
