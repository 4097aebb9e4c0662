import { cleanup, configure } from "@testing-library/svelte";
import { afterEach } from "vitest";
import { i18n } from "./i18n/i18n.svelte";

// What jsdom lacks of a browser. Nothing here decides a test: layout is judged in a real window.
class NoResize implements ResizeObserver {
  observe(): void {}
  unobserve(): void {}
  disconnect(): void {}
}
globalThis.ResizeObserver ??= NoResize;

window.matchMedia ??= (media: string): MediaQueryList =>
  Object.assign(new EventTarget(), { media, matches: false, onchange: null, addListener() {}, removeListener() {} }) as MediaQueryList;

HTMLDialogElement.prototype.showModal ??= function showModal(this: HTMLDialogElement): void {
  this.open = true;
  this.querySelector<HTMLElement>("[autofocus], button, input")?.focus();
};
HTMLDialogElement.prototype.close ??= function close(this: HTMLDialogElement): void {
  this.open = false;
};

configure({ asyncUtilTimeout: 20_000 });

afterEach(() => {
  cleanup();
  i18n.language = "en";
});
