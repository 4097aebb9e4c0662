import { render, waitFor } from "@testing-library/svelte";
import { describe, expect, test } from "vitest";
import Markdown from "./Markdown.svelte";
import { MarkdownStream, parseMarkdown } from "./parse";

const DOCUMENTS: Record<string, string> = {
  paragraphs: "One **two\nthree** four.\n\nFive `six` _seven_.\n\nEight.",
  hindi: "**इन्द्रधनुष** प्रकाश है।\n\n1. क्षेत्र\n2. ज्ञान\n\n> श्री और द्वन्द्व\n\nअंत।",
  nested: "- one\n  - two\n    1. three\n- four\n\n  loose now\n\nafter",
  table: "before\n\n| a | b |\n|:--|--:|\n| 1 | **2** |\n| 3 | 4 |\n\nafter",
  code: "x\n\n```python\nprint('hi')\n\n# not a heading\n```\n\ny",
  setext: "Title\n=====\n\nSub\n---\n\ntext",
  references: "See [this][r] and [that][s].\n\nMore [this][r].\n\n[r]: https://a.example\n[s]: https://b.example\n",
  html: "<div>\n\n*x*\n\n</div>\n\n<b>y</b> <br> z",
  unfinished: "A **bold that never ends and `code\n\n```js\nlet x = 1",
};

// The scope hash of compiled styles and the streaming mark are not the content.
const content = (root: Element): string => root.querySelector(".markdown")!.innerHTML.replace(/<!--.*?-->/g, "");

function* prefixes(text: string, step: number): Generator<string> {
  for (let end = step; end < text.length; end += step) yield text.slice(0, end);
  yield text;
}

describe.each(Object.entries(DOCUMENTS))("%s", (_, text) => {
  test.each([1, 3, 7])("streamed by %i gives the tree of the whole at every step", (step) => {
    const stream = new MarkdownStream();
    for (const prefix of prefixes(text, step)) {
      expect(stream.update(prefix).flatMap((piece) => piece.blocks)).toEqual(parseMarkdown(prefix));
    }
  });

  test("streamed into a component gives the same document as rendered at once", async () => {
    const streamed = render(Markdown, { text: "" });
    for (const prefix of prefixes(text, 2)) await streamed.rerender({ text: prefix });
    const whole = render(Markdown, { text });
    // Code is coloured once its grammar has loaded, in either order: the two must come to agree.
    await waitFor(() => expect(content(streamed.container)).toBe(content(whole.container)));
  });
});

test("pieces that did not change are the same objects", () => {
  const stream = new MarkdownStream();
  const before = stream.update("first\n\nsecond\n\nthi");
  const after = stream.update("first\n\nsecond\n\nthird");
  expect(after[0]).toBe(before[0]);
  expect(after[1]).toBe(before[1]);
  expect(after[2]).not.toBe(before[2]);
});

test("a link definition that arrives late reaches back", () => {
  const stream = new MarkdownStream();
  expect(JSON.stringify(stream.update("see [x]\n\nmore"))).not.toContain('"link"');
  expect(JSON.stringify(stream.update("see [x]\n\nmore\n\n[x]: https://a.example"))).toContain('"link"');
});

test("only the last block's elements change while text streams", async () => {
  const view = render(Markdown, { text: "first\n\n- a\n- b\n\nlast wo" });
  const touched: Node[] = [];
  const observer = new MutationObserver((records) => touched.push(...records.map((record) => record.target)));
  observer.observe(view.container, { subtree: true, childList: true, characterData: true, attributes: true });
  await view.rerender({ text: "first\n\n- a\n- b\n\nlast word and more" });
  touched.push(...observer.takeRecords().map((record) => record.target));
  const last = view.container.querySelector(".markdown > p:last-of-type")!;
  expect(touched.length).toBeGreaterThan(0);
  expect(touched.every((node) => last.contains(node))).toBe(true);
});
