import { uuidV7 } from "../../ipc/uuid";
import type { ChatEvent, Conversation, ConversationSummary, Message, SendAccepted, WireError } from "../../ipc/types";
import { Batcher } from "./batcher";

/** The answer that is being written right now. */
export class Live {
  text: string = $state("");
  thinking: string = $state("");
  /** How much of the prompt has been read, 0 to 1; null before the first report. */
  read: number | null = $state(null);
  stopping: boolean = $state(false);

  readonly #text = new Batcher((more) => (this.text += more));
  readonly #thinking = new Batcher((more) => (this.thinking += more));

  constructor(readonly messageId: string) {}

  delta(text: string): void {
    this.#text.push(text);
  }

  thought(text: string): void {
    this.#thinking.push(text);
  }

  flush(): void {
    this.#text.flush();
    this.#thinking.flush();
  }
}

/** One conversation as the window holds it: what is stored, what is being sent, what is being written. */
export class Session {
  summary: ConversationSummary | null = $state.raw(null);
  messages: readonly Message[] = $state.raw([]);
  /** The text that was sent and is not yet known to be on disk. */
  sending: Message | null = $state.raw(null);
  /** A request is on its way whose answer has not begun. */
  waiting: boolean = $state(false);
  live: Live | null = $state.raw(null);
  draft: string = $state("");
  loaded: boolean = $state(false);
  /** How many messages were there when it was opened: the view begins with the last of these. */
  storedCount: number = $state(0);
  droppedTurns: number = $state(0);
  /** Why an answer failed, by message. */
  failures: ReadonlyMap<string, WireError> = $state.raw(new Map());

  constructor(readonly id: string = uuidV7()) {}

  get busy(): boolean {
    return this.waiting || this.live !== null;
  }

  get empty(): boolean {
    return this.messages.length === 0 && this.sending === null;
  }

  /** Shown when the window has no channel for it: the answer began before this window (re)loaded. */
  get orphan(): boolean {
    return !this.busy && this.messages.at(-1)?.status === "streaming";
  }

  show(conversation: Conversation): void {
    this.summary = conversation.summary;
    this.messages = conversation.messages;
    if (!this.loaded) this.storedCount = conversation.messages.length;
    this.loaded = true;
  }

  beginSend(id: string, text: string): void {
    this.waiting = true;
    const facts = { thinking: "", status: "complete", created_at: Date.now(), stats: null, version: 0, versions: [id] } as const;
    this.sending = { id, role: "user", text, ...facts, versions: [id] };
  }

  accept(accepted: SendAccepted): void {
    this.summary = accepted.summary;
    const added = accepted.user ? [accepted.user, accepted.assistant] : [accepted.assistant];
    this.messages = [...this.messages, ...added];
    this.#beginAnswer(accepted.assistant);
  }

  acceptRegenerate(replaced: string, accepted: SendAccepted): void {
    this.summary = accepted.summary;
    const at = this.messages.findIndex((message) => message.id === replaced);
    const kept = at === -1 ? this.messages : this.messages.slice(0, at);
    this.messages = [...kept, accepted.assistant];
    this.#beginAnswer(accepted.assistant);
  }

  refuse(): void {
    this.sending = null;
    this.waiting = false;
  }

  /** A text that could not be sent goes back to the box, before what was typed since. */
  restoreDraft(text: string): void {
    this.draft = this.draft.trim() === "" ? text : `${text}\n${this.draft}`;
  }

  apply(event: ChatEvent): void {
    const live = this.live;
    if (live === null) return;
    if (event.type === "prefill") this.#prefill(live, event);
    else if (event.type === "thinking") live.thought(event.text);
    else if (event.type === "delta") live.delta(event.text);
    else if (event.type === "finished") this.#end(live, event.message, null);
    else this.#end(live, event.message ?? this.#failed(live), event.error);
    if (event.type === "finished") this.summary = event.summary;
  }

  #beginAnswer(assistant: Message): void {
    this.sending = null;
    this.waiting = false;
    this.droppedTurns = 0;
    this.live = new Live(assistant.id);
  }

  #prefill(live: Live, event: Extract<ChatEvent, { type: "prefill" }>): void {
    live.read = event.total > 0 ? event.done / event.total : 1;
    this.droppedTurns = event.dropped_turns;
  }

  #end(live: Live, message: Message, error: WireError | null): void {
    live.flush();
    this.messages = this.messages.map((old) => (old.id === live.messageId ? message : old));
    if (error) this.failures = new Map(this.failures).set(message.id, error);
    this.live = null;
  }

  #failed(live: Live): Message {
    live.flush();
    const shown = this.messages.find((message) => message.id === live.messageId)!;
    return { ...shown, text: live.text, thinking: live.thinking, status: "failed" };
  }
}
