/** Numbers, places and times as the page writes them. */

const numbers = new Intl.NumberFormat("en");

/** @param {number} value */
export function formatNumber(value) {
  return numbers.format(value);
}

/** @param {number} value */
export function formatSigned(value) {
  return value < 0 ? `−${numbers.format(-value)}` : `+${numbers.format(value)}`;
}

/** @param {number} rank */
export function formatOrdinal(rank) {
  const tens = rank % 100;
  const suffix = tens >= 11 && tens <= 13 ? "th" : (["th", "st", "nd", "rd"][rank % 10] ?? "th");
  return `${numbers.format(rank)}${suffix}`;
}

/** @param {number} rank a place that is known to three digits */
export function formatAbout(rank) {
  const step = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(rank, 1))) - 2);
  return formatOrdinal(Math.round(rank / step) * step);
}

/** @param {number} ms */
export function formatAgo(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 3) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/** @param {number} seconds */
export function formatWait(seconds) {
  if (seconds < 90) return `${seconds} ${seconds === 1 ? "second" : "seconds"}`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} minutes`;
  return `${Math.round(seconds / 3600)} hours`;
}

/**
 * A colour of one's own, the same on every screen.
 * @param {string} userId
 * @returns {number} a hue in degrees
 */
export function hueOf(userId) {
  let hash = 0;
  for (const character of userId) hash = (hash * 31 + /** @type {number} */ (character.codePointAt(0))) >>> 0;
  return hash % 360;
}
