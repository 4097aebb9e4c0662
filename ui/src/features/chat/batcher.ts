/** About 12 Hz: fast enough to read along, slow enough that parsing and layout stay a small part of a core. */
export const BATCH_MS = 80;

/** Collects pieces of text and hands them on together: the first at once, then at most one batch per interval. */
export class Batcher {
  #pending = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly deliver: (text: string) => void,
    private readonly intervalMs: number = BATCH_MS,
  ) {}

  push(text: string): void {
    this.#pending += text;
    if (this.#timer !== undefined) return;
    this.#deliverPending();
    this.#timer = setTimeout(() => this.#tick(), this.intervalMs);
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#deliverPending();
  }

  #tick(): void {
    this.#timer = undefined;
    if (this.#pending === "") return;
    this.#deliverPending();
    this.#timer = setTimeout(() => this.#tick(), this.intervalMs);
  }

  #deliverPending(): void {
    if (this.#pending === "") return;
    const text = this.#pending;
    this.#pending = "";
    this.deliver(text);
  }
}
