import type {
  AppStatus,
  ChatEvent,
  Conversation,
  ConversationSummary,
  RegenerateRequest,
  SendAccepted,
  SendRequest,
  Settings,
} from "../ipc/types";

export type OnChatEvent = (event: ChatEvent) => void;

/**
 * Everything the window asks of the world outside it. Every call that fails rejects with a `WireError`.
 * The Tauri platform forwards to Rust; the fake one keeps it all in memory.
 */
export interface Platform {
  appStatus(): Promise<AppStatus>;
  settingsGet(): Promise<Settings>;
  settingsSet(settings: Settings): Promise<Settings>;
  conversationsList(): Promise<ConversationSummary[]>;
  conversationOpen(id: string): Promise<Conversation>;
  conversationRename(id: string, title: string): Promise<ConversationSummary>;
  conversationDelete(id: string): Promise<void>;
  /** Resolves once the message is on disk; events may arrive before that. */
  chatSend(request: SendRequest, onEvent: OnChatEvent): Promise<SendAccepted>;
  chatRegenerate(request: RegenerateRequest, onEvent: OnChatEvent): Promise<SendAccepted>;
  chatStop(conversationId: string): Promise<void>;
  messageVersion(messageId: string): Promise<Conversation>;
  linkOpen(url: string): Promise<void>;
}
