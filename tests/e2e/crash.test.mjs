// The program ends in the middle of things; nothing that was shown as sent is lost.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { Machine, byId, until } from "./chimera.mjs";

const CHECKPOINT_MS = 1_100;
const LONG = "Write a long essay about India, its history, geography, culture, languages and food.";

test("kill -9 during an answer keeps the question and the partial answer", async (t) => {
  const machine = new Machine();
  t.after(() => machine.remove());
  let app = await (await machine.start()).ready();
  await untilPartlySaved(app);
  await app.kill();

  app = await (await machine.start()).ready();
  await app.driver.click(`${byId("conversation-item")} [data-row]`);
  const answer = await until("the answer", () => app.lastAnswer());
  assert.equal(answer.status, "interrupted");
  assert.ok(answer.text.length > 0);
  assert.equal((await app.messages("user"))[0].text, LONG);
  await app.screenshot("interrupted");
  await app.close();
});

/**
 * Asks until an answer is caught on disk while it is still being written. A checkpoint comes about once a second, and a
 * short answer of a fast machine is done by then: so the program stands still for that long in the middle of it.
 */
async function untilPartlySaved(app) {
  for (let attempt = 0; attempt < 12; attempt += 1) {
    await app.driver.click(byId("new-chat"));
    await app.send(LONG);
    await app.answering();
    await app.freeze(CHECKPOINT_MS);
    const caught = await until("a checkpoint or the end", async () => {
      if ((await app.lastAnswer()).status !== "streaming") return "ended";
      return (await isSaved(app)) && "saved";
    });
    if (caught === "saved") return;
  }
  throw new Error("no answer lasted until its first checkpoint");
}

/** Whether the stored answer, read through the application itself, has text while it still streams. */
async function isSaved(app) {
  const { value: list } = await app.invoke("conversations_list");
  const { value: conversation } = await app.invoke("conversation_open", { id: list[0].id });
  const answer = conversation.messages.at(-1);
  return answer.status === "streaming" && answer.text.length > 0;
}

test("a damaged history is set aside, said plainly, and the chat still works", async (t) => {
  const machine = new Machine();
  t.after(() => machine.remove());
  let app = await (await machine.start()).ready();
  await app.send("Hello");
  await app.answered();
  await app.close();
  const file = machine.database;
  fs.rmSync(`${file}-wal`, { force: true });
  fs.writeFileSync(file, Buffer.alloc(64 * 1024, 0x5a));

  app = await (await machine.start()).ready();
  const code = await until("the notice", () => app.driver.execute("return document.querySelector('[data-testid=notice]')?.dataset.code"));
  assert.equal(code, "history_corrupt");
  await app.screenshot("damaged-history");
  await app.send("Hello again");
  await app.answered();
  assert.equal((await app.messages("user"))[0].text, "Hello again");
  const kept = fs.readdirSync(machine.data, { recursive: true }).map((name) => path.join(machine.data, name));
  assert.ok(kept.some((name) => name !== file && fs.statSync(name).isFile() && fs.readFileSync(name).subarray(0, 8).every((byte) => byte === 0x5a)), "the damaged file is kept");
  await app.close();
});

test("a missing model is said in the window, and the history still opens", async (t) => {
  const machine = new Machine({ CHIMERA_MODEL: "/nowhere/model.gguf" });
  t.after(() => machine.remove());
  const app = await machine.start();
  await until("the failed model", async () => (await app.modelState()) === "failed");
  const { value } = await app.invoke("app_status");
  assert.equal(value.model.error.code, "model_missing");
  assert.deepEqual((await app.invoke("conversations_list")).value, []);
  await app.screenshot("missing-model");
  await app.close();
});
