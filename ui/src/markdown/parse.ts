import { Lexer, type MarkedToken, type Token, type Tokens } from "marked";
import { decodeReferences } from "./entities";
import { safeUrl } from "./links";
import type { Block, Cell, Inline, Item } from "./tree";

// Beyond this a text is shown plain: no answer of ours comes near, and the lexer's worst cases grow with the square.
const MAX_CHARS = 200_000;

// Deeper quotes, lists and emphasis are shown as their source; the DOM stays shallow for any input.
const MAX_DEPTH = 12;

const BREAK_TAG = /^<br\s*\/?>$/i;

const plain = (text: string): Inline => ({ kind: "text", text });

function link(href: string, literal: boolean, children: Inline[]): Inline {
  const address = literal ? href : decodeReferences(href);
  const url = safeUrl(address);
  return url === null ? { kind: "refused", url: address, children } : { kind: "link", url, children };
}

function inlineOf(token: MarkedToken, depth: number): Inline[] {
  switch (token.type) {
    case "text":
      return token.tokens ? inlines(token.tokens, depth) : [plain(token.escaped ? token.text : decodeReferences(token.text))];
    case "escape":
      return [plain(token.text)];
    case "strong":
    case "em":
    case "del":
      return [{ kind: token.type, children: inlines(token.tokens, depth + 1) }];
    case "codespan":
      return [{ kind: "code", text: token.text }];
    case "br":
      return [{ kind: "break" }];
    case "link":
      return [link(token.href, token.autolink === true, inlines(token.tokens, depth + 1))];
    case "image":
      return [{ kind: "image", alt: decodeReferences(token.text), url: decodeReferences(token.href) }];
    case "html":
      return BREAK_TAG.test(token.raw) ? [{ kind: "break" }] : [plain(token.raw)];
    case "checkbox":
      return [];
    default:
      return [plain(token.raw)];
  }
}

/** Neighbouring texts become one: the tree of a text does not depend on how the lexer cut it. */
function joined(nodes: Inline[]): Inline[] {
  const out: Inline[] = [];
  for (const node of nodes) {
    const last = out.at(-1);
    if (node.kind === "text" && last?.kind === "text") out[out.length - 1] = plain(last.text + node.text);
    else out.push(node);
  }
  return out;
}

function inlines(tokens: readonly Token[] | undefined, depth = 0): Inline[] {
  if (depth > MAX_DEPTH) return [plain((tokens ?? []).map((token) => token.raw).join(""))];
  return joined((tokens ?? []).flatMap((token) => inlineOf(token as MarkedToken, depth)));
}

function cell(token: Tokens.TableCell): Cell {
  return { align: token.align, children: inlines(token.tokens) };
}

function item(token: Tokens.ListItem, depth: number): Item {
  return { checked: token.task ? token.checked === true : null, blocks: blocks(token.tokens, depth) };
}

function list(token: Tokens.List, depth: number): Block {
  const start = token.ordered ? Number(token.start === "" ? 1 : token.start) : null;
  return { kind: "list", start, tight: !token.loose, items: token.items.map((entry) => item(entry, depth)) };
}

function languageName(info: string | undefined): string {
  return (info ?? "").trim().split(/\s+/)[0]!.toLowerCase();
}

function blockOf(token: MarkedToken, depth: number): Block[] {
  switch (token.type) {
    case "space":
    case "def":
    case "checkbox":
      return [];
    case "paragraph":
      return [{ kind: "paragraph", children: inlines(token.tokens) }];
    case "text":
      return [{ kind: "paragraph", children: inlines(token.tokens ?? [token]) }];
    case "heading":
      return [{ kind: "heading", depth: token.depth, children: inlines(token.tokens) }];
    case "code":
      return [{ kind: "code", language: languageName(token.lang), text: token.text }];
    case "table":
      return [{ kind: "table", header: token.header.map(cell), rows: token.rows.map((row) => row.map(cell)) }];
    case "hr":
      return [{ kind: "rule" }];
    case "list":
      return depth < MAX_DEPTH ? [list(token, depth + 1)] : [source(token)];
    case "blockquote":
      return depth < MAX_DEPTH ? [{ kind: "quote", blocks: blocks(token.tokens, depth + 1) }] : [source(token)];
    default:
      return [source(token)];
  }
}

function source(token: Token): Block {
  return { kind: "paragraph", children: [plain(token.raw.replace(/\n+$/, ""))] };
}

function blocks(tokens: readonly Token[], depth: number): Block[] {
  return tokens.flatMap((token) => blockOf(token as MarkedToken, depth));
}

/** One top-level piece of an answer: its source and what it renders to. */
export type Piece = { readonly raw: string; readonly type: string; readonly blocks: readonly Block[] };

function lex(text: string): { tokens: Token[]; links: string } | null {
  if (text.length > MAX_CHARS) return null;
  try {
    const tokens = new Lexer({ gfm: true, breaks: true }).lex(text);
    return { tokens, links: JSON.stringify(tokens.links) };
  } catch {
    // Nesting beyond the lexer's stack.
    return null;
  }
}

/**
 * Reads a growing text. Every call lexes the whole text (about a millisecond for 10 kB) and gives back the *same
 * objects* for the pieces that did not change, so that only the last block is rendered again. A whole-text lex makes
 * the streamed result equal to the full one by construction; link definitions, which reach backwards, are part of the key.
 */
export class MarkdownStream {
  #pieces: readonly Piece[] = [];
  #links = "";

  update(text: string): readonly Piece[] {
    const lexed = lex(text);
    if (lexed === null) {
      this.#pieces = [{ raw: text, type: "plain", blocks: [{ kind: "paragraph", children: [plain(text)] }] }];
      return this.#pieces;
    }
    const before = lexed.links === this.#links ? this.#pieces : [];
    this.#links = lexed.links;
    this.#pieces = lexed.tokens
      .filter((token) => token.type !== "space" && token.type !== "def")
      .map((token, index) => this.#piece(token, before[index]));
    return this.#pieces;
  }

  #piece(token: Token, old: Piece | undefined): Piece {
    if (old && old.type === token.type && old.raw === token.raw) return old;
    return { raw: token.raw, type: token.type, blocks: blocks([token], 0) };
  }
}

export function parseMarkdown(text: string): Block[] {
  return new MarkdownStream().update(text).flatMap((piece) => piece.blocks);
}
