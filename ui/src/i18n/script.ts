import type { Language } from "./plural";

const DEVANAGARI = /\p{Script=Devanagari}/gu;
const LETTER = /\p{L}/gu;

// A whole 100,000-character message need not be read to see what script it is written in.
const SAMPLE = 2000;

/** The language of a text as far as shaping and line breaking care: its dominant script. */
export function languageOf(text: string): Language {
  const sample = text.slice(0, SAMPLE);
  const devanagari = sample.match(DEVANAGARI)?.length ?? 0;
  if (devanagari === 0) return "en";
  const letters = sample.match(LETTER)?.length ?? 0;
  return devanagari * 2 >= letters ? "hi" : "en";
}
