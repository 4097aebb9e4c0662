/**
 * What an answer may consist of: a closed tree with no HTML in it. Components render it one to one, so
 * nothing that the model writes can become markup, a request or a navigation.
 */
export type Inline =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "strong" | "em" | "del"; readonly children: readonly Inline[] }
  | { readonly kind: "code"; readonly text: string }
  | { readonly kind: "break" }
  | { readonly kind: "link"; readonly url: string; readonly children: readonly Inline[] }
  /** An address that may not be opened: its text and the address, both shown as text. */
  | { readonly kind: "refused"; readonly url: string; readonly children: readonly Inline[] }
  | { readonly kind: "image"; readonly alt: string; readonly url: string };

export type Align = "left" | "center" | "right" | null;

export type Cell = { readonly align: Align; readonly children: readonly Inline[] };

export type Item = { readonly checked: boolean | null; readonly blocks: readonly Block[] };

export type Block =
  | { readonly kind: "paragraph"; readonly children: readonly Inline[] }
  | { readonly kind: "heading"; readonly depth: number; readonly children: readonly Inline[] }
  | { readonly kind: "code"; readonly language: string; readonly text: string }
  | { readonly kind: "list"; readonly start: number | null; readonly tight: boolean; readonly items: readonly Item[] }
  | { readonly kind: "table"; readonly header: readonly Cell[]; readonly rows: readonly (readonly Cell[])[] }
  | { readonly kind: "quote"; readonly blocks: readonly Block[] }
  | { readonly kind: "rule" };

/** The words of a tree, for the choice of `lang` and for tests. */
export function inlineText(nodes: readonly Inline[]): string {
  return nodes
    .map((node) => {
      if (node.kind === "break") return "\n";
      if (node.kind === "image") return node.alt;
      return "children" in node ? inlineText(node.children) : node.text;
    })
    .join("");
}
