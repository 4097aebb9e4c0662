import { getContext, setContext } from "svelte";
import type { Platform } from "../../platform/platform";
import { Chat } from "../chat/chat.svelte";
import { Conversations } from "../conversations/conversations.svelte";
import { Notices } from "../notices/notices.svelte";
import { Preferences } from "../settings/preferences.svelte";
import { Status } from "./status.svelte";

/** The window's parts, made once from the platform. */
export class App {
  readonly notices = new Notices();
  readonly preferences: Preferences;
  readonly status: Status;
  readonly conversations: Conversations;
  readonly chat: Chat;

  constructor(readonly platform: Platform) {
    this.preferences = new Preferences(platform, this.notices);
    this.status = new Status(platform, this.notices);
    this.conversations = new Conversations(platform, this.notices);
    this.chat = new Chat(platform, this.conversations, this.notices);
  }

  /** Resolves when the window can be drawn in the person's language; the rest arrives by itself. */
  async start(): Promise<void> {
    void this.status.watch();
    void this.conversations.load();
    await this.preferences.load();
  }
}

const KEY = Symbol("app");

export function provideApp(app: App): void {
  setContext(KEY, app);
}

export function useApp(): App {
  return getContext<App>(KEY);
}
