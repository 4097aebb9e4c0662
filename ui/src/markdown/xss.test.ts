import { render } from "@testing-library/svelte";
import { expect, test } from "vitest";
import Markdown from "./Markdown.svelte";

/** Everything an answer may become. A tag or attribute outside these lists fails the corpus. */
const TAGS = new Set(
  "div p span strong em del code pre br ul ol li h2 h3 h4 h5 h6 blockquote hr table thead tbody tr th td figure figcaption button svg path rect input".split(" "),
);
const ATTRIBUTES = new Set(
  "class lang title role tabindex start scope type checked disabled aria-label aria-hidden data-testid xmlns width height viewbox fill stroke stroke-width stroke-linecap stroke-linejoin d x y rx ry".split(" "),
);

const CORPUS: readonly string[] = [
  "<script>alert(1)</script>",
  "<img src=x onerror=alert(1)>",
  "text <b onclick=alert(1)>bold</b> text",
  "<svg/onload=alert(1)>",
  "<iframe src=javascript:alert(1)></iframe>",
  "<details open ontoggle=alert(1)>x</details>",
  "<math><mi xlink:href=javascript:alert(1)>x</mi></math>",
  "<style>*{background:url(https://evil.example/x)}</style>",
  '<div style="background:url(https://evil.example/x)">x</div>',
  '<a href="javascript:alert(1)">x</a>',
  "<!-- comment --> <![CDATA[x]]> <?php x ?>",
  "<p>block\n\n<script>\nalert(1)\n</script>",
  "![x](https://evil.example/track.png)",
  "![x](data:image/svg+xml;base64,PHN2Zz4=)",
  "[![x](https://evil.example/a.png)](https://evil.example)",
  "![x][ref]\n\n[ref]: https://evil.example/a.png",
  "[x](javascript:alert(1))",
  "[x](JaVaScRiPt:alert(1))",
  "[x](java\tscript:alert(1))",
  "[x](&#106;avascript:alert(1))",
  "[x](javascript&#58;alert(1))",
  "[x](javascript&colon;alert(1))",
  "[x](<javascript:alert(1)>)",
  "[x](vbscript:msgbox)",
  "[x](data:text/html;base64,PHNjcmlwdD4=)",
  "[x](file:///etc/passwd)",
  "[x](smb://evil.example/share)",
  "[x](calculator://)",
  "[x](ms-msdt:/id)",
  "[x](tauri://localhost/)",
  "[x](ipc://localhost/)",
  "[x](//evil.example)",
  "[x](/etc/passwd)",
  "[x](#fragment)",
  '[x](https://evil.example "onmouseover=alert(1)")',
  "<javascript:alert(1)>",
  "<https://evil.example/\"onclick=alert(1)>",
  "[x][r]\n\n[r]: javascript:alert(1)",
  "`<img src=x onerror=alert(1)>`",
  "```html\n<script>alert(1)</script>\n```",
  "```\"><script>alert(1)</script>\nx\n```",
  "| <script>alert(1)</script> | [x](javascript:alert(1)) |\n|--|--|\n| <img src=x onerror=alert(1)> | ![x](//evil.example/x) |",
  "- [ ] <script>alert(1)</script>\n- [x] [y](javascript:alert(1))",
  "> <script>alert(1)</script>",
  "# <script>alert(1)</script>",
  "&lt;script&gt;alert(1)&lt;/script&gt;",
  "&#60;img src=x onerror=alert(1)&#62;",
  "<scr<script>ipt>alert(1)</scr</script>ipt>",
  "<x\u0000 onclick=alert(1)>",
  "\u202etxt.exe\u202c [\u202egnp.exe](https://evil.example/\u202egnp.exe)",
  "{@html '<script>alert(1)</script>'} {{constructor.constructor('alert(1)')()}}",
  "$$\\href{javascript:alert(1)}{x}$$",
  "```mermaid\ngraph TD; A-->B; click A \"javascript:alert(1)\"\n```",
  `${"> ".repeat(5000)}deep`,
  `${"- ".repeat(3000)}deep`,
  `${"[".repeat(4000)}x${"]".repeat(4000)}`,
  `${"*".repeat(4001)}x${"*".repeat(4001)}`,
  "<".repeat(20000),
];

function offences(root: Element): string[] {
  return [...root.querySelectorAll("*")].flatMap((element) => {
    const tag = element.tagName.toLowerCase();
    const attributes = [...element.attributes].map((attribute) => attribute.name.toLowerCase());
    const strange = attributes.filter((name) => !ATTRIBUTES.has(name)).map((name) => `${tag}[${name}]`);
    return TAGS.has(tag) ? strange : [tag, ...strange];
  });
}

test.each(CORPUS.map((source, index) => [index, source.slice(0, 60), source] as const))("hostile text %i stays text: %s", (_, __, source) => {
  const { container } = render(Markdown, { text: source });
  expect(offences(container)).toEqual([]);
  const links = [...container.querySelectorAll("[role=link]")].map((link) => link.getAttribute("title") ?? "");
  expect(links.filter((title) => !/^(https?|mailto):/.test(title))).toEqual([]);
});

test("raw html is shown as it was written", () => {
  const source = "<script>alert(1)</script>";
  expect(render(Markdown, { text: source }).container.textContent).toContain(source);
  expect(render(Markdown, { text: `a <b onclick=x>b</b>` }).container.textContent).toContain("<b onclick=x>b</b>");
});

test("an image is named and never fetched", () => {
  const { container } = render(Markdown, { text: "![a cat](https://evil.example/cat.png)" });
  expect(container.querySelector("img")).toBeNull();
  expect(container.textContent).toContain("Image not loaded: a cat");
});

test("a link that may not be opened shows its address as text", () => {
  const { container } = render(Markdown, { text: "[click](javascript:alert(1))" });
  expect(container.querySelector("[role=link]")).toBeNull();
  expect(container.textContent).toContain("click (javascript:alert(1))");
});

test("the checker itself notices what it must", () => {
  const root = document.createElement("div");
  root.innerHTML = '<img src="x" onerror="y"><p style="color:red">x</p>';
  expect(offences(root)).toEqual(["img", "img[src]", "img[onerror]", "p[style]"]);
});
