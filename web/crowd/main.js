#!/usr/bin/env node
/**
 * The command line of a crowd:
 *
 *     node web/crowd/main.js --url http://127.0.0.1:8081 --api-url http://127.0.0.1:8080 --clients 5000
 *
 * Exit code 0: everything was right; 1: something was not, and the table says what; 69: a server does not answer; 2: usage.
 */

import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { crowd } from "./crowd.js";
import { asJson, inWords } from "./verdict.js";

const OPTIONS = /** @type {const} */ ({
  url: { type: "string", default: "http://127.0.0.1:8080" },
  "api-url": { type: "string" },
  board: { type: "string", default: "global" },
  limit: { type: "string", default: "10" },
  clients: { type: "string", default: "100" },
  sse: { type: "string", default: "0" },
  plain: { type: "string", default: "0" },
  "per-second": { type: "string", default: "500" },
  seconds: { type: "string", default: "45" },
  "updates-per-second": { type: "string", default: "2" },
  "max-share": { type: "string", default: "0.25" },
  processes: { type: "string" },
  "json-file": { type: "string" },
  json: { type: "boolean", default: false },
  quiet: { type: "boolean", default: false },
});

/** Where nobody watches, a line a second is enough. */
const PLAIN_EVERY_MS = 1_000;

async function main() {
  const values = read();
  const number = (/** @type {string} */ text) => {
    const value = Number(text);
    if (!Number.isFinite(value) || value < 0) usage(`${text} is no number`);
    return value;
  };
  const report = await crowd(
    {
      url: values.url,
      apiUrl: values["api-url"] ?? values.url,
      board: values.board,
      limit: number(values.limit),
      clients: number(values.clients),
      sse: number(values.sse),
      plain: number(values.plain),
      perSecond: number(values["per-second"]),
      seconds: number(values.seconds),
      updatesPerSecond: number(values["updates-per-second"]),
      maxShare: number(values["max-share"]),
      ...(values.processes === undefined ? {} : { processes: number(values.processes) }),
    },
    values.quiet ? () => {} : progressLine(),
  );
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  if (values["json-file"] !== undefined) await writeFile(values["json-file"], asJson(report));
  process.stdout.write(values.json ? asJson(report) : inWords(report));
  process.exitCode = report.problems.length === 0 ? 0 : 1;
}

function read() {
  try {
    return parseArgs({ options: OPTIONS }).values;
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error));
  }
}

/**
 * @param {string} problem
 * @returns {never}
 */
function usage(problem) {
  process.stderr.write(`error: ${problem}\noptions: ${Object.keys(OPTIONS).map((name) => `--${name}`).join(" ")}\n`);
  process.exit(2);
}

/** @returns {(told: import("./crowd.js").Told) => void} */
function progressLine() {
  let toldAt = -Infinity;
  return ({ phase, clients, open, lost, back, wentBack, committed }) => {
    if (!process.stderr.isTTY && performance.now() - toldAt < PLAIN_EVERY_MS) return;
    toldAt = performance.now();
    const words = `${phase}: ${open} of ${clients} open, ${lost} lost, ${back} came back, ${wentBack} went back, ${committed} updates committed`;
    process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${words}` : `${words}\n`);
  };
}

main().catch((error) => {
  process.stderr.write(`error: ${error instanceof Error ? error.message : error}\n`);
  process.exit(69);
});
