/** A crowd of our own clients through a restart of the real binary, and that its verdict sees what is wrong. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { crowd } from "../crowd/crowd.js";
import { asJson, inWords, verdict } from "../crowd/verdict.js";
import { OPTIONS, binary } from "./support/binary.js";
import { Server } from "./support/server.js";

/** @typedef {import("../crowd/verdict.js").MemberFacts} MemberFacts */

const LIMITS = { SCOREBOARD__LIMITS__USER_UPDATES_PER_MINUTE: "0" };

test("a restart under a crowd: all resume, none misses the final state, by deltas, whole lists and Server-Sent Events", OPTIONS, async (t) => {
  const server = await Server.create(binary());
  t.after(() => server.remove());
  await server.start(LIMITS);
  const clients = 50;
  /** @type {Promise<void> | null} */
  let restarted = null;
  const report = await crowd(
    { url: server.url, apiUrl: server.url, clients, sse: 10, plain: 10, perSecond: 100, seconds: 6, updatesPerSecond: 10, maxShare: 1, settleSeconds: 20 },
    ({ phase, committed }) => {
      if (phase !== "scoring" || committed === 0) return;
      restarted ??= server.terminate().then((code) => {
        assert.equal(code, 0);
        return server.start(LIMITS);
      });
    },
  );
  await restarted;
  assert.deepEqual(report.problems, [], inWords(report));
  const { lost, byes, returns, behind, wentBack, committed, onSse } = report.values;
  assert.deepEqual({ lost, byes, behind, wentBack }, { lost: clients, byes: clients, behind: 0, wentBack: 0 }, inWords(report));
  assert.equal(returns, clients);
  assert.ok(Number(onSse) >= 10 && Number(committed) > 0, inWords(report));
});

test("the verdict on a crowd that went through a restart well has no problem", () => {
  const report = verdict(seen(members(100)));
  assert.deepEqual(report.problems, []);
  assert.equal(report.values["resumedByDelta"], 100);
  assert.match(inWords(report), /connections that came back +100\n/);
  assert.deepEqual(JSON.parse(asJson(report)).problems, []);
});

test("the verdict names whatever a client of the crowd lacked", () => {
  const cases = /** @type {[RegExp, (member: MemberFacts) => MemberFacts][]} */ ([
    [/never lost their connection/, (member) => ({ ...member, losses: [], returns: [] })],
    [/did not come back/, (member) => ({ ...member, returns: [], isUp: false })],
    [/did not ask to go on/, (member) => ({ ...member, returns: member.returns.map((one) => ({ ...one, asksSince: false })) })],
    [/began anew/, (member) => ({ ...member, startedOver: 1 })],
    [/went back/, (member) => ({ ...member, wentBack: 1 })],
  ]);
  for (const [words, spoil] of cases) {
    const report = verdict(seen(members(100).map((member, index) => (index === 7 ? spoil(member) : member))));
    assert.equal(report.problems.length, 1, report.problems.join("; "));
    assert.match(report.problems[0] ?? "", words);
  }
  const wrong = /** @type {[RegExp, Partial<import("../crowd/verdict.js").Seen>][]} */ ([
    [/1 clients do not show what/, { behind: 1 }],
    [/3 clients were not started/, { wanted: 103 }],
    [/no update was committed/, { committed: 0 }],
    [/no server:bye/, { facts: members(100).map((member) => ({ ...member, byes: [] })) }],
  ]);
  for (const [words, facts] of wrong) assert.match(verdict({ ...seen(members(100)), ...facts }).problems.join("; "), words);
});

test("the verdict names returns that crowd together, in the window and after it", () => {
  for (const at of [100, 1_950]) {
    const facts = members(100).map((member, index) => (index < 30 ? { ...member, returns: member.returns.map((one) => ({ ...one, at })) } : member));
    assert.match(verdict(seen(facts)).problems.join("; "), /(3[0-9]|40) % of the returns came within a tenth/);
  }
});

/**
 * Who was told to come back within a second, and did.
 * @param {number} count
 * @returns {MemberFacts[]}
 */
function members(count) {
  return Array.from({ length: count }, (_, index) => {
    const waitMs = Math.round(((index + 1) * 1_000) / count);
    return {
      transport: "websocket",
      losses: [1],
      returns: [{ at: waitMs, asksSince: true, by: "delta" }],
      byes: [{ at: 0, waitMs }],
      failedAttempts: 0,
      startedOver: 0,
      wentBack: 0,
      isUp: true,
    };
  });
}

/**
 * @param {MemberFacts[]} facts
 * @returns {import("../crowd/verdict.js").Seen}
 */
function seen(facts) {
  return { title: "crowd", wanted: 100, maxShare: 0.25, committed: 5, failed: 0, behind: 0, facts };
}
