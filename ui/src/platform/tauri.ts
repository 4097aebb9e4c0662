import { Channel, invoke } from "@tauri-apps/api/core";
import { toWireError } from "../ipc/errors";
import type { ChatEvent } from "../ipc/types";
import type { OnChatEvent, Platform } from "./platform";

/** Tauri rejects with the serialised error, or with a plain string when the command itself is refused. */
async function call<T>(command: string, args: Record<string, unknown> = {}): Promise<T> {
  try {
    return await invoke<T>(command, args);
  } catch (thrown) {
    throw toWireError(thrown);
  }
}

function channel(onEvent: OnChatEvent): Channel<ChatEvent> {
  const events = new Channel<ChatEvent>();
  events.onmessage = onEvent;
  return events;
}

export function createPlatform(): Platform {
  return {
    appStatus: () => call("app_status"),
    settingsGet: () => call("settings_get"),
    settingsSet: (settings) => call("settings_set", { settings }),
    conversationsList: () => call("conversations_list"),
    conversationOpen: (id) => call("conversation_open", { id }),
    conversationRename: (id, title) => call("conversation_rename", { id, title }),
    conversationDelete: (id) => call("conversation_delete", { id }),
    chatSend: (request, onEvent) => call("chat_send", { request, events: channel(onEvent) }),
    chatRegenerate: (request, onEvent) => call("chat_regenerate", { request, events: channel(onEvent) }),
    chatStop: (conversationId) => call("chat_stop", { conversationId }),
    messageVersion: (messageId) => call("message_version", { messageId }),
    linkOpen: (url) => call("link_open", { url }),
  };
}
