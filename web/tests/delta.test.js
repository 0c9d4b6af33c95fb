import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import { approximateRank } from "../page/client/stream-curve.js";
import { DeltaError, applyOps, checksum } from "../page/client/stream-delta.js";

/** @typedef {import("../page/client/stream-types.d.ts").Entry} Entry */
/** @typedef {import("../page/client/stream-types.d.ts").DeltaOp} DeltaOp */

const BEFORE = "2026-11-20T10:00:00.000Z";
const NOW = "2026-11-20T10:00:01.000Z";

/** @param {...[string, number]} scores */
function rows(...scores) {
  return scores.map(([userId, score], index) => ({ userId, username: userId.toUpperCase(), score, rank: index + 1, lastUpdated: BEFORE }));
}

/** @param {readonly Entry[]} entries */
function brief(entries) {
  return entries.map(({ rank, username, score }) => `${rank} ${username} ${score}`);
}

test("each operation does what it says, and the ranks follow the places", () => {
  const board = rows(["a", 30], ["b", 20], ["c", 10]);
  const newcomer = { userId: "d", username: "D", score: 25, rank: 2, lastUpdated: NOW };
  assert.deepEqual(brief(applyOps(board, [["-", 0]])), ["1 B 20", "2 C 10"]);
  assert.deepEqual(applyOps(board, [["+", 1, "d", "D", 25, NOW]])[1], newcomer);
  assert.deepEqual(brief(applyOps(board, [["+", 3, "d", "D", 5, NOW]])), ["1 A 30", "2 B 20", "3 C 10", "4 D 5"]);
  assert.deepEqual(brief(applyOps(board, [["=", 1, 21, NOW]])), ["1 A 30", "2 B 21", "3 C 10"]);
  assert.deepEqual(brief(applyOps(board, [["m", 2, 0, 40, NOW]])), ["1 C 40", "2 A 30", "3 B 20"]);
  assert.deepEqual(brief(applyOps(board, [["m", 0, 2, 5, NOW]])), ["1 B 20", "2 C 10", "3 A 5"]);
  assert.equal(applyOps(board, [["m", 2, 0, 40, NOW]])[0]?.lastUpdated, NOW);
});

test("operations follow one another on the same list, and leave the one before as it was", () => {
  const board = rows(["a", 30], ["b", 20], ["c", 10]);
  /** @type {DeltaOp[]} */
  const ops = [["m", 2, 0, 35, NOW], ["-", 2], ["+", 0, "d", "D", 50, NOW], ["=", 2, 31, NOW]];
  assert.deepEqual(brief(applyOps(board, ops)), ["1 D 50", "2 C 35", "3 A 31"]);
  assert.deepEqual(board, rows(["a", 30], ["b", 20], ["c", 10]));
});

test("an operation that does not fit is refused, not guessed at", () => {
  const board = rows(["a", 30]);
  const wrong = [
    ["-", 1], ["-", -1], ["-", 0.5], ["-", "0"], ["-"], ["=", 1, 5, NOW], ["=", 0, "5", NOW], ["=", 0, 5], ["+", 2, "d", "D", 1, NOW], ["+", 0, 7, "D", 1, NOW],
    ["+", 0, "d", "D", 2 ** 60, NOW], ["m", 0, 1, 5, NOW], ["m", 1, 0, 5, NOW], ["x", 0], [], "-", null,
  ];
  for (const op of wrong) assert.throws(() => applyOps(board, [/** @type {any} */ (op)]), DeltaError, JSON.stringify(op));
});

test("whatever two lists there are, some operations lead from one to the other, and the checksum tells when they do not", () => {
  for (let round = 0; round < 300; round += 1) {
    let board = /** @type {Entry[]} */ ([]);
    /** @type {Entry[]} */
    const model = [];
    for (let step = 0; step < 40; step += 1) {
      const [at, to, score] = [die(model.length + 1), die(model.length), die(1000)];
      const kind = die(4);
      if (kind === 0 || model.length === 0) {
        const userId = `u${round}-${step}`;
        model.splice(at, 0, { userId, username: userId, score, rank: 0, lastUpdated: NOW });
        board = applyOps(board, [["+", at, userId, userId, score, NOW]]);
      } else if (kind === 1) {
        model.splice(to, 1);
        board = applyOps(board, [["-", to]]);
      } else {
        const from = die(model.length);
        const [row] = /** @type {[Entry]} */ (model.splice(from, 1));
        model.splice(kind === 2 ? from : to, 0, { ...row, score, lastUpdated: NOW });
        board = applyOps(board, [kind === 2 ? ["=", from, score, NOW] : ["m", from, to, score, NOW]]);
      }
      assert.deepEqual(board, model.map((row, index) => ({ ...row, rank: index + 1 })));
      assert.equal(checksum(board), checksum(model));
    }
    if (model.length > 0) assert.notEqual(checksum(board.slice(1)), checksum(model));
  }
});

test("the checksum is the CRC-32 of everybody else", () => {
  assert.equal(checksum([]), "00000000");
  const board = [{ userId: "Zoë", score: -5 }, { userId: "b", score: 9_007_199_254_740_991 }];
  assert.equal(checksum(board), crc32("Zoë:-5\nb:9007199254740991").toString(16).padStart(8, "0"));
  assert.match(checksum([{ userId: "x108", score: 1 }]), /^[0-9a-f]{8}$/);
});

test("a rank between two points of the curve is in proportion", () => {
  /** @type {Pick<import("../page/client/stream-types.d.ts").Curve, "players" | "points">} */
  const curve = { players: 20_000, points: [[1, 1_000], [10, 900], [10_010, 500], [12_010, 500], [20_000, 10]] };
  assert.equal(approximateRank(curve, 2_000), 1);
  assert.equal(approximateRank(curve, 1_000), 1);
  assert.equal(approximateRank(curve, 900), 10);
  assert.equal(approximateRank(curve, 700), 5_010);
  assert.equal(approximateRank(curve, 500), 11_010); // among equals the middle
  assert.equal(approximateRank(curve, 255), 16_005);
  assert.equal(approximateRank(curve, 3), 20_000);
  assert.equal(approximateRank({ players: 0, points: [] }, 3), null);
});

/** @param {number} sides */
function die(sides) {
  return Math.floor(Math.random() * sides);
}
