const MAX_CHARS = 1600;
const MAX_LINES = 24;

/** The beginning of a text that is too long to show whole, or null when it is not. Never cuts inside a character. */
export function preview(text: string): string | null {
  const lines = text.split("\n", MAX_LINES + 1);
  if (text.length <= MAX_CHARS * 1.25 && lines.length <= MAX_LINES) return null;
  const cut = lines.slice(0, MAX_LINES).join("\n").slice(0, MAX_CHARS);
  const boundary = [...new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(cut)].at(-1);
  return boundary && boundary.index > 0 ? cut.slice(0, boundary.index) : cut;
}
