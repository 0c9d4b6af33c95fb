/** From a score to about its rank, by the points of `scoreboard:curve`: no query, however many players there are. */

/** @typedef {import("./stream-types.d.ts").Curve} Curve */

/**
 * Between two points the rank is taken to grow evenly with the falling score; among equals it is the middle.
 * @param {Pick<Curve, "players" | "points">} curve points with rising rank and falling score
 * @param {number} score
 * @returns {number | null} null while nobody has a score
 */
export function approximateRank({ players, points }, score) {
  const first = points[0];
  const last = points.at(-1);
  if (first === undefined || last === undefined) return null;
  const below = points.findIndex((point) => point[1] <= score);
  if (below === -1) return Math.max(players, last[0]);
  const [rank, at] = /** @type {[number, number]} */ (points[below]);
  if (at === score) {
    const equals = points.filter((point) => point[1] === score);
    return Math.round((rank + /** @type {[number, number]} */ (equals.at(-1))[0]) / 2);
  }
  const above = points[below - 1];
  if (above === undefined) return first[0];
  const share = (above[1] - score) / (above[1] - at);
  return Math.round(above[0] + (rank - above[0]) * share);
}
