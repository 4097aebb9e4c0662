/** Nearer to the end than this counts as being at the end. */
const NEAR_END_PX = 32;

/**
 * Keeps the end of a growing text in view until the reader scrolls up, and again once they are back at the end.
 * (WebKit has no `overflow-anchor`, so both directions are done here.)
 */
export class Follow {
  following: boolean = $state(true);
  #box: HTMLElement | null = null;
  #lastTop = 0;
  #lastHeight = 0;

  attach(box: HTMLElement, content: HTMLElement): () => void {
    this.#box = box;
    const onscroll = (): void => this.#scrolled();
    const resized = new ResizeObserver(() => this.#grown());
    box.addEventListener("scroll", onscroll, { passive: true });
    resized.observe(content);
    resized.observe(box);
    this.toEnd();
    return () => {
      box.removeEventListener("scroll", onscroll);
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

  #pin(): void {
    if (!this.#box) return;
    this.#box.scrollTop = this.#box.scrollHeight;
    this.#remember(this.#box);
  }

  #grown(): void {
    if (this.following) this.#pin();
  }

  #scrolled(): void {
    const box = this.#box;
    if (!box) return;
    const movedUp = box.scrollTop < this.#lastTop - 1;
    // A shorter content moves the view up too; only a reader does it at the same length.
    const sameLength = box.scrollHeight >= this.#lastHeight;
    const rest = box.scrollHeight - box.clientHeight - box.scrollTop;
    if (rest <= NEAR_END_PX && !movedUp) this.following = true;
    else if (movedUp && sameLength && rest > 1) this.following = false;
    this.#remember(box);
  }

  #remember(box: HTMLElement): void {
    this.#lastTop = box.scrollTop;
    this.#lastHeight = box.scrollHeight;
  }
}
