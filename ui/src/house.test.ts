import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

// Rules that no type can hold: they are what makes the strict CSP and the promise "nothing becomes markup" true.
const SOURCES = readdirSync("src", { recursive: true, encoding: "utf8" })
  .filter((name) => /\.(svelte|ts|css)$/.test(name) && !name.endsWith(".test.ts") && !name.includes("bindings"))
  .map((name) => ({ name, text: readFileSync(join("src", name), "utf8") }));

test("there are sources to look at", () => expect(SOURCES.length).toBeGreaterThan(40));

test.each([
  ["no HTML from strings", /\{@html|\.innerHTML|\.outerHTML|insertAdjacentHTML|document\.write|DOMParser/],
  ["no code from strings", /\beval\(|new Function\(/],
  ["no inline styles", /\sstyle=/],
  ["no transitions that inject style elements", /svelte\/(transition|animate)/],
  ["no addresses outside the window", /\b(fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon)\b\s*\(/],
  ["no images by address", /<img\b|new Image\(/],
  ["no conversation kept in the webview", /localStorage|sessionStorage|indexedDB/],
])("%s", (_, forbidden) => {
  expect(SOURCES.filter(({ text }) => forbidden.test(text)).map(({ name }) => name)).toEqual([]);
});

test("files stay under 500 lines", () => {
  expect(SOURCES.filter(({ text }) => text.split("\n").length > 500).map(({ name }) => name)).toEqual([]);
});
