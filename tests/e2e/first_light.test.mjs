// From the first launch to a conversation that is still there: the flows of one person, in order.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { APP, Machine, byId, until } from "./chimera.mjs";

const QUESTION = "नमस्ते, तुम कौन हो?";

let machine;
let app;

before(async () => {
  machine = new Machine();
  app = await machine.start();
});

after(() => machine.remove());

test("the first launch lands in a ready chat", async () => {
  await app.ready();
  assert.deepEqual(await app.messages("user"), []);
  assert.equal(await app.driver.execute("return document.activeElement.dataset.testid"), "composer");
  const shown = await app.driver.execute("return [innerWidth, innerHeight]");
  assert.ok(shown[0] >= 1000 && shown[1] >= 650, `opened at ${shown}`);
  await app.screenshot("first-launch");
});

test("a Hindi question is answered", async () => {
  await app.send(QUESTION);
  const whole = await app.answered();
  assert.equal((await app.messages("user"))[0].text, QUESTION);
  assert.ok(["complete", "length"].includes(whole.status), whole.status);
  assert.ok(whole.text.length > 0);
  await app.screenshot("answer");
});

test("stop ends an answer at once and keeps its text", async () => {
  await app.driver.click(byId("new-chat"));
  await app.stopAtTheFirstWords();
  await app.send("Tell me a very long story about the sea.");
  const stopped = await app.answered();
  assert.equal(stopped.status, "stopped");
  assert.ok(stopped.text.length > 0);
});

test("an answer is written again, as a stream, beside the first", async () => {
  await app.watchStream();
  await app.driver.click(byId("regenerate"));
  await until("a second version", () => app.driver.execute("return document.querySelector('[data-testid=version-count]')?.innerText === '2/2'"));
  const whole = await app.answered();
  const [first] = await app.streamed();
  assert.ok(first?.length > 0 && first.length < whole.text.length, "words were shown before the answer was whole");
  await app.driver.click(byId("version-previous"));
  await until("the first version", () => app.driver.execute("return document.querySelector('[data-testid=version-count]')?.innerText === '1/2'"));
  assert.equal((await app.lastAnswer()).status, "stopped");
});

test("everything is still there after a restart", async () => {
  const before = { titles: await app.titles(), user: await app.messages("user"), answers: await app.messages("assistant") };
  await app.close();
  app = await (await machine.start()).ready();
  await until("the list", async () => (await app.titles()).length === 2);
  assert.deepEqual(await app.titles(), before.titles);
  await app.driver.click(`${byId("conversation-item")} [data-row]`);
  await until("the messages", async () => (await app.messages("assistant")).length === 1);
  assert.deepEqual(await app.messages("user"), before.user);
  assert.deepEqual(await app.messages("assistant"), before.answers);
});

test("a conversation can be renamed", async () => {
  const name = "नदी की कहानी";
  await app.driver.click(byId("rename"));
  await app.driver.keys(byId("rename-field"), name);
  await app.enter(byId("rename-field"));
  await until("the new name", async () => (await app.titles())[0] === name);
});

test("a deleted conversation is gone, the other one stays", async () => {
  await app.driver.click(byId("delete"));
  await app.driver.click(byId("delete-confirm"));
  await until("a list of one", async () => (await app.titles()).length === 1);
  const { value } = await app.invoke("conversations_list");
  assert.equal(value.length, 1);
  assert.notEqual(value[0].title, "नदी की कहानी");
});

test("the interface switches between Hindi and English, and remembers", async () => {
  const language = () => app.driver.execute("return document.documentElement.lang");
  const first = await language();
  await app.driver.click(byId("language-switch"));
  await until("the other language", async () => (await language()) !== first);
  const { value } = await app.invoke("settings_get");
  assert.equal(value.language, await language());
  const label = await app.driver.execute("return document.querySelector('[data-testid=new-chat]').innerText");
  assert.equal(/[\u0900-\u097F]/.test(label), (await language()) === "hi", label);
  await app.screenshot(`interface-${await language()}`);
});

test("light turns to dark", async () => {
  const ground = () => app.driver.execute("return getComputedStyle(document.body).backgroundColor");
  const brightness = async () => (await ground()).match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
  await app.invoke("settings_get");
  const seen = {};
  for (let step = 0; step < 3; step += 1) {
    const before = await app.driver.execute("return document.querySelector('[data-testid=theme-switch]').dataset.themeSetting");
    await app.driver.click(byId("theme-switch"));
    const theme = await until("the next theme", async () => {
      const now = await app.driver.execute("return document.querySelector('[data-testid=theme-switch]').dataset.themeSetting");
      return now !== before && now;
    });
    seen[theme] = await brightness();
    if (theme === "dark") await app.screenshot("dark");
  }
  assert.ok(seen.dark < 250 && seen.light > 600, JSON.stringify(seen));
});

test("a second start hands over to the first and ends", async () => {
  const second = spawn(APP, [], { env: machine.env, stdio: "ignore" });
  const [code] = await once(second, "exit");
  assert.equal(code, 0);
  assert.equal((await app.driver.handles()).length, 1);
  assert.equal(await app.modelState(), "ready");
});
