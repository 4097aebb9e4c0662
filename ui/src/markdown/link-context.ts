import { getContext, setContext } from "svelte";

const KEY = Symbol("link opener");

export type LinkOpener = (url: string) => void;

export function provideLinkOpener(open: LinkOpener): void {
  setContext(KEY, open);
}

/** Without a provider a link does nothing. */
export function useLinkOpener(): LinkOpener {
  return getContext<LinkOpener | undefined>(KEY) ?? (() => {});
}
