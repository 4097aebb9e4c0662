type Keys = Pick<KeyboardEvent, "key" | "shiftKey" | "ctrlKey" | "altKey" | "metaKey" | "isComposing" | "keyCode">;

/**
 * Enter sends, except while an input method is composing: then it picks a word. WebKit reports the Enter that ends
 * a composition with `isComposing` false, but still with key code 229.
 */
export function sends(event: Keys): boolean {
  if (event.key !== "Enter" || event.isComposing || event.keyCode === 229) return false;
  return !event.shiftKey && !event.altKey;
}
