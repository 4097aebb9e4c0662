import type { ChatEvent } from "../../ipc/types";

/** Holds back the events of a turn until its request is acknowledged: a channel may be faster than the reply. */
export class Turn {
  #held: ChatEvent[] | null = [];

  constructor(private readonly apply: (event: ChatEvent) => void) {}

  readonly onEvent = (event: ChatEvent): void => {
    if (this.#held) this.#held.push(event);
    else this.apply(event);
  };

  acknowledged(): void {
    const held = this.#held ?? [];
    this.#held = null;
    held.forEach(this.apply);
  }
}
