import { clearMocks, mockIPC } from "@tauri-apps/api/mocks";
import { afterEach, expect, test } from "vitest";
import type { ChatEvent } from "../ipc/types";
import { createPlatform } from "./tauri";

afterEach(() => clearMocks());

function record(reply: (command: string) => unknown = () => null) {
  const calls: [string, unknown][] = [];
  mockIPC((command, args) => {
    calls.push([command, args]);
    return reply(command);
  });
  return calls;
}

test("every command has the name and the arguments that Rust declares", async () => {
  const calls = record();
  const platform = createPlatform();
  const settings = { language: "hi", theme: "dark" };
  await platform.appStatus();
  await platform.settingsGet();
  await platform.settingsSet(settings);
  await platform.conversationsList();
  await platform.conversationOpen("1");
  await platform.conversationRename("1", "t");
  await platform.conversationDelete("1");
  await platform.chatStop("1");
  await platform.messageVersion("2");
  await platform.linkOpen("https://a.example/");
  expect(calls).toEqual([
    ["app_status", {}],
    ["settings_get", {}],
    ["settings_set", { settings }],
    ["conversations_list", {}],
    ["conversation_open", { id: "1" }],
    ["conversation_rename", { id: "1", title: "t" }],
    ["conversation_delete", { id: "1" }],
    ["chat_stop", { conversationId: "1" }],
    ["message_version", { messageId: "2" }],
    ["link_open", { url: "https://a.example/" }],
  ]);
});

test("a send carries its request and a channel that delivers events in order", async () => {
  const calls = record();
  const got: ChatEvent[] = [];
  const request = { conversation_id: "1", message_id: "2", text: "x" };
  await createPlatform().chatSend(request, (event) => got.push(event));
  const args = calls[0]![1] as { request: unknown; events: { onmessage: (event: ChatEvent) => void } };
  expect(args.request).toEqual(request);
  args.events.onmessage({ type: "delta", text: "a" });
  args.events.onmessage({ type: "delta", text: "b" });
  expect(got).toEqual([{ type: "delta", text: "a" }, { type: "delta", text: "b" }]);
});

test("a rejection arrives as an error with its code", async () => {
  record(() => {
    throw { code: "history_locked", details: { path: "/x" } };
  });
  await expect(createPlatform().conversationsList()).rejects.toEqual({ code: "history_locked", details: { path: "/x" } });
});
