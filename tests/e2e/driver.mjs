// A W3C WebDriver client, as small as these tests need: one WebKitWebDriver process, one session.
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { setTimeout as pause } from "node:timers/promises";

const ELEMENT = "element-6066-11e4-a52e-4f735466cecf";
const READY_MS = 15_000;
const POLL_MS = 25;

/** Asks `question` until its answer is truthy; a WebDriver error counts as "not yet". */
export async function until(what, question, limitMs = 30_000) {
  const end = Date.now() + limitMs;
  let last;
  while (Date.now() < end) {
    try {
      const answer = await question();
      if (answer) return answer;
      last = answer;
    } catch (error) {
      last = error;
    }
    await pause(POLL_MS);
  }
  throw new Error(`waited ${limitMs} ms for ${what}; last: ${last instanceof Error ? last.message : JSON.stringify(last)}`);
}

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

export class Driver {
  #base;
  #session;
  process;

  /** Starts the driver and, through it, the program `binary` with the environment `env`. */
  static async start(binary, env) {
    const driver = new Driver();
    const port = await freePort();
    driver.#base = `http://127.0.0.1:${port}`;
    driver.process = spawn("WebKitWebDriver", [`--port=${port}`, "--host=127.0.0.1"], { env, stdio: ["ignore", "inherit", "inherit"] });
    await until("the driver", () => driver.#call("GET", "/status"), READY_MS);
    const capabilities = { alwaysMatch: { browserName: "wry", "webkitgtk:browserOptions": { binary, args: [] } } };
    const { sessionId } = await driver.#call("POST", "/session", { capabilities });
    driver.#session = `/session/${sessionId}`;
    return driver;
  }

  async #call(method, path, body) {
    const response = await fetch(this.#base + path, { method, body: body && JSON.stringify(body) });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`${value.error}: ${value.message}`);
    return value;
  }

  #in(method, path, body) {
    return this.#call(method, this.#session + path, body);
  }

  async all(selector) {
    const found = await this.#in("POST", "/elements", { using: "css selector", value: selector });
    return found.map((element) => element[ELEMENT]);
  }

  /** The first element, waited for. */
  async one(selector) {
    const [element] = await until(selector, async () => {
      const found = await this.all(selector);
      return found.length > 0 && found;
    });
    return element;
  }

  async click(selector) {
    await until(`a click on ${selector}`, async () => {
      await this.#in("POST", `/element/${await this.one(selector)}/click`, {});
      return true;
    });
  }

  /** Everything after a key of the private use area is dropped by the driver: send such a key alone. */
  async keys(selector, text) {
    await this.#in("POST", `/element/${await this.one(selector)}/value`, { text });
  }

  execute(script, ...args) {
    return this.#in("POST", "/execute/sync", { script, args });
  }

  /** `script` is the body of an async function; what it throws comes back as `{ error }`. */
  async evaluate(script, ...args) {
    const wrapped = `const done = arguments[arguments.length - 1], args = [...arguments].slice(0, -1);
      (async (...args) => { ${script} })(...args).then((value) => done({ value }), (error) => done({ error: typeof error === "object" && !(error instanceof Error) ? error : String(error) }));`;
    return this.#in("POST", "/execute/async", { script: wrapped, args });
  }

  async url() {
    return this.#in("GET", "/url");
  }

  async handles() {
    return this.#in("GET", "/window/handles");
  }

  async screenshot() {
    return Buffer.from(await this.#in("GET", "/screenshot"), "base64");
  }

  get ended() {
    return this.process.exitCode !== null || this.process.signalCode !== null;
  }

  async end() {
    if (this.ended) return;
    this.process.kill();
    await once(this.process, "exit");
  }
}
