/** What the page says about a refusal: by its code, with the service's own words where nothing better is known. */

import { formatWait } from "./format.js";

/** @typedef {import("./api.js").ApiError} ApiError */

/** @type {Record<string, string>} */
const TEXTS = {
  network_error: "The server cannot be reached. Check your connection and try again.",
  invalid_credentials: "Name and password do not match.",
  username_taken: "This name is taken. If it is yours, log in.",
  unauthenticated: "Your session has ended. Log in again.",
  token_expired: "Your session has ended. Log in again.",
  token_revoked: "Your session was ended. Log in again.",
  refresh_token_reused: "Your session was used in two places and has been ended for safety. Log in again.",
  invalid_signature: "The server did not accept the signature. Log in again.",
  stale_timestamp: "Your device's clock is more than five minutes off. Set it right and try again.",
  duplicate_action: "This action was counted before.",
  request_in_progress: "This action is still being counted.",
  issuer_proof_required: "On this board only the game itself can grant these points.",
  unavailable: "The scoreboard cannot take points right now. Nothing was counted; try again in a moment.",
  internal: "Something went wrong on the server.",
};

/**
 * @param {ApiError} error
 * @returns {string}
 */
export function explain(error) {
  if (error.status === 429) return explainLimit(error.code, error.retryAfterSeconds);
  const text = TEXTS[error.code] ?? `${capital(error.message)}.`.replace(/\.\.$/, ".");
  return error.status >= 500 && error.requestId !== null ? `${text} (Request ${error.requestId})` : text;
}

/**
 * @param {string} code
 * @param {number | null} waitSeconds
 */
export function explainLimit(code, waitSeconds) {
  const what = code === "daily_cap_reached" ? "You have earned all that this action gives in a day." : "That was too fast.";
  return waitSeconds === null ? `${what} Try again later.` : `${what} You can go on in ${formatWait(waitSeconds)}.`;
}

/** @param {string} text */
function capital(text) {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}
