// The application as a person meets it: started with folders of its own, read and used by test ids.
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Driver, until } from "./driver.mjs";

export { until };

const ROOT = path.resolve(import.meta.dirname, "../..");
const APP = process.env.APP ?? path.join(ROOT, "target/debug/chimera-desktop");
const SCREENSHOTS = process.env.E2E_SCREENSHOTS ?? path.join(path.dirname(APP), "../e2e");
const ENTER = "\uE007";

export const byId = (name) => `[data-testid="${name}"]`;

/** The bundled model when there is one, since that is what a person gets; else the tiny fixture. */
function model() {
  if (process.env.CHIMERA_MODEL) return process.env.CHIMERA_MODEL;
  const folder = path.join(ROOT, "assets/models");
  const bundled = fs.readdirSync(folder).find((name) => name.endsWith(".gguf"));
  return bundled ? path.join(folder, bundled) : path.join(ROOT, "tests/fixtures/tiny/tiny-q4_0.gguf");
}

/** One person's machine: a home of its own that outlives the program. */
export class Machine {
  home = fs.mkdtempSync(path.join(os.tmpdir(), "chimera-e2e-"));
  data = path.join(this.home, "data");
  openedLinks = path.join(this.home, "opened-links");
  env;
  app;

  constructor(overrides = {}) {
    const bin = path.join(this.home, "bin");
    fs.mkdirSync(bin);
    // Stands in for the person's browser and writes down what it was asked to open.
    fs.writeFileSync(path.join(bin, "xdg-open"), `#!/bin/sh\nprintf '%s\\n' "$1" >> '${this.openedLinks}'\n`, { mode: 0o755 });
    this.env = {
      ...process.env,
      PATH: `${bin}:${process.env.PATH}`,
      XDG_DATA_HOME: path.join(this.home, "share"),
      XDG_CONFIG_HOME: path.join(this.home, "config"),
      XDG_CACHE_HOME: path.join(this.home, "cache"),
      CHIMERA_DATA_DIR: this.data,
      CHIMERA_MODEL: model(),
      LANG: "C.UTF-8",
      GTK_USE_PORTAL: "0",
      MESA_SHADER_CACHE_DISABLE: "true",
      TAURI_WEBVIEW_AUTOMATION: "true",
      ...overrides,
    };
  }

  links() {
    return fs.existsSync(this.openedLinks) ? fs.readFileSync(this.openedLinks, "utf8").trim().split("\n") : [];
  }

  /** Where the conversations are, for the tests that damage or plant something while the program is closed. */
  get database() {
    return path.join(this.data, "history", "history.db");
  }

  async start() {
    this.app = new Chimera(this, await Driver.start(APP, this.env));
    return this.app;
  }

  /** Leaves nothing behind, however the test went. */
  async remove() {
    await this.app?.end();
    fs.rmSync(this.home, { recursive: true, force: true });
  }
}

export class Chimera {
  constructor(machine, driver) {
    this.machine = machine;
    this.driver = driver;
  }

  async ready() {
    await this.driver.one(byId("composer"));
    await until("a ready model", () => this.modelState().then((state) => state === "ready"), 60_000);
    return this;
  }

  modelState() {
    return this.driver.execute("return document.querySelector('[data-testid=model-status]')?.dataset.state");
  }

  async write(text) {
    await this.driver.click(byId("composer"));
    await this.driver.keys(byId("composer"), text);
  }

  async send(text) {
    await this.write(text);
    await this.driver.keys(byId("composer"), ENTER);
  }

  enter(selector) {
    return this.driver.keys(selector, ENTER);
  }

  /** What the messages of a role say and how they stand, in order. */
  messages(role) {
    return this.driver.execute(
      `return [...document.querySelectorAll('[data-testid="message-' + arguments[0] + '"]')].map((message) => ({
        text: (message.querySelector(".text")?.innerText ?? "").trim(),
        status: message.dataset.status ?? null,
      }))`,
      role,
    );
  }

  async lastAnswer() {
    return (await this.messages("assistant")).at(-1);
  }

  /** Waits until the answer being written has some text. */
  answering() {
    return until("the first words of an answer", async () => {
      const answer = await this.lastAnswer();
      return answer?.text && answer;
    });
  }

  /** Waits until the answer is over, however it ended. */
  answered(limitMs = 120_000) {
    return until("the end of the answer", async () => {
      const answer = await this.lastAnswer();
      return answer && answer.status !== "streaming" && answer;
    }, limitMs);
  }

  /** From now on the page itself notes each text that it shows of an answer still being written: a driver's look could come too late. */
  watchStream() {
    return this.driver.execute(`
      window.streamed = [];
      new MutationObserver(() => {
        const text = [...document.querySelectorAll('[data-testid="message-assistant"][data-status="streaming"] .text')].at(-1)?.innerText.trim();
        if (text && text !== window.streamed.at(-1)) window.streamed.push(text);
      }).observe(document.body, { subtree: true, childList: true, characterData: true })`);
  }

  streamed() {
    return this.driver.execute("return window.streamed");
  }

  /** Stands the whole program still, as a machine that sleeps does. */
  async freeze(milliseconds) {
    const pid = this.pid();
    process.kill(pid, "SIGSTOP");
    await pause(milliseconds);
    process.kill(pid, "SIGCONT");
  }

  /** Presses stop in the page itself, the moment that an answer has words: a driver's click would come too late for a short one. */
  stopAtTheFirstWords() {
    return this.driver.execute(`
      const watch = new MutationObserver(() => {
        const answers = document.querySelectorAll('[data-testid="message-assistant"][data-status="streaming"] .text');
        const stop = document.querySelector('[data-testid="stop"]');
        if (!stop || ![...answers].some((answer) => answer.innerText.trim())) return;
        watch.disconnect();
        stop.click();
      });
      watch.observe(document.body, { subtree: true, childList: true, characterData: true })`);
  }

  titles() {
    return this.driver.execute(
      "return [...document.querySelectorAll('[data-testid=conversation-item]')].map((item) => item.innerText.trim())",
    );
  }

  /** Calls a command the way the page does, past the interface. */
  invoke(command, args = {}) {
    return this.driver.evaluate("return window.__TAURI_INTERNALS__.invoke(args[0], args[1])", command, args);
  }

  async screenshot(name) {
    fs.mkdirSync(SCREENSHOTS, { recursive: true });
    const picture = await this.driver.screenshot();
    fs.writeFileSync(path.join(SCREENSHOTS, `${name}.png`), picture);
    return picture;
  }

  /** The process of the window, found among the driver's children. */
  pid() {
    const children = fs.readFileSync(`/proc/${this.driver.process.pid}/task/${this.driver.process.pid}/children`, "utf8");
    const own = children.trim().split(" ").find((pid) => isApp(pid));
    if (!own) throw new Error("the program is not running");
    return Number(own);
  }

  /** Ends the program as a power cut would. */
  kill() {
    return this.#signal("SIGKILL");
  }

  /** Ends the program as logging out does, and waits until it has put its things away. */
  close() {
    return this.#signal("SIGTERM");
  }

  async #signal(name) {
    const pid = this.pid();
    process.kill(pid, name);
    await until("the end of the program", () => !isApp(pid));
    await this.driver.end();
  }

  /** Whatever still runs, for a test that is over. */
  async end() {
    if (this.driver.ended) return;
    try {
      process.kill(this.pid(), "SIGKILL");
    } catch {
      // It has ended already.
    }
    await this.driver.end();
  }
}

function isApp(pid) {
  try {
    return fs.readlinkSync(`/proc/${pid}/exe`) === fs.realpathSync(APP);
  } catch {
    return false;
  }
}

/** A web server on this machine that counts who comes: a test that expects nobody. */
export async function listener() {
  const visits = [];
  const server = http.createServer((request, response) => {
    visits.push(request.url);
    response.end();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = `http://127.0.0.1:${server.address().port}`;
  return { visits, address, close: () => server.close() };
}
export { APP };
