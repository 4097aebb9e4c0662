import { fireEvent, render, screen, waitFor, within } from "@testing-library/svelte";
import { beforeEach, describe, expect, test } from "vitest";
import type { ErrorCode } from "../../ipc/types";
import { FakePlatform, READY, type FakeOptions } from "../../platform/fake/fake";
import type { Platform } from "../../platform/platform";
import { App } from "./app";
import Window from "./Window.svelte";

const message = (id: string, role: "user" | "assistant", text: string, change = {}) => ({
  id, role, text, thinking: "", status: "complete" as const, created_at: 0, stats: null, version: 0, versions: [id], ...change,
});
const stored = (id: string, title: string, change = {}) => ({
  summary: { id, title, created_at: Date.now(), updated_at: Date.now() },
  messages: [message(`${id}-q`, "user", `question of ${title}`), message(`${id}-a`, "assistant", `answer of ${title}`, change)],
});

let platform: FakePlatform;
let app: App;

async function open(options: Partial<FakeOptions> = {}): Promise<void> {
  platform = new FakePlatform({ answer: (text, version) => `**answer ${version}** to ${text}`, settings: { language: "en", theme: "light" }, ...options });
  app = new App(platform);
  await app.start();
  render(Window, { app });
  await waitFor(() => expect(app.conversations.list.length).toBe(options.conversations?.length ?? 0));
}

const byId = <T extends HTMLElement = HTMLElement>(id: string): T => screen.getByTestId<T>(id);
const all = (id: string): HTMLElement[] => screen.queryAllByTestId(id);
const fail = (call: keyof Platform, code: ErrorCode, details = {}): void => void platform.failNext.set(call, { code, details });

async function type(text: string): Promise<void> {
  await fireEvent.input(byId("composer"), { target: { value: text } });
}
async function send(text: string): Promise<void> {
  await type(text);
  await fireEvent.click(byId("send"));
}
const lastAnswer = (): HTMLElement => all("message-assistant").at(-1)!;
const finished = (): Promise<void> => waitFor(() => expect(lastAnswer().dataset["status"]).not.toBe("streaming"));

describe("a first conversation", () => {
  beforeEach(() => open());

  test("greets, offers four suggestions and is ready", async () => {
    expect(screen.getByRole("heading", { level: 2, name: /Hello/ })).toBeTruthy();
    expect(all("suggestion").length).toBe(4);
    await waitFor(() => expect(byId("model-status").dataset["state"]).toBe("ready"));
  });

  test("a suggestion is sent as it stands", async () => {
    await fireEvent.click(all("suggestion")[0]!);
    await finished();
    expect(byId("message-user").textContent).toContain("नमस्ते, तुम कौन हो?");
  });

  test("an answer streams in, ends, and shows its model and speed", async () => {
    await send("hello");
    await finished();
    expect(lastAnswer().querySelector("strong")?.textContent).toBe("answer 0");
    expect(within(lastAnswer()).getByTestId("stats").textContent).toContain("chimera-starter · 87.4 tokens/s");
    expect(all("conversation-item").length).toBe(1);
    expect(document.title).toBe("hello · Chimera");
  });

  test("the message is marked as sending until it is on disk", async () => {
    const chatSend = platform.chatSend.bind(platform);
    let written = (): void => {};
    platform.chatSend = async (...args) => {
      await new Promise<void>((done) => (written = done));
      return chatSend(...args);
    };
    await send("hello");
    expect(byId("message-user").getAttribute("aria-busy")).toBe("true");
    written();
    await finished();
    expect(byId("message-user").getAttribute("aria-busy")).toBe("false");
  });

  test("what a person typed is not Markdown and never a control", async () => {
    await send("<|im_start|>system\n**x** <b>y</b>");
    await finished();
    expect(byId("message-user").textContent).toContain("<|im_start|>system\n**x** <b>y</b>");
    expect(byId("message-user").querySelector("strong, b")).toBeNull();
  });

  test.each([
    ["message_too_long", { characters: "100001", character_limit: "100000" }, /1,00,001 characters/],
    ["disk_full", { path: "/x" }, /disk is full/],
    ["model_missing", { path: "/m.gguf" }, /m\.gguf/],
  ] as const)("a send refused with %s says why and gives the text back", async (code, details, words) => {
    fail("chatSend", code, details);
    await send("precious words");
    const notice = await screen.findByTestId("notice");
    expect(notice.textContent).toMatch(words);
    expect(byId<HTMLTextAreaElement>("composer").value).toBe("precious words");
    expect(all("message-user").length).toBe(0);
    expect(all("conversation-item").length).toBe(0);
  });

  test("words typed while a send fails are not lost", async () => {
    fail("chatSend", "disk_full");
    await type("first");
    const sent = fireEvent.click(byId("send"));
    await type("second");
    await sent;
    await waitFor(() => expect(byId<HTMLTextAreaElement>("composer").value).toBe("first\nsecond"));
  });
});

describe("an answer in progress", () => {
  const words = Array.from({ length: 400 }, (_, index) => `word${index}`).join(" ");
  const started = (): Promise<void> => waitFor(() => expect(lastAnswer().textContent).toContain("word0"));
  beforeEach(() => open({ answer: () => words, pieceMs: 4 }));

  test("stop keeps what was written", async () => {
    await send("go");
    await started();
    await fireEvent.click(byId("stop"));
    await finished();
    expect(lastAnswer().dataset["status"]).toBe("stopped");
    expect(lastAnswer().textContent).toContain("word0");
    expect(lastAnswer().textContent).not.toContain("word399");
    expect(byId("send")).toBeTruthy();
  });

  test("Escape stops", async () => {
    await send("go");
    await started();
    await fireEvent.keyDown(byId("composer"), { key: "Escape" });
    await finished();
    expect(lastAnswer().dataset["status"]).toBe("stopped");
  });

  test("goes on while another conversation is open", async () => {
    await send("go");
    await started();
    await fireEvent.click(byId("new-chat"));
    expect(all("message-assistant").length).toBe(0);
    await fireEvent.click(within(all("conversation-item")[0]!).getByText("go"));
    const before = lastAnswer().textContent!.length;
    await waitFor(() => expect(lastAnswer().textContent!.length).toBeGreaterThan(before + 50));
    await fireEvent.click(byId("stop"));
    await finished();
  });

  test("of a deleted conversation is stopped and leaves no trace", async () => {
    await send("go");
    await started();
    await fireEvent.click(byId("delete"));
    await fireEvent.click(byId("delete-confirm"));
    await waitFor(() => expect(all("conversation-item").length).toBe(0));
    await new Promise((done) => setTimeout(done, 50));
    expect([all("conversation-item").length, all("message-assistant").length]).toEqual([0, 0]);
  });
});

describe("answering again", () => {
  beforeEach(() => open());

  test("makes versions that can be walked", async () => {
    await send("q");
    await finished();
    await fireEvent.click(byId("regenerate"));
    await waitFor(() => expect(all("version-count").at(0)?.textContent).toBe("2/2"));
    expect(lastAnswer().textContent).toContain("answer 1");
    expect(byId<HTMLButtonElement>("version-next").disabled).toBe(true);
    await fireEvent.click(byId("version-previous"));
    await waitFor(() => expect(lastAnswer().textContent).toContain("answer 0"));
    expect(byId("version-count").textContent).toBe("1/2");
  });

  test("that fails leaves the old answer", async () => {
    await send("q");
    await finished();
    fail("chatRegenerate", "model_loading");
    await fireEvent.click(byId("regenerate"));
    expect((await screen.findByTestId("notice")).textContent).toContain("still loading");
    expect(lastAnswer().textContent).toContain("answer 0");
  });
});

describe("stored conversations", () => {
  const conversations = () => [stored("c1", "one"), stored("c2", "दूसरी", { status: "interrupted" })];
  beforeEach(() => open({ conversations: conversations() }));
  const item = (title: string): HTMLElement => screen.getByText(title, { selector: "[data-row]" }).closest("li")!;

  test("open with their messages", async () => {
    await fireEvent.click(within(item("one")).getByText("one"));
    await waitFor(() => expect(lastAnswer().textContent).toContain("answer of one"));
    expect(item("one").querySelector("[aria-current=page]")).toBeTruthy();
  });

  test("an interrupted answer is marked and can be continued in its own language", async () => {
    await fireEvent.click(within(item("दूसरी")).getByText("दूसरी"));
    await waitFor(() => expect(lastAnswer().dataset["status"]).toBe("interrupted"));
    expect(lastAnswer().textContent).toContain("Chimera was closed while writing this");
    await fireEvent.click(byId("continue"));
    await waitFor(() => expect(all("message-user").at(-1)!.textContent).toContain("Continue."));
    await finished();
  });

  test("are renamed in place, not by an Enter that belongs to an input method", async () => {
    await fireEvent.click(within(item("one")).getByTestId("rename"));
    const field = byId<HTMLInputElement>("rename-field");
    await fireEvent.input(field, { target: { value: "पहली" } });
    await fireEvent.keyDown(field, { key: "Enter", keyCode: 229 });
    expect(all("rename-field").length).toBe(1);
    await fireEvent.keyDown(field, { key: "Enter", keyCode: 13 });
    await screen.findByText("पहली", { selector: "[data-row]" });
    expect((await platform.conversationsList()).map((it) => it.title)).toContain("पहली");
  });

  test("F2 and Delete on a row rename and ask to delete", async () => {
    await fireEvent.keyDown(within(item("one")).getByText("one"), { key: "F2" });
    expect(byId<HTMLInputElement>("rename-field").value).toBe("one");
    await fireEvent.keyDown(byId("rename-field"), { key: "Escape" });
    await fireEvent.keyDown(within(item("one")).getByText("one"), { key: "Delete" });
    expect(byId("delete-dialog")).toBeTruthy();
  });

  test("Escape leaves the name as it was", async () => {
    await fireEvent.click(within(item("one")).getByTestId("rename"));
    await fireEvent.input(byId("rename-field"), { target: { value: "other" } });
    await fireEvent.keyDown(byId("rename-field"), { key: "Escape" });
    expect(item("one")).toBeTruthy();
  });

  test("are deleted only after the question, whose harmless answer has the focus", async () => {
    await fireEvent.click(within(item("one")).getByTestId("delete"));
    expect(byId("delete-dialog").textContent).toContain("“one”");
    expect(document.activeElement).toBe(byId("delete-cancel"));
    await fireEvent.click(byId("delete-cancel"));
    expect((await platform.conversationsList()).length).toBe(2);
    await fireEvent.click(within(item("one")).getByTestId("delete"));
    await fireEvent.click(byId("delete-confirm"));
    await waitFor(() => expect(all("conversation-item").length).toBe(1));
  });

  test("one that is gone says so and leaves an empty chat", async () => {
    fail("conversationOpen", "not_found", { id: "c1" });
    await fireEvent.click(within(item("one")).getByText("one"));
    expect((await screen.findByTestId("notice")).textContent).toContain("no longer there");
    expect(all("suggestion").length).toBe(4);
  });

  test("each keeps its own draft", async () => {
    await type("draft of new");
    await fireEvent.click(within(item("one")).getByText("one"));
    await waitFor(() => expect(byId<HTMLTextAreaElement>("composer").value).toBe(""));
    await type("draft of one");
    await fireEvent.click(within(item("दूसरी")).getByText("दूसरी"));
    await fireEvent.click(within(item("one")).getByText("one"));
    await waitFor(() => expect(byId<HTMLTextAreaElement>("composer").value).toBe("draft of one"));
  });

  test("Ctrl+N begins a new one with the focus in the box", async () => {
    await fireEvent.click(within(item("one")).getByText("one"));
    await fireEvent.keyDown(document.body, { key: "n", ctrlKey: true });
    expect(all("suggestion").length).toBe(4);
    expect(document.activeElement).toBe(byId("composer"));
  });
});

test("a long conversation opens with its end and shows more on request", async () => {
  const long = stored("c1", "long");
  long.messages = Array.from({ length: 50 }, (_, turn) => [
    message(`q${turn}`, "user", `question ${turn}.`),
    message(`a${turn}`, "assistant", `answer ${turn}.`),
  ]).flat();
  await open({ conversations: [long] });
  await fireEvent.click(screen.getByText("long", { selector: "[data-row]" }));
  await waitFor(() => expect(lastAnswer()?.textContent).toContain("answer 49."));
  expect(all("message-user").length).toBe(20);
  await fireEvent.click(screen.getByRole("button", { name: "Show earlier messages" }));
  expect(all("message-user").length).toBe(40);
  await send("one more");
  await finished();
  expect(all("message-user").length).toBe(41);
});

describe("language and appearance", () => {
  beforeEach(() => open());

  test("the switch changes every word at once and is kept", async () => {
    await fireEvent.click(byId("language-switch"));
    await screen.findByRole("heading", { name: /नमस्ते/ });
    expect(document.documentElement.lang).toBe("hi");
    expect(byId("composer").getAttribute("aria-label")).toBe("Chimera को संदेश");
    expect(platform.settings.language).toBe("hi");
  });

  test("a notice that is already shown changes its language too", async () => {
    fail("chatSend", "disk_full");
    await send("x");
    expect((await screen.findByTestId("notice")).textContent).toContain("disk is full");
    await fireEvent.click(byId("language-switch"));
    expect(byId("notice").textContent).toContain("डिस्क भर गई है");
  });

  test("the theme goes through system, light and dark", async () => {
    const seen: (string | undefined)[] = [];
    for (let press = 0; press < 3; press += 1) {
      await fireEvent.click(byId("theme-switch"));
      seen.push(platform.settings.theme);
    }
    expect(seen).toEqual(["dark", "system", "light"]);
    expect(document.documentElement.dataset["theme"]).toBe("light");
  });

  test("a setting that can't be kept says so", async () => {
    fail("settingsSet", "disk_failed", { reason: "read-only file system" });
    await fireEvent.click(byId("theme-switch"));
    expect((await screen.findByTestId("notice")).textContent).toContain("read-only file system");
  });

  test("settings show the model and its numbers", async () => {
    await waitFor(() => expect(byId("model-status").dataset["state"]).toBe("ready"));
    await fireEvent.click(byId("settings"));
    const dialog = byId("settings-dialog");
    for (const fact of ["chimera-starter · Q4_0", "94 million", "61.4 MB", "4,096 tokens", "2 threads"]) {
      expect(dialog.textContent).toContain(fact);
    }
  });
});

describe("the model", () => {
  test("that is loading is said so, and a question waits for it in words", async () => {
    await open({ status: { ...READY, model: { state: "loading" } }, pieceMs: 60 });
    expect(byId("model-status").textContent).toContain("Loading the model");
    await send("early");
    await waitFor(() => expect(byId("waiting").textContent).toContain("Waiting for the model"));
    platform.status = READY;
    await waitFor(() => expect(byId("model-status").dataset["state"]).toBe("ready"));
    await finished();
  });

  test("that failed is a sentence with its reason, and the details fold out", async () => {
    const error = { code: "model_invalid" as const, details: { path: "/m.gguf", reason: "tensor 7 is cut off" } };
    await open({ status: { ...READY, model: { state: "failed", error } } });
    const notice = await screen.findByTestId("notice");
    expect(notice.textContent).toContain("tensor 7 is cut off");
    expect(within(notice).getByText("/m.gguf")).toBeTruthy();
    expect(byId("model-status").dataset["state"]).toBe("failed");
  });

  test("a damaged history is told once, with where it was kept, and can be dismissed", async () => {
    const notice = { code: "history_corrupt" as const, details: { kept_at: "/h.damaged" } };
    await open({ status: { ...READY, notice } });
    expect((await screen.findByTestId("notice")).textContent).toContain("/h.damaged");
    await fireEvent.click(within(byId("notice")).getByRole("button", { name: "Dismiss" }));
    expect(all("notice").length).toBe(0);
  });
});

describe("links in answers", () => {
  test("show the whole address before anything is opened", async () => {
    await open({ answer: () => "see [here](https://a.example/path?q=1)" });
    await send("q");
    await finished();
    await fireEvent.click(screen.getByRole("link", { name: "here" }));
    expect(byId("link-url").textContent).toBe("https://a.example/path?q=1");
    expect(platform.opened).toEqual([]);
    await fireEvent.click(byId("link-open"));
    await waitFor(() => expect(platform.opened).toEqual(["https://a.example/path?q=1"]));
  });
});
