// Rust checks again and has the last word (`link_open`); this list only decides what looks like a link.
const SCHEMES = new Set(["http:", "https:", "mailto:"]);

// Bidi controls, zero-width and other invisible characters, and the tag block: they can make an address look like another.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;

/** The address in its canonical form, or null when it is not a web or mail address. */
export function safeUrl(href: string): string | null {
  let url: URL;
  try {
    url = new URL(href.trim());
  } catch {
    return null;
  }
  if (!SCHEMES.has(url.protocol)) return null;
  const empty = url.protocol === "mailto:" ? url.pathname === "" : url.hostname === "";
  return empty ? null : url.href;
}

/** Percent-escapes back to letters where that is lossless: Hindi addresses become readable. */
export function readableUrl(url: string): string {
  try {
    return decodeURI(url);
  } catch {
    return url;
  }
}

export function hasHidden(text: string): boolean {
  return text.search(HIDDEN) !== -1;
}

/** Every hidden character by its number, in brackets: `a[U+202E]b`. */
export function revealHidden(text: string): string {
  return text.replace(HIDDEN, (char) => `[U+${char.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}]`);
}
