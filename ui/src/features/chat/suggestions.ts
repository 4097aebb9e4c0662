import type { Language } from "../../i18n/plural";

/** First questions in the three ways people write here; they are messages, so they do not follow the interface language. */
export const SUGGESTIONS: readonly { text: string; lang: Language }[] = [
  { text: "नमस्ते, तुम कौन हो?", lang: "hi" },
  { text: "What is a rainbow?", lang: "en" },
  { text: "बारिश क्यों होती है? आसान शब्दों में बताइए।", lang: "hi" },
  { text: "Mujhe achhi chai banane ka tareeka batao", lang: "en" },
];
