/** Which binary is tested, and whether a browser is to be had. */

export const SKIPPED = process.env["SCOREBOARD_SKIP_BROWSER"] === "1";

export const OPTIONS = { skip: SKIPPED ? "SCOREBOARD_SKIP_BROWSER=1" : false, timeout: 120_000 };

export function binary() {
  const path = process.env["SCOREBOARD_BIN"];
  if (path === undefined || path === "") {
    throw new Error("set SCOREBOARD_BIN to the scoreboard binary that is to be tested, or SCOREBOARD_SKIP_BROWSER=1 to go without the browser tests");
  }
  return path;
}
