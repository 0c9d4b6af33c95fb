/** Starts the real binary with a data directory of its own, on free ports. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const READY_WITHIN_MS = 30_000;
const POLL_MS = 25;
const LOG_KEPT_CHARS = 20_000;

export class Server {
  /** @type {import("node:child_process").ChildProcess | null} */
  #child = null;
  #log = "";

  /**
   * @param {string} binary
   * @param {string} directory
   * @param {{ http: number, admin: number, grpc: number }} ports
   */
  constructor(binary, directory, ports) {
    this.binary = binary;
    this.directory = directory;
    this.ports = ports;
  }

  /** @param {string} binary */
  static async create(binary) {
    const directory = await mkdtemp(join(tmpdir(), "scoreboard-page-"));
    const [http, admin, grpc] = await freePorts();
    return new Server(binary, directory, { http, admin, grpc });
  }

  get url() {
    return `http://127.0.0.1:${this.ports.http}/`;
  }

  /** What the server wrote, for the message of a test that failed. */
  get log() {
    return this.#log;
  }

  /** @param {Record<string, string>} [settings] beside those of every test */
  async start(settings = {}) {
    const child = spawn(this.binary, ["serve"], {
      env: {
        ...foreignSettings(),
        SCOREBOARD__DATA__DIR: this.directory,
        SCOREBOARD__HTTP__LISTEN: `127.0.0.1:${this.ports.http}`,
        SCOREBOARD__ADMIN__LISTEN: `127.0.0.1:${this.ports.admin}`,
        SCOREBOARD__GRPC__LISTEN: `127.0.0.1:${this.ports.grpc}`,
        ...settings,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    let failure = "";
    child.on("error", (error) => (failure = error.message));
    for (const output of [child.stdout, child.stderr]) {
      output.setEncoding("utf8").on("data", (text) => (this.#log = (this.#log + text).slice(-LOG_KEPT_CHARS)));
    }
    const deadline = Date.now() + READY_WITHIN_MS;
    while (!(await this.#isReady())) {
      if (failure !== "" || child.exitCode !== null) throw new Error(`${this.binary} did not start: ${failure}\n${this.#log}`);
      if (Date.now() > deadline) throw new Error(`${this.binary} is not ready after ${READY_WITHIN_MS} ms\n${this.#log}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  async #isReady() {
    return fetch(`http://127.0.0.1:${this.ports.admin}/readyz`).then(
      (answer) => answer.ok,
      () => false,
    );
  }

  /** As a power cut would: no farewell, no flush. */
  async kill() {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
  }

  /** As a deployment does: it says goodbye. */
  async terminate() {
    const child = this.#child;
    this.#child = null;
    if (child === null) return null;
    const exit = once(child, "exit");
    child.kill("SIGTERM");
    const [code] = await exit;
    return code;
  }

  async remove() {
    await this.kill();
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** The machine's environment without the settings of a scoreboard: the test's own are all that counts. */
function foreignSettings() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("SCOREBOARD__")));
}

/** Held together until all are known, so that they differ. */
async function freePorts() {
  const listeners = [createServer(), createServer(), createServer()];
  const ports = [];
  for (const listener of listeners) {
    await once(listener.listen(0, "127.0.0.1"), "listening");
    ports.push(/** @type {import("node:net").AddressInfo} */ (listener.address()).port);
  }
  for (const listener of listeners) await once(listener.close(), "close");
  return /** @type {[number, number, number]} */ (ports);
}
