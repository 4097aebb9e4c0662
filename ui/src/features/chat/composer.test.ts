import { fireEvent, render, screen } from "@testing-library/svelte";
import { flushSync, tick } from "svelte";
import { describe, expect, test, vi } from "vitest";
import Composer from "./Composer.svelte";
import { sends } from "./composer-keys";

const BASE = { key: "Enter", shiftKey: false, ctrlKey: false, altKey: false, metaKey: false, isComposing: false, keyCode: 13 };

test.each([
  ["Enter", {}, true],
  ["Ctrl+Enter", { ctrlKey: true }, true],
  ["Shift+Enter", { shiftKey: true }, false],
  ["Enter inside a composition", { isComposing: true, keyCode: 229 }, false],
  ["the Enter that ends a composition in WebKit", { isComposing: false, keyCode: 229 }, false],
  ["another key", { key: "a", keyCode: 65 }, false],
])("%s", (_, change, expected) => expect(sends({ ...BASE, ...change })).toBe(expected));

function setup(change: Partial<{ draft: string; answering: boolean; busy: boolean; stopping: boolean }> = {}) {
  const onsend = vi.fn();
  const onstop = vi.fn();
  render(Composer, { draft: "", answering: false, stopping: false, busy: false, ...change, onsend, onstop });
  return { onsend, onstop, field: screen.getByTestId<HTMLTextAreaElement>("composer") };
}

describe("composer", () => {
  test("has the focus when it appears", () => {
    const { field } = setup();
    flushSync();
    expect(document.activeElement).toBe(field);
  });

  test("Enter sends the text exactly as typed and empties the box", async () => {
    const { onsend, field } = setup();
    await fireEvent.input(field, { target: { value: "  नमस्ते\nदुनिया " } });
    await fireEvent.keyDown(field, BASE);
    expect(onsend).toHaveBeenCalledExactlyOnceWith("  नमस्ते\nदुनिया ");
    expect(field.value).toBe("");
  });

  test("Enter while an input method is composing sends nothing and is left to it", async () => {
    const { onsend, field } = setup({ draft: "नमस्ते" });
    const notPrevented = await fireEvent.keyDown(field, { ...BASE, isComposing: true, keyCode: 229 });
    expect(notPrevented).toBe(true);
    await fireEvent.keyDown(field, { ...BASE, keyCode: 229 });
    expect(onsend).not.toHaveBeenCalled();
  });

  test("Shift+Enter is left to the box", async () => {
    const { onsend, field } = setup({ draft: "a" });
    expect(await fireEvent.keyDown(field, { ...BASE, shiftKey: true })).toBe(true);
    expect(onsend).not.toHaveBeenCalled();
  });

  test.each(["", "   ", "\n\n"])("%j can't be sent", async (draft) => {
    const { onsend, field } = setup({ draft });
    expect(screen.getByTestId<HTMLButtonElement>("send").disabled).toBe(true);
    await fireEvent.keyDown(field, BASE);
    expect(onsend).not.toHaveBeenCalled();
  });

  test("while an answer is written there is stop instead of send, and typing goes on", async () => {
    const { onstop, onsend, field } = setup({ draft: "next", answering: true, busy: true });
    expect(screen.queryByTestId("send")).toBeNull();
    await fireEvent.keyDown(field, BASE);
    expect([onsend.mock.calls.length, field.value]).toEqual([0, "next"]);
    await fireEvent.click(screen.getByTestId("stop"));
    expect(onstop).toHaveBeenCalledOnce();
  });

  test("100,000 characters are taken, counted and sent whole", async () => {
    const { onsend, field } = setup();
    const text = "क्षेत्र है। ".repeat(10_000).slice(0, 100_000);
    await fireEvent.input(field, { target: { value: text } });
    await tick();
    expect(screen.getByText("1,00,000 characters")).toBeTruthy();
    await fireEvent.click(screen.getByTestId("send"));
    expect(onsend).toHaveBeenCalledExactlyOnceWith(text);
  });
});
