/**
 * What a delta of `scoreboard.v1.delta` does to the visible rows, and the checksum that shows that nothing went wrong.
 *
 *     ["-", i]                                          the row at i leaves
 *     ["+", i, userId, username, score, lastUpdated]    a row comes in at i
 *     ["=", i, score, lastUpdated]                      the row at i has a new score
 *     ["m", i, j, score, lastUpdated]                   the row at i is taken out, and put in at j, with a new score
 *
 * Operations follow one another on the same list; positions count from 0, and a rank is a position plus one.
 */

/** @typedef {import("./stream-types.d.ts").Entry} Entry */
/** @typedef {import("./stream-types.d.ts").DeltaOp} DeltaOp */

/** The rows are not what the server takes them for. */
export class DeltaError extends Error {}

/**
 * @param {readonly Entry[]} rows left as they are
 * @param {readonly DeltaOp[]} ops
 * @returns {Entry[]}
 * @throws {DeltaError} an operation that does not fit the rows
 */
export function applyOps(rows, ops) {
  const after = [...rows];
  for (const op of ops) applyOp(after, op);
  return after.map((row, index) => (row.rank === index + 1 ? row : { ...row, rank: index + 1 }));
}

/**
 * @param {Entry[]} rows
 * @param {DeltaOp} op
 */
function applyOp(rows, op) {
  if (!Array.isArray(op)) throw new DeltaError("an operation is no array");
  switch (op[0]) {
    case "-":
      takeOut(rows, op[1]);
      break;
    case "+": {
      const [, at, userId, username, score, lastUpdated] = op;
      if (typeof userId !== "string" || typeof username !== "string") throw new DeltaError("a new row has no name");
      putIn(rows, at, changed({ userId, username, score: 0, rank: 0, lastUpdated: "" }, score, lastUpdated));
      break;
    }
    case "=": {
      const [, at, score, lastUpdated] = op;
      putIn(rows, at, changed(takeOut(rows, at), score, lastUpdated));
      break;
    }
    case "m": {
      const [, from, to, score, lastUpdated] = op;
      putIn(rows, to, changed(takeOut(rows, from), score, lastUpdated));
      break;
    }
    default:
      throw new DeltaError(`there is no operation ${JSON.stringify(op[0])}`);
  }
}

/**
 * @param {Entry[]} rows
 * @param {unknown} at
 */
function takeOut(rows, at) {
  const row = typeof at === "number" ? rows[at] : undefined;
  if (row === undefined) throw new DeltaError(`there is no row ${at} among ${rows.length}`);
  rows.splice(/** @type {number} */ (at), 1);
  return row;
}

/**
 * @param {Entry[]} rows
 * @param {unknown} at
 * @param {Entry} row
 */
function putIn(rows, at, row) {
  if (typeof at !== "number" || !Number.isInteger(at) || at < 0 || at > rows.length) {
    throw new DeltaError(`nothing can be put in at ${at} among ${rows.length}`);
  }
  rows.splice(at, 0, row);
}

/**
 * @param {Entry} row
 * @param {unknown} score
 * @param {unknown} lastUpdated
 * @returns {Entry}
 */
function changed(row, score, lastUpdated) {
  if (!Number.isSafeInteger(score) || typeof lastUpdated !== "string") throw new DeltaError("a row has no score or no time");
  return { ...row, score: /** @type {number} */ (score), lastUpdated };
}

/**
 * The `check` of a delta: CRC-32 (IEEE) of the lines `userId:score`, joined by a newline.
 * @param {readonly Pick<Entry, "userId" | "score">[]} rows
 * @returns {string} eight lower-case hex digits
 */
export function checksum(rows) {
  const text = rows.map(({ userId, score }) => `${userId}:${score}`).join("\n");
  return crc32(new TextEncoder().encode(text)).toString(16).padStart(8, "0");
}

/** @param {Uint8Array} bytes */
function crc32(bytes) {
  let crc = 0xffff_ffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ /** @type {number} */ (TABLE[(crc ^ byte) & 0xff]);
  return (crc ^ 0xffff_ffff) >>> 0;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb8_8320 : crc >>> 1;
  return crc;
});
