import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { groupByDay } from "../conversations/grouping";
import { shortcut } from "../app/shortcuts";
import { Batcher } from "./batcher";
import { Follow } from "./follow.svelte";
import { preview } from "./preview";
import { Turn } from "./turn";

describe("batcher", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test("hands on the first piece at once and the rest together", () => {
    const got: string[] = [];
    const batcher = new Batcher((text) => got.push(text), 80);
    for (const piece of ["a", "b", "c"]) batcher.push(piece);
    expect(got).toEqual(["a"]);
    vi.advanceTimersByTime(80);
    expect(got).toEqual(["a", "bc"]);
  });

  test("delivers at most 13 times a second however fast the pieces come", () => {
    let deliveries = 0;
    let text = "";
    const batcher = new Batcher((more) => {
      deliveries += 1;
      text += more;
    });
    for (let at = 0; at < 1000; at += 1) {
      batcher.push("x");
      vi.advanceTimersByTime(1);
    }
    batcher.flush();
    expect(text.length).toBe(1000);
    expect(deliveries).toBeLessThanOrEqual(14);
  });

  test("flush leaves nothing behind", () => {
    const got: string[] = [];
    const batcher = new Batcher((text) => got.push(text), 80);
    batcher.push("a");
    batcher.push("b");
    batcher.flush();
    vi.advanceTimersByTime(1000);
    expect(got).toEqual(["a", "b"]);
  });
});

test("a turn holds events until it is acknowledged, then passes them in order", () => {
  const got: string[] = [];
  const turn = new Turn((event) => got.push(event.type === "delta" ? event.text : event.type));
  turn.onEvent({ type: "delta", text: "1" });
  expect(got).toEqual([]);
  turn.acknowledged();
  turn.onEvent({ type: "delta", text: "2" });
  expect(got).toEqual(["1", "2"]);
});

describe("follow", () => {
  /** A box whose layout the test decides. */
  function setup() {
    const box = document.createElement("div");
    const layout = { scrollHeight: 1000, clientHeight: 400, scrollTop: 0 };
    for (const name of ["scrollHeight", "clientHeight"] as const) Object.defineProperty(box, name, { get: () => layout[name] });
    Object.defineProperty(box, "scrollTop", {
      get: () => layout.scrollTop,
      set: (top: number) => (layout.scrollTop = Math.max(0, Math.min(top, layout.scrollHeight - layout.clientHeight))),
    });
    let grown = (): void => {};
    vi.stubGlobal("ResizeObserver", class { constructor(callback: () => void) { grown = callback; } observe() {} disconnect() {} });
    const follow = new Follow();
    follow.attach(box, document.createElement("div"));
    vi.unstubAllGlobals();
    const scroll = (top: number): void => {
      box.scrollTop = top;
      box.dispatchEvent(new Event("scroll"));
    };
    const grow = (height: number): void => {
      layout.scrollHeight = height;
      box.scrollTop = layout.scrollTop;
      grown();
    };
    const wheel = (deltaY: number): void => void box.dispatchEvent(new WheelEvent("wheel", { deltaY }));
    const key = (name: string): void => void box.dispatchEvent(new KeyboardEvent("keydown", { key: name }));
    return { follow, layout, scroll, grow, wheel, key };
  }

  test("opens at the end and stays there while the text grows", () => {
    const { layout, grow } = setup();
    expect(layout.scrollTop).toBe(600);
    grow(1300);
    expect(layout.scrollTop).toBe(900);
  });
  test("lets go as soon as the wheel turns up, even a little", () => {
    const { follow, layout, scroll, grow, wheel } = setup();
    wheel(-4);
    expect(follow.following).toBe(false);
    scroll(590);
    grow(1300);
    expect(layout.scrollTop).toBe(590);
  });
  test("lets go when the reader moves up by key or by dragging the bar", () => {
    const byKey = setup();
    byKey.key("PageUp");
    byKey.scroll(500);
    expect(byKey.follow.following).toBe(false);
    const farAway = setup();
    farAway.scroll(100);
    expect(farAway.follow.following).toBe(false);
  });
  test("goes on when the reader comes back to the end", () => {
    const { follow, layout, scroll, grow, wheel } = setup();
    wheel(-100);
    scroll(100);
    wheel(100);
    scroll(595);
    expect(follow.following).toBe(true);
    grow(1300);
    expect(layout.scrollTop).toBe(900);
  });
  test("content that shrinks and grows within a frame is not a reader scrolling up", () => {
    const { follow, layout, grow, scroll } = setup();
    layout.scrollHeight = 960;
    scroll(560);
    layout.scrollHeight = 1200;
    scroll(560 - 2);
    expect(follow.following).toBe(true);
    grow(1300);
    expect(layout.scrollTop).toBe(900);
  });
  test("jump to latest goes to the end and follows again", () => {
    const { follow, layout, scroll } = setup();
    scroll(0);
    follow.toEnd();
    expect([follow.following, layout.scrollTop]).toEqual([true, 600]);
  });
  test("content added above leaves the reader where they were", async () => {
    const { follow, layout, scroll } = setup();
    scroll(50);
    await follow.keepPlace(async () => void (layout.scrollHeight = 1800));
    expect(layout.scrollTop).toBe(850);
  });
});

test("days are calendar days of the person's clock", () => {
  const at = (day: number, hour: number) => new Date(2026, 2, day, hour).getTime();
  const item = (id: string, updated_at: number) => ({ id, title: id, created_at: 0, updated_at });
  const list = [item("now", at(10, 9)), item("midnight", at(10, 0)), item("late", at(9, 23)), item("old", at(8, 23))];
  const groups = groupByDay(list, new Date(2026, 2, 10, 9, 30)).map((group) => [group.name, group.items.map((it) => it.id)]);
  expect(groups).toEqual([["today", ["now", "midnight"]], ["yesterday", ["late"]], ["earlier", ["old"]]]);
});

test.each([
  [{ key: "n", ctrlKey: true }, "new"],
  [{ key: "N", ctrlKey: true }, "new"],
  [{ key: "b", metaKey: true }, "sidebar"],
  [{ key: "Escape" }, "escape"],
  [{ key: "Escape", isComposing: true }, null],
  [{ key: "n" }, null],
  [{ key: "n", ctrlKey: true, altKey: true }, null],
])("shortcut %j is %s", (keys, action) => {
  expect(shortcut({ ctrlKey: false, metaKey: false, shiftKey: false, altKey: false, isComposing: false, ...keys })).toBe(action);
});

describe("preview of a long message", () => {
  test("a short one needs none", () => expect(preview("नमस्ते\n".repeat(10))).toBeNull());
  test("many lines are cut", () => expect(preview("x\n".repeat(100))?.split("\n").length).toBeLessThanOrEqual(24));
  test("never ends inside a character", () => {
    const cut = preview("क्षे".repeat(2000))!;
    expect(cut.length).toBeLessThanOrEqual(1600);
    expect("क्षे".repeat(2000).startsWith(cut)).toBe(true);
    expect(cut.endsWith("क्षे")).toBe(true);
  });
});
