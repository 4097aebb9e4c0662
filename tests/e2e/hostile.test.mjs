// A reply that attacks: it is shown as text, it fetches nothing, it goes nowhere. The walls behind the
// renderer are tried one by one as well, as if the renderer had failed.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { Machine, byId, listener, until } from "./chimera.mjs";

let machine;
let app;
let web;

const hostile = (address) => `# Hello
![picture](${address}/picture.png) <img src="${address}/tag.png" onerror="window.stolen = 1">
<script>window.stolen = 1</script><iframe src="${address}/frame"></iframe>
<style>@import url(${address}/style.css)</style><link rel="stylesheet" href="${address}/link.css">
[web](${address}/link) [script](javascript:window.stolen=1) [file](file:///etc/passwd) <${address}/auto>
<a href="${address}/raw" id="raw">raw</a>
<form action="${address}/form"><button>go</button></form>
`;

before(async () => {
  web = await listener();
  machine = new Machine();
  app = await (await machine.start()).ready();
  await app.send("Hello");
  await app.answered();
  await app.close();
  plant(hostile(web.address));
  app = await (await machine.start()).ready();
  await app.driver.click(`${byId("conversation-item")} [data-row]`);
  await until("the planted answer", async () => (await app.lastAnswer())?.text.includes("Hello"));
});

after(async () => {
  web.close();
  await machine.remove();
});

/** Puts a text in the place of the stored answer while the program is closed, as a model could have written it. */
function plant(text) {
  const script = `
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
changed = database.execute("UPDATE messages SET text = ? WHERE role = 'assistant'", (sys.argv[2],)).rowcount
database.commit()
assert changed == 1, changed
`;
  execFileSync("python3", ["-c", script, machine.database, text]);
}

test("a hostile reply is text: nothing is fetched, run or framed", async () => {
  const found = await app.driver.execute(`
    const answer = document.querySelector('[data-testid="message-assistant"]');
    return {
      stolen: window.stolen ?? null,
      elements: answer.querySelectorAll("img, script, iframe, style, link, form, object, embed").length,
      text: answer.innerText,
    }`);
  assert.equal(found.stolen, null);
  assert.equal(found.elements, 0);
  assert.match(found.text, /<script>/);
  assert.deepEqual(web.visits, []);
  await app.screenshot("hostile-reply");
});

test("a link asks first and then opens outside the window", async () => {
  const page = await app.driver.url();
  await app.driver.execute(`[...document.querySelectorAll('[data-testid="message-assistant"] .text *')].find((e) => e.innerText === "web" && e.children.length === 0).click()`);
  await app.driver.click(byId("link-open"));
  await until("the opener", () => machine.links().length > 0);
  assert.deepEqual(machine.links(), [`${web.address}/link`]);
  assert.equal(await app.driver.url(), page);
  assert.deepEqual(web.visits, []);
});

test("the command refuses every address but web and mail", async () => {
  for (const url of ["file:///etc/passwd", "javascript:alert(1)", "smb://a/b", "/bin/sh", "--help", "data:,x"]) {
    const { error } = await app.invoke("link_open", { url });
    assert.equal(error?.code, "link_refused", url);
  }
  assert.equal(machine.links().length, 1);
});

test("the page can call the application's commands and no others", async () => {
  for (const command of ["plugin:window|close", "plugin:window-state|save_window_state", "plugin:event|emit", "plugin:webview|create_webview", "plugin:app|version", "plugin:path|resolve_directory", "no_such_command"]) {
    const { error, value } = await app.invoke(command);
    assert.ok(error, `${command} answered ${JSON.stringify(value)}`);
  }
  assert.equal(await app.driver.execute("return typeof window.__TAURI__"), "undefined");
});

test("the policy stops what the page itself would try", async () => {
  const { value } = await app.driver.evaluate(
    `
    const address = args[0], blocked = [];
    document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
    const tries = [
      () => fetch(address + "/fetch"),
      () => new Promise((done, fail) => { const i = new Image(); i.onload = done; i.onerror = () => fail("image"); i.src = address + "/image"; }),
      () => new Promise((done, fail) => { const s = document.createElement("script"); s.onload = done; s.onerror = () => fail("script"); s.src = address + "/script"; document.head.append(s); }),
      () => new Promise((done, fail) => { const s = document.createElement("script"); s.textContent = "window.stolen = 2"; document.head.append(s); window.stolen ? done() : fail("inline"); }),
      async () => { document.body.insertAdjacentHTML("beforeend", '<img src=x onerror="window.stolen = 3">'); await new Promise((r) => setTimeout(r, 200)); if (!window.stolen) throw "handler"; },
      async () => (0, eval)("1"),
      async () => { if (!navigator.sendBeacon(address + "/beacon")) throw "beacon"; await new Promise((r) => setTimeout(r, 200)); throw "beacon"; },
    ];
    const passed = [];
    for (const [index, attempt] of tries.entries()) await attempt().then(() => passed.push(index), () => {});
    return { passed, blocked: [...new Set(blocked)].sort() };`,
    web.address,
  );
  assert.deepEqual(value.passed, []);
  for (const directive of ["connect-src", "img-src", "script-src-elem"]) assert.ok(value.blocked.includes(directive), `${directive} in ${value.blocked}`);
  assert.deepEqual(web.visits, []);
});

test("the window never leaves its own page, nor opens another", async () => {
  const page = await app.driver.url();
  for (const script of ["location.href = arguments[0]", "location.assign(arguments[0])", "window.open(arguments[0])", "const a = document.createElement('a'); a.href = arguments[0]; a.target = '_blank'; document.body.append(a); a.click()", "const a = document.createElement('a'); a.href = arguments[0]; document.body.append(a); a.click()", "location.href = 'data:text/html,x'", "location.href = 'file:///etc/passwd'"]) {
    await app.driver.execute(script, `${web.address}/navigate`).catch(() => {});
  }
  // The refused navigations are over once the page answers a call that went after them.
  assert.equal((await app.invoke("app_status")).value.model.state, "ready");
  assert.equal(await app.driver.url(), page);
  assert.equal((await app.driver.handles()).length, 1);
  assert.deepEqual(web.visits, []);
});
