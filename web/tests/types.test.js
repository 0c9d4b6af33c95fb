/** The declarations beside the stream's client are those that the compiler makes of it. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

const WEB = new URL("../", import.meta.url);
const DECLARATIONS = "client/scoreboard-stream.d.ts";

test("scoreboard-stream.d.ts is what the compiler makes of the client (npm run types -- DIRECTORY, and copy it)", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "scoreboard-types-"));
  t.after(() => rm(directory, { recursive: true }));
  await promisify(execFile)("npm", ["run", "--silent", "types", "--", directory], { cwd: WEB });
  const [fresh, kept] = await Promise.all([readFile(join(directory, DECLARATIONS), "utf8"), readFile(new URL(`page/${DECLARATIONS}`, WEB), "utf8")]);
  assert.equal(kept, fresh);
});
