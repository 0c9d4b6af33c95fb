/** One process of a crowd: opens its part of the clients, says how they are, and at the end what became of each. */

import { Member } from "./member.js";

/** @typedef {{ baseUrl: string, board: string, limit: number, websockets: number, eventStreams: number, perSecond: number }} Part */
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
function open({ baseUrl, board, limit, websockets, eventStreams, perSecond }) {
  for (let index = 0; index < websockets + eventStreams; index += 1) {
    const common = { baseUrl, board, limit };
    members.push(new Member(index < websockets ? common : { ...common, transports: ["sse"] }));
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
