import type { ModelStatus, WireError } from "../../ipc/types";
import type { Platform } from "../../platform/platform";
import type { Notices } from "../notices/notices.svelte";

const FIRST_WAIT_MS = 150;
const LONGEST_WAIT_MS = 1000;

/** The model's state and the application's own notice, asked for until the model is loaded or has failed. */
export class Status {
  model: ModelStatus = $state.raw({ state: "loading" });
  version: string = $state("");
  #told = false;

  constructor(
    private readonly platform: Platform,
    private readonly notices: Notices,
  ) {}

  async watch(): Promise<void> {
    let wait = FIRST_WAIT_MS;
    while (await this.#ask()) {
      await new Promise((done) => setTimeout(done, wait));
      wait = Math.min(wait * 1.5, LONGEST_WAIT_MS);
    }
  }

  /** True while there is something to wait for. */
  async #ask(): Promise<boolean> {
    const status = await this.notices.guard(() => this.platform.appStatus());
    if (!status) return false;
    this.version = status.version;
    this.model = status.model;
    this.#tell(status.notice);
    if (status.model.state === "failed") this.notices.show(status.model.error);
    return status.model.state === "loading";
  }

  /** Once: the history opens behind the window, so its notice may come with any answer. */
  #tell(notice: WireError | null): void {
    if (!notice || this.#told) return;
    this.#told = true;
    this.notices.show(notice);
  }
}
