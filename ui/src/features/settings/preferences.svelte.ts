import { i18n, languageFor } from "../../i18n/i18n.svelte";
import type { Settings } from "../../ipc/types";
import type { Platform } from "../../platform/platform";
import type { Notices } from "../notices/notices.svelte";

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const asTheme = (value: string): Theme => THEMES.find((theme) => theme === value) ?? "system";

/** Language and appearance: kept by Rust, applied to the document here. */
export class Preferences {
  settings: Settings = $state.raw({ language: "system", theme: "system" });
  theme: Theme = $derived(asTheme(this.settings.theme));
  readonly #dark = matchMedia("(prefers-color-scheme: dark)");

  constructor(
    private readonly platform: Platform,
    private readonly notices: Notices,
  ) {
    this.#dark.addEventListener("change", () => this.#apply());
    this.#apply();
  }

  async load(): Promise<void> {
    const settings = await this.notices.guard(() => this.platform.settingsGet());
    if (settings) this.settings = settings;
    this.#apply();
  }

  /** Takes effect at once; if it can't be kept, a notice says so. */
  async change(change: Partial<Settings>): Promise<void> {
    this.settings = { ...this.settings, ...change };
    this.#apply();
    await this.notices.guard(() => this.platform.settingsSet(this.settings));
  }

  toggleLanguage(): Promise<void> {
    return this.change({ language: i18n.language === "hi" ? "en" : "hi" });
  }

  nextTheme(): Promise<void> {
    return this.change({ theme: THEMES[(THEMES.indexOf(this.theme) + 1) % THEMES.length]! });
  }

  #apply(): void {
    const root = document.documentElement;
    i18n.language = languageFor(this.settings.language, navigator.languages);
    root.lang = i18n.language;
    const dark = this.theme === "dark" || (this.theme === "system" && this.#dark.matches);
    root.dataset["theme"] = dark ? "dark" : "light";
  }
}
