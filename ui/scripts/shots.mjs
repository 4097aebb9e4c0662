// Screenshots of the built window on the fake platform: `npm run build:fake && npm run shots`. Not part of the tests.
import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";
import { preview } from "vite";

const OUT = process.env.SHOTS ?? "shots";
const WIDE = { width: 1180, height: 800 };
const NARROW = { width: 420, height: 780 };

const openTitled = (title) => (page) => page.locator("[data-row]", { hasText: title }).first().click();
const drawerThen = (then) => async (page) => {
  await page.getByRole("button", { name: /Show conversations|सूची दिखाएँ/ }).click();
  await then(page);
};
const send = (text) => async (page) => {
  await page.getByTestId("composer").fill(text);
  await page.getByTestId("send").click();
};

const shots = [
  ["empty-en", "lang=en&theme=light&scene=empty", WIDE],
  ["empty-hi", "lang=hi&theme=light", WIDE],
  ["empty-hi-dark", "lang=hi&theme=dark", WIDE],
  ["chat-en", "lang=en&theme=light", WIDE, openTitled("What is a rainbow")],
  ["chat-en-dark", "lang=en&theme=dark", WIDE, openTitled("What is a rainbow")],
  ["chat-hi", "lang=hi&theme=light", WIDE, openTitled("इन्द्रधनुष")],
  ["chat-hi-dark", "lang=hi&theme=dark", WIDE, openTitled("इन्द्रधनुष")],
  ["chat-hinglish", "lang=en&theme=light", WIDE, openTitled("Chai")],
  ["interrupted", "lang=hi&theme=light", WIDE, openTitled("कबीर")],
  ["narrow-hi", "lang=hi&theme=light", NARROW, drawerThen(openTitled("इन्द्रधनुष"))],
  ["narrow-drawer", "lang=en&theme=dark", NARROW, drawerThen(async () => {})],
  ["narrow-empty", "lang=hi&theme=light", NARROW],
  ["streaming", "lang=en&theme=light&ms=60", WIDE, async (page) => { await send("What is a rainbow?")(page); await page.waitForTimeout(2600); }],
  ["waiting", "lang=en&theme=light&ms=3000&scene=loading", WIDE, async (page) => { await send("What is a rainbow?")(page); await page.waitForTimeout(400); }],
  ["failed", "lang=hi&theme=light&scene=failed", WIDE],
  ["failed-dark", "lang=en&theme=dark&scene=failed", WIDE],
  ["settings-hi", "lang=hi&theme=light", WIDE, (page) => page.getByTestId("settings").click()],
  ["settings-dark", "lang=en&theme=dark", WIDE, (page) => page.getByTestId("settings").click()],
  ["delete", "lang=en&theme=light", WIDE, async (page) => { await openTitled("Chai")(page); await page.locator(".current [data-testid=delete]").click(); }],
  ["rename", "lang=en&theme=light", WIDE, async (page) => { await openTitled("Chai")(page); await page.locator(".current [data-testid=rename]").click(); }],
  ["link", "lang=en&theme=light", WIDE, async (page) => { await openTitled("What is a rainbow")(page); await page.getByRole("link").click(); }],
  ["versions", "lang=hi&theme=light&ms=1", WIDE, async (page) => { await send("नमस्ते, तुम कौन हो?")(page); await page.waitForTimeout(900); await page.getByTestId("regenerate").click(); await page.waitForTimeout(1500); }],
  ["long-draft", "lang=en&theme=light", WIDE, async (page) => { await page.getByTestId("composer").fill("क्षेत्र और ज्ञान की बात।\n".repeat(400)); }],
];

const only = process.argv.slice(2);
mkdirSync(OUT, { recursive: true });
const server = await preview({ mode: "fake", preview: { port: 4179, strictPort: true }, logLevel: "error" });
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
for (const [name, query, viewport, act] of shots) {
  if (only.length > 0 && !only.some((part) => name.includes(part))) continue;
  const page = await browser.newPage({ viewport, deviceScaleFactor: 1 });
  page.on("console", (message) => message.type() === "error" && console.log(name, message.text()));
  page.on("pageerror", (error) => console.log(name, error.message));
  await page.goto(`http://localhost:4179/?${query}`);
  await page.getByTestId("composer").waitFor();
  if (act) await act(page);
  await page.waitForTimeout(450);
  await page.screenshot({ path: `${OUT}/${name}.png` });
  await page.close();
}
await browser.close();
await server.close();
