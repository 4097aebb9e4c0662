import { describe, expect, test, vi } from "vitest";
import type { Conversation, Message, SendAccepted, WireError } from "../../ipc/types";
import { FakePlatform } from "../../platform/fake/fake";
import { Conversations } from "../conversations/conversations.svelte";
import { Notices } from "../notices/notices.svelte";
import { Chat } from "./chat.svelte";
import { Session } from "./session.svelte";

const message = (id: string, role: Message["role"], change: Partial<Message> = {}): Message => ({
  id, role, text: "", thinking: "", status: "complete", created_at: 0, stats: null, version: 0, versions: [id], ...change,
});
const SUMMARY = { id: "c", title: "t", created_at: 0, updated_at: 0 };
const ACCEPTED: SendAccepted = { summary: SUMMARY, user: message("u", "user", { text: "q" }), assistant: message("a", "assistant", { status: "streaming" }) };
const ERROR: WireError = { code: "engine_failed", details: { reason: "x" } };

function answering(): Session {
  const session = new Session("c");
  session.beginSend("u", "q");
  session.accept(ACCEPTED);
  return session;
}

describe("session", () => {
  test("a failure without a kept message keeps what was shown, and why", () => {
    const session = answering();
    session.apply({ type: "delta", text: "half an " });
    session.apply({ type: "delta", text: "answer" });
    session.apply({ type: "failed", error: ERROR, message: null });
    expect(session.messages.at(-1)).toMatchObject({ id: "a", text: "half an answer", status: "failed" });
    expect(session.failures.get("a")).toEqual(ERROR);
    expect(session.busy).toBe(false);
  });

  test("a failure with a kept message shows that message", () => {
    const session = answering();
    session.apply({ type: "failed", error: ERROR, message: message("a", "assistant", { text: "kept", status: "failed" }) });
    expect(session.messages.at(-1)?.text).toBe("kept");
  });

  test("prefill tells how much is read and how many turns were left out", () => {
    const session = answering();
    session.apply({ type: "prefill", done: 128, total: 512, dropped_turns: 3 });
    expect([session.live?.read, session.droppedTurns]).toEqual([0.25, 3]);
  });

  test("thinking and answer are kept apart", () => {
    const session = answering();
    session.apply({ type: "thinking", text: "hm" });
    session.apply({ type: "delta", text: "yes" });
    expect([session.live?.thinking, session.live?.text]).toEqual(["hm", "yes"]);
  });

  test("events after the end change nothing", () => {
    const session = answering();
    session.apply({ type: "finished", message: message("a", "assistant", { text: "done" }), summary: SUMMARY });
    const before = session.messages;
    session.apply({ type: "delta", text: "late" });
    expect(session.messages).toBe(before);
  });

  test("answering again replaces the answer in place", () => {
    const session = answering();
    session.apply({ type: "finished", message: message("a", "assistant", { text: "one" }), summary: SUMMARY });
    session.acceptRegenerate("a", { summary: SUMMARY, user: null, assistant: message("b", "assistant", { status: "streaming", version: 1, versions: ["a", "b"] }) });
    expect(session.messages.map((it) => it.id)).toEqual(["u", "b"]);
  });
});

describe("chat", () => {
  function setup(conversation?: Conversation) {
    const platform = new FakePlatform({ answer: () => "x", ...(conversation ? { conversations: [conversation] } : {}) });
    const notices = new Notices();
    return { platform, notices, chat: new Chat(platform, new Conversations(platform, notices), notices) };
  }

  test("an answer that began before this window is read again until it ends", async () => {
    vi.useFakeTimers();
    const stored = { summary: SUMMARY, messages: [message("u", "user"), message("a", "assistant", { status: "streaming", text: "begun" })] };
    const { chat } = setup(stored);
    await chat.open("c");
    expect(chat.current.orphan).toBe(true);
    Object.assign(stored.messages[1]!, { status: "complete", text: "begun and ended" });
    await vi.advanceTimersByTimeAsync(1000);
    expect(chat.current.messages.at(-1)?.text).toBe("begun and ended");
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
  });

  test("a notice about a message that was not sent goes when it is", async () => {
    const { chat, platform, notices } = setup();
    platform.failNext.set("chatSend", { code: "disk_full", details: {} });
    await chat.send("x");
    expect(notices.list.map((it) => it.error.code)).toEqual(["disk_full"]);
    await chat.send("x");
    expect(notices.list).toEqual([]);
  });

  test("nothing is sent twice while one is on its way", async () => {
    const { chat, platform } = setup();
    const chatSend = vi.spyOn(platform, "chatSend");
    await Promise.all([chat.send("x"), chat.send("x")]);
    expect(chatSend).toHaveBeenCalledOnce();
  });
});

test("the same notice is shown once, and only the newest three", () => {
  const notices = new Notices();
  for (const code of ["disk_full", "disk_full", "busy", "internal", "not_found"] as const) notices.show({ code, details: {} });
  expect(notices.list.map((it) => it.error.code)).toEqual(["busy", "internal", "not_found"]);
});
