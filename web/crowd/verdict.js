/** What a crowd went through, as a table for people, an object for programs, and what was not right. */

/** @typedef {{ at: number, waitMs: number }} Bye milliseconds */
/** @typedef {{ at: number, asksSince: boolean, by: string | null }} Return `by`: the first event after it; null: stood at the head */
/**
 * @typedef {{ transport: string | null, losses: number[], returns: Return[], byes: Bye[], failedAttempts: number, startedOver: number,
 *   wentBack: number, isUp: boolean }} MemberFacts
 */
/** @typedef {{ title: string, wanted: number, maxShare: number, committed: number, failed: number, behind: number, facts: MemberFacts[] }} Seen */
/** @typedef {{ title: string, lines: [label: string, words: string][], values: Record<string, unknown>, problems: string[] }} Report */

/** The announced window is looked at in so many parts. */
const PARTS = 10;

/**
 * @param {Seen} seen `maxShare`: the largest part of all returns that may fall into a tenth of the announced window
 * @returns {Report}
 */
export function verdict({ title, wanted, maxShare, committed, failed, behind, facts }) {
  /** @type {Report} */
  const report = { title, lines: [], values: {}, problems: [] };
  const count = (/** @type {(member: MemberFacts) => number} */ of) => facts.reduce((sum, member) => sum + of(member), 0);
  const line = (/** @type {string} */ key, /** @type {string} */ label, /** @type {number} */ value) => {
    report.lines.push([label, String(value)]);
    report.values[key] = value;
    return value;
  };
  const problem = (/** @type {number} */ found, /** @type {string} */ words) => {
    if (found > 0) report.problems.push(`${found} ${words}`);
  };
  line("clients", "clients", facts.length);
  problem(wanted - facts.length, "clients were not started");
  line("lost", "connections lost", count(({ losses }) => losses.length));
  line("byes", "server:bye heard", count(({ byes }) => byes.length));
  line("returns", "connections that came back", count(({ returns }) => returns.length));
  line("failedAttempts", "attempts that failed", count(({ failedAttempts }) => failedAttempts));
  problem(count(({ losses }) => (losses.length === 0 ? 1 : 0)), "clients never lost their connection: nothing was shown with them");
  problem(count(({ isUp }) => (isUp ? 0 : 1)), "clients did not come back");
  resumes(facts, line, problem);
  problem(line("wentBack", "versions that went back", count(({ wentBack }) => wentBack)), "versions went back");
  problem(line("behind", "clients not at the truth at the end", behind), "clients do not show what /top shows");
  line("onSse", "clients on Server-Sent Events at the end", count(({ transport }) => (transport === "sse" ? 1 : 0)));
  line("committed", "updates committed meanwhile", committed);
  line("failedUpdates", "updates that failed", failed);
  if (committed === 0) report.problems.push("no update was committed, so nothing was to be seen");
  spread(report, facts, maxShare);
  return report;
}

/**
 * @param {MemberFacts[]} facts
 * @param {(key: string, label: string, value: number) => number} line
 * @param {(found: number, words: string) => void} problem
 */
function resumes(facts, line, problem) {
  const returns = facts.flatMap((member) => member.returns);
  const by = (/** @type {string | null} */ event) => returns.filter((one) => one.by === event).length;
  line("resumedByDelta", "resumed by a delta", by("delta"));
  line("resumedByUpdate", "… an update", by("score:update"));
  line("resumedBySnapshot", "… a snapshot", by("scoreboard:snapshot"));
  line("resumedAtHead", "… nothing: stood at the newest state", by(null));
  problem(returns.filter(({ asksSince }) => !asksSince).length, "returns did not ask to go on from what was shown");
  problem(line("startedOver", "connections that began anew", facts.reduce((sum, { startedOver }) => sum + startedOver, 0)), "connections began anew");
}

/**
 * @param {Report} report
 * @param {MemberFacts[]} facts
 * @param {number} maxShare
 */
function spread(report, facts, maxShare) {
  const byes = facts.flatMap((member) => member.byes);
  if (byes.length === 0) {
    report.problems.push("no server:bye was heard, so there is no window to come back in");
    return;
  }
  const windowMs = byes.reduce((longest, { waitMs }) => Math.max(longest, waitMs), 1);
  const began = byes.reduce((first, { at }) => Math.min(first, at), Infinity);
  const parts = returnsIn(facts.flatMap((member) => member.returns.map(({ at }) => at - began)), windowMs / PARTS);
  report.lines.push(["announced window, its end as far as it was drawn", `${windowMs} ms`]);
  report.lines.push(["returns over time", parts.map(({ untilMs, count }) => `≤${untilMs} ms: ${count}`).join(", ")]);
  report.values["windowMs"] = windowMs;
  report.values["returnsOverTime"] = parts;
  const all = parts.reduce((sum, { count }) => sum + count, 0);
  const largest = parts.reduce((most, { count }) => Math.max(most, count), 0) / Math.max(all, 1);
  report.lines.push(["largest part of them in a tenth of the window", `${Math.round(largest * 100)} %`]);
  report.values["largestShare"] = largest;
  if (largest > maxShare) {
    report.problems.push(`${Math.round(largest * 100)} % of the returns came within a tenth of the window: at most ${Math.round(maxShare * 100)} %`);
  }
}

/**
 * @param {number[]} times milliseconds after the first goodbye
 * @param {number} widthMs
 */
function returnsIn(times, widthMs) {
  const last = times.reduce((latest, at) => Math.max(latest, at), 0);
  const parts = Array.from({ length: Math.max(PARTS, Math.floor(last / widthMs) + 1) }, (_, index) => ({ untilMs: Math.round((index + 1) * widthMs), count: 0 }));
  for (const at of times) {
    const part = parts[Math.floor(Math.max(at, 0) / widthMs)];
    if (part !== undefined) part.count += 1;
  }
  return parts;
}

/** @param {Report} report */
export function inWords({ title, lines, problems }) {
  const width = lines.reduce((longest, [label]) => Math.max(longest, label.length), 0);
  const told = lines.map(([label, words]) => `  ${label.padEnd(width)}  ${words}`);
  return [title, ...told, ...problems.map((problem) => `  PROBLEM: ${problem}`), ""].join("\n");
}

/** @param {Report} report */
export function asJson({ title, values, problems }) {
  return `${JSON.stringify({ ...values, run: title, problems })}\n`;
}
