import { wireError } from "../../ipc/errors";
import type {
  AppStatus,
  ChatEvent,
  Conversation,
  ConversationSummary,
  ErrorCode,
  Message,
  MessageStatus,
  RegenerateRequest,
  SendAccepted,
  SendRequest,
  Settings,
} from "../../ipc/types";
import { uuidV7 } from "../../ipc/uuid";
import type { OnChatEvent, Platform } from "../platform";

export type FakeOptions = {
  /** The words of an answer to a text. */
  answer: (text: string, version: number) => string;
  thinking?: (text: string) => string;
  /** Between two pieces of an answer; 0 leaves the pace to `tick`. */
  pieceMs?: number;
  now?: () => number;
  status?: AppStatus;
  settings?: Settings;
  conversations?: Conversation[];
  characterLimit?: number;
};

type Running = { stop: () => void; stopped: boolean };

export const READY: AppStatus = {
  version: "0.1.0",
  notice: null,
  model: {
    state: "ready",
    name: "chimera-starter",
    parameters: 94_000_000,
    file_bytes: 61_400_000,
    quantization: "Q4_0",
    context_length: 4096,
    cpu_tier: "avx512-vnni",
    threads: 2,
  },
};

const titleOf = (text: string): string => Array.from(text.trim().split("\n")[0]!).slice(0, 60).join("");

/** The rules of the wire, in memory: what a test or a browser sees behaves like the real window, with made-up answers. */
export class FakePlatform implements Platform {
  status: AppStatus;
  settings: Settings;
  readonly opened: string[] = [];
  /** The next call of a name fails with this code. */
  readonly failNext = new Map<keyof Platform, { code: ErrorCode; details: Record<string, string> }>();

  readonly #conversations = new Map<string, Conversation>();
  /** Every version of an answer, under the id of each. */
  readonly #versions = new Map<string, Message[]>();
  readonly #running = new Map<string, Running>();
  readonly #now: () => number;

  constructor(private readonly options: FakeOptions) {
    this.status = options.status ?? READY;
    this.settings = options.settings ?? { language: "system", theme: "system" };
    this.#now = options.now ?? Date.now;
    for (const conversation of options.conversations ?? []) this.#add(conversation);
  }

  async appStatus(): Promise<AppStatus> {
    this.#meet("appStatus");
    return this.status;
  }

  async settingsGet(): Promise<Settings> {
    this.#meet("settingsGet");
    return this.settings;
  }

  async settingsSet(settings: Settings): Promise<Settings> {
    this.#meet("settingsSet");
    this.settings = settings;
    return settings;
  }

  async conversationsList(): Promise<ConversationSummary[]> {
    this.#meet("conversationsList");
    return [...this.#conversations.values()].map((it) => it.summary).sort((a, b) => b.updated_at - a.updated_at);
  }

  async conversationOpen(id: string): Promise<Conversation> {
    this.#meet("conversationOpen");
    return structuredClone(this.#find(id));
  }

  async conversationRename(id: string, title: string): Promise<ConversationSummary> {
    this.#meet("conversationRename");
    const conversation = this.#find(id);
    conversation.summary = { ...conversation.summary, title };
    return conversation.summary;
  }

  async conversationDelete(id: string): Promise<void> {
    this.#meet("conversationDelete");
    this.#find(id);
    this.#conversations.delete(id);
  }

  async chatSend(request: SendRequest, onEvent: OnChatEvent): Promise<SendAccepted> {
    this.#meet("chatSend");
    this.#check(request);
    const conversation = this.#conversations.get(request.conversation_id) ?? this.#create(request);
    const user = this.#message(request.message_id, "user", request.text, "complete");
    const assistant = this.#message(uuidV7(this.#now()), "assistant", "", "streaming");
    this.#versions.set(assistant.id, [assistant]);
    conversation.messages.push(user, assistant);
    this.#touch(conversation);
    void this.#write(conversation, assistant, this.options.answer(request.text, 0), onEvent);
    return structuredClone({ summary: conversation.summary, user, assistant });
  }

  async chatRegenerate(request: RegenerateRequest, onEvent: OnChatEvent): Promise<SendAccepted> {
    this.#meet("chatRegenerate");
    const conversation = this.#find(request.conversation_id);
    const at = conversation.messages.findIndex((message) => message.id === request.message_id);
    if (at < 1) throw wireError("not_found", { id: request.message_id });
    const versions = this.#versions.get(request.message_id) ?? [conversation.messages[at]!];
    const assistant = this.#message(uuidV7(this.#now()), "assistant", "", "streaming");
    versions.push(assistant);
    this.#link(versions);
    conversation.messages = [...conversation.messages.slice(0, at), assistant];
    this.#touch(conversation);
    const question = conversation.messages[at - 1]!.text;
    void this.#write(conversation, assistant, this.options.answer(question, versions.length - 1), onEvent);
    return structuredClone({ summary: conversation.summary, user: null, assistant });
  }

  async chatStop(conversationId: string): Promise<void> {
    this.#meet("chatStop");
    this.#running.get(conversationId)?.stop();
  }

  async messageVersion(messageId: string): Promise<Conversation> {
    this.#meet("messageVersion");
    const versions = this.#versions.get(messageId);
    const chosen = versions?.find((message) => message.id === messageId);
    const ids = new Set(versions?.map((message) => message.id));
    const conversation = [...this.#conversations.values()].find((it) => it.messages.some((message) => ids.has(message.id)));
    if (!chosen || !conversation) throw wireError("not_found", { id: messageId });
    conversation.messages = conversation.messages.map((message) => (ids.has(message.id) ? chosen : message));
    return structuredClone(conversation);
  }

  async linkOpen(url: string): Promise<void> {
    this.#meet("linkOpen");
    if (!/^(https?|mailto):/.test(url)) throw wireError("link_refused", { url });
    this.opened.push(url);
  }

  #meet(name: keyof Platform): void {
    const failure = this.failNext.get(name);
    if (!failure) return;
    this.failNext.delete(name);
    throw wireError(failure.code, failure.details);
  }

  #check(request: SendRequest): void {
    const characters = Array.from(request.text).length;
    const limit = this.options.characterLimit ?? 100_000;
    if (request.text.trim() === "") throw wireError("empty_message");
    if (characters > limit) {
      throw wireError("message_too_long", { characters: String(characters), character_limit: String(limit) });
    }
    if (this.#running.has(request.conversation_id)) throw wireError("busy", { conversation_id: request.conversation_id });
  }

  #add(conversation: Conversation): void {
    this.#conversations.set(conversation.summary.id, conversation);
    for (const message of conversation.messages) this.#versions.set(message.id, [message]);
  }

  #find(id: string): Conversation {
    const conversation = this.#conversations.get(id);
    if (!conversation) throw wireError("not_found", { id });
    return conversation;
  }

  #create(request: SendRequest): Conversation {
    const at = this.#now();
    const summary = { id: request.conversation_id, title: titleOf(request.text), created_at: at, updated_at: at };
    const conversation = { summary, messages: [] };
    this.#conversations.set(summary.id, conversation);
    return conversation;
  }

  #touch(conversation: Conversation): void {
    conversation.summary = { ...conversation.summary, updated_at: this.#now() };
  }

  #message(id: string, role: Message["role"], text: string, status: MessageStatus): Message {
    return { id, role, text, thinking: "", status, created_at: this.#now(), stats: null, version: 0, versions: [id] };
  }

  #link(versions: Message[]): void {
    const ids = versions.map((message) => message.id);
    versions.forEach((message, version) => {
      Object.assign(message, { version, versions: ids });
      this.#versions.set(message.id, versions);
    });
  }

  /** Writes an answer piece by piece, as the engine does: prompt, thinking, deltas, one last event. */
  async #write(conversation: Conversation, message: Message, answer: string, onEvent: OnChatEvent): Promise<void> {
    const id = conversation.summary.id;
    const running: Running = { stopped: false, stop: () => (running.stopped = true) };
    this.#running.set(id, running);
    const emit = (event: ChatEvent): void => onEvent(structuredClone(event));
    await this.#pause();
    emit({ type: "prefill", done: 64, total: 64, dropped_turns: 0 });
    const thinking = this.options.thinking?.(answer) ?? "";
    if (thinking) emit({ type: "thinking", text: thinking });
    message.thinking = thinking;
    for (const piece of answer.match(/\S*\s*/g) ?? []) {
      await this.#pause();
      if (running.stopped) break;
      message.text += piece;
      if (piece) emit({ type: "delta", text: piece });
    }
    this.#running.delete(id);
    message.status = running.stopped ? "stopped" : "complete";
    message.stats = stats(message.text);
    this.#touch(conversation);
    emit({ type: "finished", message, summary: conversation.summary });
  }

  #pause(): Promise<void> {
    return new Promise((done) => setTimeout(done, this.options.pieceMs ?? 0));
  }
}

function stats(text: string): Message["stats"] {
  const tokens = Math.ceil(text.length / 3.4);
  return {
    prompt_tokens: 64,
    reused_tokens: 0,
    completion_tokens: tokens,
    first_token_ms: 312,
    tokens_per_second: 87.4,
    model: "chimera-starter",
  };
}
