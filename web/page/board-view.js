/** The table: draws whole states, at most one per display frame, and lets the rows glide to where they now belong. */

import { copyOf, find, restart } from "./dom.js";
import { formatAgo, formatNumber, formatOrdinal, formatSigned, hueOf } from "./format.js";

/** @typedef {import("../contract.js").Entry} Entry */
/** @typedef {import("./client/stream-types.d.ts").Snapshot} Snapshot */

const GLIDE_MS = 520;
const AGES_EVERY_MS = 1_000;
/** A screen reader is to keep up with what is said. */
const SUMMARY_EVERY_MS = 6_000;

class Row {
  element = copyOf("#row-template", HTMLTableRowElement);
  #rank = find(".rank", HTMLElement, this.element);
  #move = find(".move", HTMLElement, this.element);
  #avatar = find(".avatar", HTMLElement, this.element);
  #name = find(".name", HTMLElement, this.element);
  #you = find(".you", HTMLElement, this.element);
  #gain = find(".gain", HTMLElement, this.element);
  #score = find(".score", HTMLElement, this.element);
  #time = find("time", HTMLTimeElement, this.element);
  /** @type {Entry | null} */
  #shown = null;
  /** @type {Animation | null} */
  #glide = null;

  /**
   * @param {Entry} entry
   * @param {{ topScore: number, own: boolean }} context
   */
  draw(entry, { topScore, own }) {
    const before = this.#shown;
    this.#shown = entry;
    this.element.dataset["user"] = entry.userId;
    this.element.dataset["rank"] = String(entry.rank);
    this.element.style.setProperty("--share", String(topScore > 0 ? Math.max(0, entry.score / topScore) : 0));
    this.element.classList.toggle("own", own);
    this.#you.hidden = !own;
    this.#rank.textContent = formatNumber(entry.rank);
    this.#name.textContent = entry.username;
    this.#name.title = entry.username;
    this.#avatar.textContent = entry.username.slice(0, 1);
    this.#avatar.style.setProperty("--hue", String(hueOf(entry.userId)));
    this.#score.textContent = formatNumber(entry.score);
    this.#time.dateTime = entry.lastUpdated;
    if (before === null) return;
    if (before.score !== entry.score) this.#showGain(entry.score - before.score);
    if (before.rank !== entry.rank) this.#showMove(before.rank - entry.rank);
  }

  /** @param {number} points */
  #showGain(points) {
    this.#gain.textContent = formatSigned(points);
    this.#gain.classList.toggle("loss", points < 0);
    restart(this.#gain, "shown");
    restart(this.element, "changed");
  }

  /** @param {number} places up if positive */
  #showMove(places) {
    this.#move.textContent = `${places > 0 ? "▲" : "▼"}${Math.abs(places)}`;
    this.#move.classList.remove("up", "down");
    restart(this.#move, places > 0 ? "up" : "down");
  }

  /** @param {number} now */
  age(now) {
    const time = Date.parse(this.#time.dateTime);
    const text = Number.isNaN(time) ? "" : formatAgo(Math.max(0, now - time));
    if (this.#time.textContent === text) return;
    this.#time.textContent = text;
    this.#time.title = new Date(time).toLocaleString();
  }

  /** Where the row is on the screen at this moment, in the middle of a glide too. */
  top() {
    return this.element.getBoundingClientRect().top;
  }

  /** Ends a glide, so that `top` says where the row belongs. */
  settle() {
    this.#glide?.cancel();
    this.#glide = null;
  }

  /**
   * The FLIP technique: it is already where it belongs, and is drawn on its way there.
   * @param {number | undefined} from undefined for a newcomer
   */
  glide(from) {
    const distance = from === undefined ? 0 : from - this.top();
    if (from !== undefined && Math.abs(distance) < 1) return;
    const start = from === undefined ? { opacity: 0, transform: "translateY(14px)" } : { transform: `translateY(${distance}px)`, zIndex: distance > 0 ? 2 : 1 };
    const end = from === undefined ? { opacity: 1, transform: "none" } : { transform: "none", zIndex: distance > 0 ? 2 : 1 };
    this.#glide = this.element.animate([start, end], { duration: GLIDE_MS, easing: "cubic-bezier(0.2, 0.8, 0.2, 1)" });
  }
}

export class BoardView {
  #body = find("#rows", HTMLTableSectionElement);
  #table = find("#board-table", HTMLTableElement);
  #waiting = find("#board-waiting", HTMLElement);
  #empty = find("#board-empty", HTMLElement);
  #unknown = find("#board-unknown", HTMLElement);
  #version = find("#board-version", HTMLElement);
  #summary = find("#summary", HTMLElement);
  #calm = matchMedia("(prefers-reduced-motion: reduce)");
  /** @type {Map<string, Row>} */
  #rows = new Map();
  /** @type {Snapshot | null} */
  #state = null;
  #drawn = false;
  #frame = 0;
  /** @type {string | null} */
  #ownId = null;
  #now;
  #spoken = "";
  /** @type {ReturnType<typeof setTimeout> | null} */
  #speaking = null;

  /** @param {() => number} now the server's time in milliseconds */
  constructor(now) {
    this.#now = now;
    setInterval(() => this.#age(), AGES_EVERY_MS);
  }

  /** @param {Snapshot} state */
  show(state) {
    this.#state = state;
    this.#plan();
  }

  /** @param {string | null} userId whose row is the visitor's own */
  highlight(userId) {
    this.#ownId = userId;
    if (this.#state !== null) this.#plan();
  }

  /** Instead of a board that there is not. */
  showUnknown() {
    // Filled only now, so that a screen reader says it.
    this.#unknown.append(find("#unknown-template", HTMLTemplateElement).content.cloneNode(true));
    this.#unknown.hidden = false;
    this.#waiting.hidden = true;
    this.#table.hidden = true;
  }

  /** Many states within one display frame are drawn as the last of them. */
  #plan() {
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.#state !== null) this.#draw(this.#state);
    });
  }

  /** @param {Snapshot} state */
  #draw({ leaderboard, version }) {
    const before = new Map([...this.#rows].map(([userId, row]) => [userId, row.top()]));
    for (const row of this.#rows.values()) row.settle();

    const topScore = leaderboard[0]?.score ?? 0;
    const rows = leaderboard.map((entry) => {
      const row = this.#rows.get(entry.userId) ?? new Row();
      row.draw(entry, { topScore, own: entry.userId === this.#ownId });
      return /** @type {const} */ ([entry.userId, row]);
    });
    this.#rows = new Map(rows);
    this.#place(rows.map(([, row]) => row.element));
    this.#age();
    if (this.#drawn && !this.#calm.matches) for (const [userId, row] of this.#rows) row.glide(before.get(userId));

    this.#drawn = true;
    this.#waiting.hidden = true;
    this.#empty.hidden = leaderboard.length > 0;
    this.#table.hidden = leaderboard.length === 0;
    this.#version.hidden = false;
    this.#version.textContent = `Version ${formatNumber(version)}`;
    this.#speak();
  }

  /**
   * Moves only what is not in its place, so that a selection or a reader's cursor in the other rows stays.
   * @param {HTMLTableRowElement[]} elements
   */
  #place(elements) {
    const kept = new Set(elements);
    for (const element of [...this.#body.rows]) if (!kept.has(element)) element.remove();
    elements.forEach((element, index) => {
      const present = this.#body.rows[index] ?? null;
      if (present !== element) this.#body.insertBefore(element, present);
    });
  }

  #age() {
    const now = this.#now();
    for (const row of this.#rows.values()) row.age(now);
  }

  /** Says who leads and where the visitor stands, when that has changed, and not more often than one can listen. */
  #speak() {
    if (this.#speaking !== null) return;
    const text = this.#sentence();
    if (text === this.#spoken) return;
    this.#spoken = text;
    this.#summary.textContent = text;
    this.#speaking = setTimeout(() => {
      this.#speaking = null;
      this.#speak();
    }, SUMMARY_EVERY_MS);
  }

  #sentence() {
    const entries = this.#state?.leaderboard ?? [];
    const leader = entries[0];
    if (leader === undefined) return "Nobody has scored yet.";
    const own = entries.find((entry) => entry.userId === this.#ownId);
    const leads = own === leader ? "You lead" : `${leader.username} leads`;
    const place = own === undefined || own === leader ? "" : ` You are ${formatOrdinal(own.rank)} with ${formatNumber(own.score)}.`;
    return `${leads} with ${formatNumber(leader.score)} points.${place}`;
  }
}
