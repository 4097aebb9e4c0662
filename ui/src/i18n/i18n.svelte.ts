import type { WireError } from "../ipc/types";
import type { Dictionary } from "./dictionary";
import { en } from "./en";
import { hi } from "./hi";
import type { Language } from "./plural";

export type { Dictionary } from "./dictionary";
export type { Language } from "./plural";

export const dictionaries: Record<Language, Dictionary> = { en, hi };

export const LOCALES: Record<Language, string> = { en: "en-IN", hi: "hi-IN" };

/** The first of the person's languages that we speak decides; without one, English. */
export function languageFor(setting: string, preferred: readonly string[]): Language {
  if (setting === "hi" || setting === "en") return setting;
  const spoken = preferred.map((tag) => tag.toLowerCase().split("-")[0]).find((tag) => tag === "hi" || tag === "en");
  return spoken === "hi" ? "hi" : "en";
}

/** The interface language, as one reactive object: reading `i18n.t` in a component makes it follow the switch. */
class I18n {
  language: Language = $state("en");
  t: Dictionary = $derived(dictionaries[this.language]);
  locale: string = $derived(LOCALES[this.language]);

  sentence(error: WireError): string {
    return this.t.errors[error.code](error.details);
  }
}

export const i18n = new I18n();
