/** The player's own card: where they stand, buttons that score, and what came of the last actions. */

import { ApiError } from "./api.js";
import { copyOf, find } from "./dom.js";
import { formatAbout, formatNumber, formatOrdinal, formatSigned, hueOf } from "./format.js";
import { explain, explainLimit } from "./messages.js";
import { play } from "./play.js";

/** @typedef {import("../contract.js").ActionType} ActionType */
/** @typedef {import("../contract.js").ScoreAnswer} ScoreAnswer */
/** @typedef {import("./play.js").Action} Action */
/** @typedef {{ score: number, rank: number | null, version: number }} Standing */

const LOG_LENGTH = 4;
const PRESETS = [
  { points: 5, name: "Nice" },
  { points: 50, name: "Great" },
  { points: 250, name: "Epic" },
];

export class PlayerCard {
  #section = find("#player", HTMLElement);
  #name = find("#player-name", HTMLElement);
  #avatar = find("#player-avatar", HTMLElement);
  #rank = find("#player-rank", HTMLElement);
  #score = find("#player-score", HTMLElement);
  #actions = find("#actions", HTMLElement);
  #message = find("#play-message", HTMLElement);
  #answer = find("#play-answer", HTMLElement);
  #log = find("#log", HTMLOListElement);
  #api;
  #session;
  /** @type {Standing | null} */
  #standing = null;
  /** @type {number | null} */
  #about = null;
  #busy = false;
  /** @type {ReturnType<typeof setTimeout> | null} */
  #waiting = null;

  /**
   * @param {import("./api.js").ScoreboardApi} api
   * @param {import("./session.js").Session} session
   */
  constructor(api, session) {
    this.#api = api;
    this.#session = session;
    find("#log-out", HTMLButtonElement).addEventListener("click", () => void session.logout());
  }

  /** @param {{ userId: string, username: string } | null} player null: nobody is logged in */
  show(player) {
    this.#section.hidden = player === null;
    this.#standing = this.#about = null;
    this.#log.replaceChildren();
    this.#log.hidden = true;
    this.#answer.textContent = "";
    this.#release();
    this.#drawStanding();
    this.#name.textContent = player?.username ?? "";
    this.#avatar.textContent = player?.username.slice(0, 1) ?? "";
    this.#avatar.style.setProperty("--hue", String(hueOf(player?.userId ?? "")));
  }

  focus() {
    this.#name.focus();
  }

  /**
   * One button for each way to score that a visitor can use: types that need a game server's proof are left out.
   * @param {string} board
   * @param {ActionType[]} types
   */
  offer(board, types) {
    const buttons = types.flatMap((type) => {
      const actions = actionsOf(board, type);
      return actions.map(({ action, points, name }) => this.#button(action, points, name, actions.length === 1));
    });
    this.#actions.replaceChildren(...buttons);
  }

  /** Versions of another epoch do not compare. */
  forget() {
    this.#standing = this.#about = null;
  }

  /**
   * The visitor's own row, as far as the visible board has it.
   * @param {{ score: number, rank: number | null } | undefined} row
   * @param {number} version
   */
  observe(row, version) {
    if (row !== undefined) this.#stand({ score: row.score, rank: row.rank, version });
  }

  /**
   * Others move too: what was exact when it was answered is soon only about right, for who is below the visible rows.
   * @param {(score: number) => number} rankOf
   * @param {number} version of the board, when the ranks were like that
   */
  estimate(rankOf, version) {
    const standing = this.#standing;
    if (standing === null || (standing.rank !== null && version <= standing.version)) return;
    this.#about = rankOf(standing.score);
    this.#drawStanding();
  }

  /**
   * @param {Action} action
   * @param {number} points
   * @param {string} name
   * @param {boolean} fixed
   */
  #button(action, points, name, fixed) {
    const button = copyOf("#action-template", HTMLButtonElement);
    find(".action-points", HTMLElement, button).textContent = formatSigned(points);
    find(".action-name", HTMLElement, button).textContent = name;
    button.dataset["action"] = action.actionType;
    button.dataset["points"] = String(points);
    button.classList.toggle("fixed", fixed);
    button.addEventListener("click", () => void this.#play(action, points));
    return button;
  }

  /**
   * @param {Action} action
   * @param {number} points
   */
  async #play(action, points) {
    if (this.#busy || this.#waiting !== null) return;
    const playerId = this.#session.player?.userId;
    this.#setBusy(true);
    const startedAt = performance.now();
    try {
      const answer = await play(this.#api, this.#session, action);
      if (this.#session.player?.userId === playerId) this.#answered(answer, points, performance.now() - startedAt);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      // When the session is over the card is gone, and the form says why.
      if (this.#session.player?.userId === playerId) this.#refused(error);
    } finally {
      this.#setBusy(false);
    }
  }

  /**
   * @param {ScoreAnswer} answer
   * @param {number} points
   * @param {number} tookMs
   */
  #answered(answer, points, tookMs) {
    this.#say("", "error");
    if (answer.status === "rejected") {
      this.#say(`These points were not granted (${answer.code ?? "no reason given"}).`, "error");
      return;
    }
    if (answer.status === "pending" || answer.newScore === null || answer.version === null) {
      this.#say("Accepted. The points will show as soon as they are counted.", "wait");
      return;
    }
    this.#stand({ score: answer.newScore, rank: answer.rank, version: answer.version });
    const place = answer.rank === null ? "" : `, ${formatOrdinal(answer.rank)} place`;
    this.#answer.textContent = `${formatNumber(answer.newScore)} points${place}.`;
    this.#record(answer, points, tookMs);
  }

  /**
   * @param {ScoreAnswer} answer
   * @param {number} points
   * @param {number} tookMs
   */
  #record({ newScore, rank, version }, points, tookMs) {
    const item = document.createElement("li");
    const place = rank === null ? "" : ` · ${formatOrdinal(rank)}`;
    item.title = `Committed as version ${version}`;
    item.append(
      span("log-points", formatSigned(points)),
      span("log-score", `${formatNumber(newScore ?? 0)}${place} · v${version}`),
      span("log-time", `${Math.round(tookMs)} ms`),
    );
    this.#log.prepend(item);
    while (this.#log.children.length > LOG_LENGTH) this.#log.lastElementChild?.remove();
    this.#log.hidden = false;
  }

  /** @param {ApiError} error */
  #refused(error) {
    const limited = error.status === 429;
    this.#say(explain(error), limited || error.isTransient ? "wait" : "error");
    if (!limited || error.retryAfterSeconds === null || error.code === "daily_cap_reached") return; // other actions may still be open
    this.#countDown(error.code, error.retryAfterSeconds);
    this.#drawButtons();
  }

  /**
   * @param {string} code
   * @param {number} seconds
   */
  #countDown(code, seconds) {
    this.#waiting = setTimeout(() => {
      if (seconds <= 1) {
        this.#release();
        return;
      }
      this.#message.setAttribute("aria-live", "off"); // said once; the rest is only to be seen
      this.#say(explainLimit(code, seconds - 1), "wait");
      this.#countDown(code, seconds - 1);
    }, 1000);
  }

  /** After a wait: the buttons work again. */
  #release() {
    if (this.#waiting !== null) clearTimeout(this.#waiting);
    this.#waiting = null;
    this.#message.removeAttribute("aria-live");
    this.#say("", "error");
    this.#drawButtons();
  }

  /** @param {boolean} busy */
  #setBusy(busy) {
    this.#busy = busy;
    this.#actions.setAttribute("aria-busy", String(busy));
  }

  /** They stay focusable: a button that vanished from under the finger would lose the keyboard its place. */
  #drawButtons() {
    for (const button of this.#actions.children) button.setAttribute("aria-disabled", String(this.#waiting !== null));
  }

  /** @param {Standing} standing an older one than shown is ignored: the answer and the stream come in any order */
  #stand(standing) {
    if (this.#standing !== null && standing.version < this.#standing.version) return;
    this.#standing = standing;
    this.#about = null;
    this.#drawStanding();
  }

  #drawStanding() {
    const { score, rank } = this.#standing ?? { score: null, rank: null };
    this.#score.textContent = score === null ? "–" : formatNumber(score);
    const exact = rank === null ? "–" : formatOrdinal(rank);
    this.#rank.textContent = this.#about === null ? exact : `about ${formatAbout(this.#about)}`;
    this.#rank.classList.toggle("about", this.#about !== null);
  }

  /**
   * @param {string} text
   * @param {"error" | "wait"} kind
   */
  #say(text, kind) {
    this.#message.dataset["kind"] = kind;
    this.#message.textContent = text;
  }
}

/**
 * @param {string} board
 * @param {ActionType} type
 * @returns {{ action: Action, points: number, name: string }[]}
 */
function actionsOf(board, { actionType, proof, minPoints, maxPoints, defaultPoints }) {
  if (proof === "issuer") return [];
  const min = minPoints ?? defaultPoints ?? 1;
  const max = maxPoints ?? defaultPoints ?? min;
  // Fixed points go without saying, and are then not in the signature either.
  if (min === max) return [{ action: { board, actionType, proof }, points: min, name: nameOf(actionType) }];
  return PRESETS.filter(({ points }) => points >= min && points <= max).map(({ points, name }) => ({
    action: { board, actionType, proof, points },
    points,
    name,
  }));
}

/** @param {string} actionType */
function nameOf(actionType) {
  return actionType === "task" ? "Finish a task" : actionType;
}

/**
 * @param {string} className
 * @param {string} text
 */
function span(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}
