import { describe, expect, test } from "vitest";
import { ERROR_CODES } from "../ipc/codes";
import { remainingFacts } from "./errors";
import { en } from "./en";
import { hi } from "./hi";
import { i18n, languageFor } from "./i18n.svelte";
import { plural } from "./plural";
import { languageOf } from "./script";

type Leaf = [path: string, value: unknown];

function leaves(node: object, path = ""): Leaf[] {
  return Object.entries(node).flatMap(([key, value]) =>
    typeof value === "object" && value !== null ? leaves(value as object, `${path}${key}.`) : [[`${path}${key}`, value] as Leaf],
  );
}

/** A sentence as it appears, with made-up arguments where it takes some. */
function spoken(value: unknown): string {
  return typeof value === "function" ? String((value as (...args: unknown[]) => string)(3, 5)) : String(value);
}

const DEVANAGARI = /\p{Script=Devanagari}/u;
// Names, and words that are the same in both languages on purpose.
const NOT_HINDI = new Set(["appName", "assistant", "english", "switchLanguage", "megabytes"]);

describe("dictionaries", () => {
  test("have exactly the same keys, of the same kinds", () => {
    const kinds = (dictionary: object) => leaves(dictionary).map(([path, value]) => `${path}: ${typeof value}`).sort();
    expect(kinds(hi)).toEqual(kinds(en));
  });
  test.each(leaves(en).filter(([path]) => !path.startsWith("errors.")))("en %s is not empty", (_, value) => {
    expect(spoken(value).trim()).not.toBe("");
  });
  test.each(leaves(hi).filter(([path]) => !path.startsWith("errors.")))("hi %s is Hindi", (path, value) => {
    if (!NOT_HINDI.has(path)) expect(spoken(value)).toMatch(DEVANAGARI);
  });
  test.each(leaves(hi))("hi %s ends a sentence with a danda, not a full stop", (path, value) => {
    if (!path.startsWith("errors.")) expect(spoken(value)).not.toMatch(/[\u0900-\u097f]\.$/);
  });
});

/** The facts that wire.rs names at each code. */
const FACTS: Record<string, string> = {
  characters: "150000",
  character_limit: "100000",
  at: "17",
  id: "0198c0de-0000-7000-8000-000000000001",
  conversation_id: "0198c0de-0000-7000-8000-000000000002",
  looked_in: "/opt/one\n/opt/two",
  path: "/home/x/model.gguf",
  reason: "tensor 7 is cut off",
  needed_bytes: "900000000",
  available_bytes: "200000000",
  kept_at: "/home/x/history.damaged",
  restored_from: "/home/x/history.backup",
  found: "9",
  known: "1",
  url: "smb://host/share",
};

describe.each([["en", en] as const, ["hi", hi] as const])("error sentences in %s", (language, dictionary) => {
  test.each(ERROR_CODES)("%s is a whole sentence, with facts and without", (code) => {
    for (const details of [{}, FACTS]) {
      const sentence = dictionary.errors[code](details);
      expect(sentence).toMatch(language === "hi" ? /।$/ : /\.$/);
      expect(sentence).not.toMatch(/undefined|NaN|null|\[object/);
      if (language === "hi") expect(sentence).toMatch(DEVANAGARI);
    }
  });
  test("all differ from each other", () => {
    expect(new Set(ERROR_CODES.map((code) => dictionary.errors[code]({}))).size).toBe(ERROR_CODES.length);
  });
  test("show their facts", () => {
    const { errors } = dictionary;
    expect(errors.message_too_long(FACTS)).toMatch(/1,50,000.*1,00,000/);
    expect(errors.message_too_long({ tokens: "5000", token_limit: "4096" })).toMatch(/5,000.*4,096/);
    expect(errors.out_of_memory(FACTS)).toMatch(/900 MB.*200 MB/);
    expect(errors.history_corrupt(FACTS)).toMatch(/history\.damaged.*history\.backup/);
    expect(errors.model_missing(FACTS)).toContain(FACTS["path"]);
    for (const code of ["model_invalid", "model_unsupported", "engine_failed", "disk_failed", "internal"] as const) {
      expect(errors[code](FACTS)).toContain(FACTS["reason"]);
    }
    expect(errors.invalid_text(FACTS)).toContain("17");
  });
});

test("facts that a sentence does not show are left for the details", () => {
  const error = { code: "model_invalid" as const, details: { path: "/a/b", reason: "cut off" } };
  expect(remainingFacts(en.errors.model_invalid(error.details), error)).toEqual([["path", "/a/b"]]);
});

test("plurals follow the language: Hindi counts zero as one", () => {
  const forms = { one: "one", other: "other" };
  expect([0, 1, 2].map((value) => plural("en", value, forms))).toEqual(["other", "one", "other"]);
  expect([0, 1, 2].map((value) => plural("hi", value, forms))).toEqual(["one", "one", "other"]);
});

test("large numbers are grouped the Indian way", () => {
  expect(en.tokens(1234567)).toBe("12,34,567 tokens");
  expect(hi.parameters(94_000_000)).toBe("9.4 करोड़");
});

test.each([
  ["hi", ["en-US"], "hi"],
  ["en", ["hi-IN"], "en"],
  ["system", ["hi-IN", "en-US"], "hi"],
  ["system", ["en-GB", "hi"], "en"],
  ["system", ["fr-FR", "hi-IN"], "hi"],
  ["system", ["fr-FR"], "en"],
  ["nonsense", [], "en"],
])("language %j with %j preferred is %s", (setting, preferred, language) => {
  expect(languageFor(setting, preferred)).toBe(language);
});

test.each([
  ["नमस्ते, तुम कौन हो?", "hi"],
  ["What is a rainbow?", "en"],
  ["Chimera क्या है और कैसे चलता है?", "hi"],
  ["The word नमस्ते is a greeting used widely", "en"],
  ["12345", "en"],
])("the script of %j is %s", (text, language) => expect(languageOf(text)).toBe(language));

test("one switch changes the dictionary and the locale", () => {
  i18n.language = "hi";
  expect([i18n.t.send, i18n.locale]).toEqual(["भेजें", "hi-IN"]);
});
