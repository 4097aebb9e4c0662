import { toWireError } from "../../ipc/errors";
import type { WireError } from "../../ipc/types";

export type Notice = { readonly id: number; readonly error: WireError };

const MOST = 3;

const sameError = (a: WireError, b: WireError): boolean => JSON.stringify(a) === JSON.stringify(b);

/** What went wrong and has not been dismissed, newest last. They are kept as codes: a language switch rewrites them. */
export class Notices {
  list: readonly Notice[] = $state.raw([]);
  #next = 1;

  /** The newest few are shown; the same one is not shown twice. */
  show(error: WireError): number {
    const id = this.#next++;
    const others = this.list.filter((notice) => !sameError(notice.error, error));
    this.list = [...others, { id, error }].slice(-MOST);
    return id;
  }

  dismiss(id: number): void {
    this.list = this.list.filter((notice) => notice.id !== id);
  }

  /** The result of `work`, or undefined after showing why there is none. */
  async guard<T>(work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (thrown) {
      this.show(toWireError(thrown));
      return undefined;
    }
  }
}
