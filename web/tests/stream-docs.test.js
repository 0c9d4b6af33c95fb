/** docs/STREAM.md says what is so: its worked example is carried out. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { StreamedBoard } from "../page/client/stream-state.js";

const text = await readFile(new URL("../../docs/STREAM.md", import.meta.url), "utf8");

/** @param {string} heading */
function section(heading) {
  const [, after] = text.split(`${heading}\n`);
  assert.ok(after !== undefined, heading);
  return after.split(/^##/m)[0] ?? "";
}

test("the worked example leads to the table at its end", () => {
  const example = section("### A worked example");
  const frames = [...example.matchAll(/```json\n([\s\S]*?)```/g)].map(([, json]) => JSON.parse(json ?? ""));
  const table = [...example.matchAll(/^\| (\d+) \| (\w+) \| (\d+) \|$/gm)].map(([, ...cells]) => cells.join(" "));
  const board = new StreamedBoard();
  assert.deepEqual(frames.map(({ event }) => event), ["scoreboard:snapshot", "delta", "delta"]);
  assert.ok(frames.some(({ data }) => data.check !== undefined));
  let shown = null;
  for (const { event, data } of frames) shown = event === "delta" ? board.delta(data) : board.snapshot(data);
  assert.deepEqual(shown?.leaderboard.map(({ rank, username, score }) => `${rank} ${username} ${score}`), table);
  assert.equal(table.length, 3);
});

test("every event of the client is in the document", async () => {
  const types = await readFile(new URL("../page/client/stream-types.d.ts", import.meta.url), "utf8");
  const events = /interface StreamEvents \{([\s\S]*?)\n\}/.exec(types)?.[1] ?? "";
  const names = [...events.matchAll(/^ {2}"?([\w:]+)"?: /gm)].map(([, name]) => name);
  assert.ok(names.length >= 10);
  for (const name of names) assert.ok(text.includes(`\`${name}\``) || text.includes(`"${name}"`), name);
});
