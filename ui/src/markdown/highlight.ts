import type { HLJSApi } from "highlight.js";

/** A run of code and the classes of its scope; never HTML. */
export type CodeSpan = { readonly text: string; readonly scope: string };

// Longer code is shown plain: colouring would stall the window for longer than it helps.
const MAX_CHARS = 30_000;

/** Collects what highlight.js recognises as flat spans: the job of its HTML renderer, without HTML. */
class SpanEmitter {
  readonly spans: CodeSpan[] = [];
  readonly #scopes: string[] = [];

  addText(text: string): void {
    if (text !== "") this.spans.push({ text, scope: this.#scopes.at(-1) ?? "" });
  }
  startScope(name: string): void {
    this.#scopes.push(name);
  }
  endScope(): void {
    this.#scopes.pop();
  }
  openNode(name: string): void {
    this.startScope(name);
  }
  closeNode(): void {
    this.endScope();
  }
  __addSublanguage(emitter: SpanEmitter): void {
    this.spans.push(...emitter.spans);
  }
  finalize(): void {}
  toHTML(): string {
    return "";
  }
}

let engine: Promise<HLJSApi> | null = null;

async function load(): Promise<HLJSApi> {
  const [{ default: hljs }, { languages }] = await Promise.all([import("highlight.js/lib/core"), import("./languages")]);
  for (const [name, grammar] of Object.entries(languages)) hljs.registerLanguage(name, grammar);
  hljs.configure({ __emitter: SpanEmitter } as Partial<Parameters<HLJSApi["configure"]>[0]>);
  return hljs;
}

function spansOf(hljs: HLJSApi, text: string, language: string): CodeSpan[] | null {
  const result = hljs.highlight(text, { language, ignoreIllegals: true });
  const spans = (result._emitter as unknown as SpanEmitter).spans;
  // The colours must never change the code: if a grammar loses a character, the plain text wins.
  return spans.map((span) => span.text).join("") === text ? spans : null;
}

/** The code in coloured spans, or null when it is to be shown plain. The grammars load with the first block of code. */
export async function highlight(text: string, language: string): Promise<CodeSpan[] | null> {
  if (language === "" || text.length > MAX_CHARS) return null;
  engine ??= load();
  const hljs = await engine;
  return hljs.getLanguage(language) ? spansOf(hljs, text, language) : null;
}
