import { toWireError } from "../../ipc/errors";
import type { ChatEvent } from "../../ipc/types";
import { uuidV7 } from "../../ipc/uuid";
import type { Platform } from "../../platform/platform";
import type { Conversations } from "../conversations/conversations.svelte";
import type { Notices } from "../notices/notices.svelte";
import { Session } from "./session.svelte";
import { Turn } from "./turn";

const ORPHAN_POLL_MS = 1000;

/** The open conversations and what a person does in them. */
export class Chat {
  current: Session = $state.raw(new Session());
  readonly #sessions = new Map<string, Session>();
  /** Why the last message was not sent; it goes when one is. */
  #refusal: number | null = null;

  constructor(
    private readonly platform: Platform,
    private readonly conversations: Conversations,
    private readonly notices: Notices,
  ) {}

  /** A fresh chat; one that is still unused is kept, with what was typed in it. */
  newChat(): void {
    if (this.current.empty && this.current.summary === null) return;
    this.current = new Session();
  }

  async open(id: string): Promise<void> {
    const session = this.#session(id);
    session.summary ??= this.conversations.list.find((item) => item.id === id) ?? null;
    this.current = session;
    if (session.loaded) return;
    await this.#load(session);
  }

  async send(text: string): Promise<void> {
    const session = this.current;
    if (session.busy || text.trim() === "") return;
    const request = { conversation_id: session.id, message_id: uuidV7(), text };
    const turn = this.#turn(session);
    session.beginSend(request.message_id, text);
    try {
      session.accept(await this.platform.chatSend(request, turn.onEvent));
    } catch (thrown) {
      session.refuse();
      session.restoreDraft(text);
      this.#refusal = this.notices.show(toWireError(thrown));
      return;
    }
    if (this.#refusal !== null) this.notices.dismiss(this.#refusal);
    this.#acknowledge(session, turn);
  }

  async regenerate(messageId: string): Promise<void> {
    const session = this.current;
    if (session.busy) return;
    const turn = this.#turn(session);
    session.waiting = true;
    try {
      const request = { conversation_id: session.id, message_id: messageId };
      session.acceptRegenerate(messageId, await this.platform.chatRegenerate(request, turn.onEvent));
    } catch (thrown) {
      session.refuse();
      this.notices.show(toWireError(thrown));
      return;
    }
    this.#acknowledge(session, turn);
  }

  async stop(): Promise<void> {
    const session = this.current;
    if (session.live) session.live.stopping = true;
    await this.notices.guard(() => this.platform.chatStop(session.id));
  }

  async showVersion(messageId: string): Promise<void> {
    const session = this.current;
    if (session.busy) return;
    const conversation = await this.notices.guard(() => this.platform.messageVersion(messageId));
    if (conversation) session.show(conversation);
  }

  /** Deletes; an answer in progress is stopped first, and its late events find no session. */
  async delete(id: string): Promise<void> {
    const session = this.#sessions.get(id);
    if (session?.busy) await this.notices.guard(() => this.platform.chatStop(id));
    if (!(await this.conversations.delete(id))) return;
    this.#sessions.delete(id);
    if (this.current.id === id) this.current = new Session();
  }

  async rename(id: string, title: string): Promise<void> {
    const summary = await this.conversations.rename(id, title);
    const session = this.#sessions.get(id);
    if (summary && session) session.summary = summary;
  }

  #session(id: string): Session {
    const known = this.#sessions.get(id) ?? new Session(id);
    this.#sessions.set(id, known);
    return known;
  }

  #turn(session: Session): Turn {
    return new Turn((event) => this.#apply(session, event));
  }

  #acknowledge(session: Session, turn: Turn): void {
    this.#sessions.set(session.id, session);
    session.loaded = true;
    if (session.summary) this.conversations.put(session.summary);
    turn.acknowledged();
  }

  #apply(session: Session, event: ChatEvent): void {
    if (this.#sessions.get(session.id) !== session) return;
    session.apply(event);
    if (event.type === "finished") this.conversations.put(event.summary);
  }

  async #load(session: Session): Promise<void> {
    try {
      session.show(await this.platform.conversationOpen(session.id));
      if (session.orphan) setTimeout(() => void this.#follow(session), ORPHAN_POLL_MS);
    } catch (thrown) {
      this.#sessions.delete(session.id);
      if (this.current === session) this.current = new Session();
      this.notices.show(toWireError(thrown));
    }
  }

  /** An answer that this window did not start has no channel here: its stored text is read again until it ends. */
  async #follow(session: Session): Promise<void> {
    if (this.current !== session) session.loaded = false;
    else if (session.orphan) await this.#load(session);
  }
}
