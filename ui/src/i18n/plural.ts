export type Language = "en" | "hi";

/** Hindi and English both know two forms; Hindi uses the first for zero too, which Intl knows. */
export function plural(language: Language, value: number, forms: { one: string; other: string }): string {
  return new Intl.PluralRules(language).select(value) === "one" ? forms.one : forms.other;
}
