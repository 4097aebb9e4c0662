/** Nearer to the end than this counts as being at the end. */
const NEAR_END_PX = 32;

/** A scroll this soon after a wheel, key, touch or drag is the reader's. */
const READER_MS = 400;

const UPWARD_KEYS = new Set(["ArrowUp", "PageUp", "Home"]);

/**
 * Keeps the end of a growing text in view until the reader scrolls up, and again once they are back at the end.
 * WebKit has no `overflow-anchor`, so both directions are done here. A position alone does not say who moved it:
 * when content shrinks and grows within one frame the view ends up higher without any reader. So a small move up
 * counts only with an input before it, a move by more than the visible height always.
 */
export class Follow {
  following: boolean = $state(true);
  #box: HTMLElement | null = null;
  #lastTop = 0;
  #readerUntil = 0;
  #dragging = false;

  constructor(private readonly now: () => number = () => performance.now()) {}

  attach(box: HTMLElement, content: HTMLElement): () => void {
    this.#box = box;
    const stop = new AbortController();
    const passive = { passive: true, signal: stop.signal };
    box.addEventListener("scroll", () => this.#scrolled(), passive);
    box.addEventListener("wheel", (event) => this.#wheel(event), passive);
    box.addEventListener("touchmove", () => this.#reader(), passive);
    box.addEventListener("keydown", (event) => UPWARD_KEYS.has(event.key) && this.#reader(), passive);
    box.addEventListener("pointerdown", () => (this.#dragging = true), passive);
    window.addEventListener("pointerup", () => (this.#dragging = false), passive);
    const resized = new ResizeObserver(() => this.#grown());
    resized.observe(content);
    resized.observe(box);
    this.toEnd();
    return () => {
      stop.abort();
      resized.disconnect();
      this.#box = null;
    };
  }

  toEnd(): void {
    this.following = true;
    this.#pin();
  }

  /** Runs a change that adds content above and keeps what is being read where it is. */
  async keepPlace(change: () => Promise<void>): Promise<void> {
    const fromEnd = this.#box ? this.#box.scrollHeight - this.#box.scrollTop : 0;
    await change();
    if (this.#box) this.#box.scrollTop = this.#box.scrollHeight - fromEnd;
  }

  #reader(): void {
    this.#readerUntil = this.now() + READER_MS;
  }

  /** Turning the wheel up lets go at once, before the next piece of text can pull the view back. */
  #wheel(event: WheelEvent): void {
    this.#reader();
    if (event.deltaY < 0 && this.#box && this.#box.scrollTop > 0) this.following = false;
  }

  #pin(): void {
    if (!this.#box) return;
    this.#box.scrollTop = this.#box.scrollHeight;
    this.#lastTop = this.#box.scrollTop;
  }

  #grown(): void {
    if (this.following) this.#pin();
  }

  #scrolled(): void {
    const box = this.#box;
    if (!box) return;
    const movedUp = box.scrollTop < this.#lastTop - 1;
    const rest = box.scrollHeight - box.clientHeight - box.scrollTop;
    const reader = this.#dragging || this.now() < this.#readerUntil;
    this.#lastTop = box.scrollTop;
    if (movedUp) this.following &&= !(rest > 1 && (reader || rest > box.clientHeight));
    else if (rest <= NEAR_END_PX) this.following = true;
  }
}
