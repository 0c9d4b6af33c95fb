/** One process of a crowd: opens its part of the clients, says how they are, and at the end what became of each. */

import { PROTOCOL } from "../page/client/scoreboard-stream.js";
import { Member } from "./member.js";

/**
 * @typedef {object} Part
 * @property {string} baseUrl
 * @property {string} board
 * @property {number} limit
 * @property {number} clients in all, of which
 * @property {number} plain so many speak the protocol of whole lists only, and
 * @property {number} sse so many take Server-Sent Events
 * @property {number} perSecond new connections
 */
/** @typedef {{ start: Part } | { truth: string, question: number } | { tell: true }} Order */
/** @typedef {{ open: number, lost: number, back: number, wentBack: number }} Progress */

const OPEN_EVERY_MS = 50;
const TELL_EVERY_MS = 250;

/** @type {Member[]} */
const members = [];

process.on("message", (/** @type {Order} */ order) => {
  if ("start" in order) open(order.start);
  if ("truth" in order) say({ question: order.question, behind: members.filter((member) => !member.shows(order.truth)).length });
  if ("tell" in order) tell();
});
process.on("disconnect", () => process.exit());

/** @param {Part} part */
function open({ baseUrl, board, limit, clients, plain, sse, perSecond }) {
  for (let index = 0; index < clients; index += 1) {
    const common = { baseUrl, board, limit };
    if (index < sse) members.push(new Member({ ...common, transports: ["sse"] }));
    else if (index < sse + plain) members.push(new Member({ ...common, protocols: [PROTOCOL] }));
    else members.push(new Member(common));
  }
  const began = performance.now();
  let started = 0;
  const opening = setInterval(() => {
    const due = Math.min(members.length, Math.ceil(((performance.now() - began) / 1_000) * perSecond));
    for (; started < due; started += 1) members[started]?.start();
    if (started === members.length) clearInterval(opening);
  }, OPEN_EVERY_MS);
  setInterval(() => say({ progress: progress() }), TELL_EVERY_MS);
}

/** @returns {Progress} */
function progress() {
  const sum = { open: 0, lost: 0, back: 0, wentBack: 0 };
  for (const { isUp, facts } of members) {
    sum.open += isUp ? 1 : 0;
    sum.lost += facts.losses.length;
    sum.back += facts.returns.length;
    sum.wentBack += facts.wentBack;
  }
  return sum;
}

function tell() {
  const facts = members.map((member) => member.facts);
  members.forEach((member) => member.stop());
  process.send?.({ facts }, () => process.disconnect());
}

/** @param {object} message */
function say(message) {
  if (process.connected) process.send?.(message);
}
