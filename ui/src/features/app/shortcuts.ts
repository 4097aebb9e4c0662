export type Action = "new" | "sidebar" | "escape";

type Keys = Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "shiftKey" | "altKey" | "isComposing">;

/** What a key means in the window; a key that an input method is using means nothing. */
export function shortcut(event: Keys): Action | null {
  if (event.isComposing || event.altKey || event.shiftKey) return null;
  if (event.key === "Escape") return "escape";
  if (!event.ctrlKey && !event.metaKey) return null;
  const key = event.key.toLowerCase();
  return key === "n" ? "new" : key === "b" ? "sidebar" : null;
}
