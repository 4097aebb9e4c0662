import type { ModelStatus } from "../../ipc/types";
import type { Platform } from "../../platform/platform";
import type { Notices } from "../notices/notices.svelte";

const FIRST_WAIT_MS = 150;
const LONGEST_WAIT_MS = 1000;

/** The model's state and the application's own notice, asked for until the model is loaded or has failed. */
export class Status {
  model: ModelStatus = $state.raw({ state: "loading" });
  version: string = $state("");

  constructor(
    private readonly platform: Platform,
    private readonly notices: Notices,
  ) {}

  async watch(): Promise<void> {
    let wait = FIRST_WAIT_MS;
    let first = true;
    while (await this.#ask(first)) {
      await new Promise((done) => setTimeout(done, wait));
      wait = Math.min(wait * 1.5, LONGEST_WAIT_MS);
      first = false;
    }
  }

  /** True while there is something to wait for. */
  async #ask(first: boolean): Promise<boolean> {
    const status = await this.notices.guard(() => this.platform.appStatus());
    if (!status) return false;
    this.version = status.version;
    this.model = status.model;
    if (first && status.notice) this.notices.show(status.notice);
    if (status.model.state === "failed") this.notices.show(status.model.error);
    return status.model.state === "loading";
  }
}
