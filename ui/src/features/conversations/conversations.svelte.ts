import type { ConversationSummary } from "../../ipc/types";
import type { Platform } from "../../platform/platform";
import type { Notices } from "../notices/notices.svelte";

const newestFirst = (a: ConversationSummary, b: ConversationSummary): number => b.updated_at - a.updated_at;

/** The list in the sidebar, newest first. */
export class Conversations {
  list: readonly ConversationSummary[] = $state.raw([]);

  constructor(
    private readonly platform: Platform,
    private readonly notices: Notices,
  ) {}

  async load(): Promise<void> {
    const list = await this.notices.guard(() => this.platform.conversationsList());
    if (list) this.list = [...list].sort(newestFirst);
  }

  put(summary: ConversationSummary): void {
    this.list = [summary, ...this.list.filter((old) => old.id !== summary.id)].sort(newestFirst);
  }

  async rename(id: string, title: string): Promise<ConversationSummary | undefined> {
    const summary = await this.notices.guard(() => this.platform.conversationRename(id, title));
    if (summary) this.put(summary);
    return summary;
  }

  async delete(id: string): Promise<boolean> {
    const done = await this.notices.guard(async () => {
      await this.platform.conversationDelete(id);
      return true;
    });
    if (done) this.list = this.list.filter((old) => old.id !== id);
    return done === true;
  }
}
