import { describe, expect, test } from "vitest";
import { decodeReferences } from "./entities";
import { highlight } from "./highlight";
import { hasHidden, readableUrl, revealHidden, safeUrl } from "./links";
import { parseMarkdown } from "./parse";

const text = (value: string) => ({ kind: "text", text: value });

describe("parse", () => {
  test("character references become characters, except in code", () => {
    expect(parseMarkdown("a &amp; b &#2309; &lt;x&gt; `&amp;`")).toEqual([
      { kind: "paragraph", children: [text("a & b अ <x> "), { kind: "code", text: "&amp;" }] },
    ]);
  });
  test("a br tag is a line break and other tags are text", () => {
    expect(parseMarkdown("a<br>b <i>c</i>")).toEqual([
      { kind: "paragraph", children: [text("a"), { kind: "break" }, text("b <i>c</i>")] },
    ]);
  });
  test("single line ends break lines, as people write poems", () => {
    expect(parseMarkdown("दोहा एक\nदोहा दो")).toEqual([{ kind: "paragraph", children: [text("दोहा एक"), { kind: "break" }, text("दोहा दो")] }]);
  });
  test("a task list keeps its boxes", () => {
    expect(parseMarkdown("- [x] done\n- [ ] open")).toMatchObject([{ kind: "list", items: [{ checked: true }, { checked: false }] }]);
  });
  test("an ordered list keeps its start", () => {
    expect(parseMarkdown("7. seven\n8. eight")).toMatchObject([{ kind: "list", start: 7, tight: true }]);
  });
  test("an autolink becomes a link to the same address", () => {
    expect(parseMarkdown("https://a.example/x?y=1&amp=2")).toMatchObject([{ children: [{ kind: "link", url: "https://a.example/x?y=1&amp=2" }] }]);
  });
  test("an enormous text is shown plain and whole", () => {
    const huge = "**x** ".repeat(50_000);
    expect(parseMarkdown(huge)).toEqual([{ kind: "paragraph", children: [text(huge)] }]);
  });
  test.each([
    ["quotes", `${"> ".repeat(60)}end`],
    ["lists", `${"- ".repeat(60)}end`],
    ["emphasis", `${"*".repeat(61)}end${"*".repeat(61)}`],
  ])("deep %s keep their words and a shallow tree", (_, source) => {
    const json = JSON.stringify(parseMarkdown(source));
    const depth = Math.max(...[...json].reduce<number[]>((all, char) => [...all, (all.at(-1) ?? 0) + (char === "{" ? 1 : char === "}" ? -1 : 0)], []));
    expect(json).toContain("end");
    expect(depth).toBeLessThan(30);
  });
  test("an empty text has no blocks", () => {
    expect(parseMarkdown("")).toEqual([]);
    expect(parseMarkdown("\n \n")).toEqual([]);
  });
});

test.each([
  ["https://a.example", "https://a.example/"],
  ["mailto:x@a.example", "mailto:x@a.example"],
  ["http://हिन्दी.example/क", "http://xn--j2bd4cyah0f.example/%E0%A4%95"],
  ["javascript:alert(1)", null],
  ["java\nscript:alert(1)", null],
  [" data:text/html,x", null],
  ["file:///etc/passwd", null],
  ["https:", null],
  ["mailto:", null],
  ["relative/path", null],
  ["//host/path", null],
])("safeUrl(%j) is %j", (href, url) => expect(safeUrl(href)).toBe(url));

test("hidden characters in an address are made visible", () => {
  expect(hasHidden("https://a.example/x")).toBe(false);
  expect(hasHidden("a\u202eb")).toBe(true);
  expect(revealHidden("a\u202eb\u200bc\u{e0041}")).toBe("a[U+202E]b[U+200B]c[U+E0041]");
});

test("a percent-encoded Hindi address is readable, a broken one is left alone", () => {
  expect(readableUrl("https://a.example/%E0%A4%95")).toBe("https://a.example/क");
  expect(readableUrl("https://a.example/%E0%A4")).toBe("https://a.example/%E0%A4");
});

test.each([
  ["&#0;", "\ufffd"],
  ["&#xD800;", "\ufffd"],
  ["&#x110000;", "\ufffd"],
  ["&constructor;", "&constructor;"],
  ["&unknown;", "&unknown;"],
  ["&&amp;;", "&&;"],
])("decodeReferences(%j) is %j", (from, to) => expect(decodeReferences(from)).toBe(to));

describe("highlight", () => {
  const code = 'fn main() {\n    println!("नमस्ते <b>");\n}\n';
  test("colours code without changing a character", async () => {
    const spans = await highlight(code, "rust");
    expect(spans?.map((span) => span.text).join("")).toBe(code);
    expect(spans).toContainEqual({ text: "fn", scope: "keyword" });
  });
  test("reads a language inside a language", async () => {
    const html = "<script>const x = 1;</script>";
    const spans = await highlight(html, "html");
    expect(spans?.map((span) => span.text).join("")).toBe(html);
    expect(spans).toContainEqual({ text: "const", scope: "keyword" });
  });
  test("leaves unknown languages and very long code plain", async () => {
    expect(await highlight(code, "klingon")).toBeNull();
    expect(await highlight(code, "")).toBeNull();
    expect(await highlight("x".repeat(30_001), "rust")).toBeNull();
  });
});
