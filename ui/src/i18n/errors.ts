import type { ErrorCode, WireError } from "../ipc/types";

/** The facts of an error that sentences may use; every one may be absent. */
export type Facts = { readonly [key: string]: string | undefined };

export type ErrorSentences = { [Code in ErrorCode]: (details: Facts) => string };

/** Facts that the sentence does not show, for the fold-out below it. */
export function remainingFacts(sentence: string, error: WireError): [string, string][] {
  return Object.entries(error.details).filter(([, value]) => value !== "" && !sentence.includes(value));
}
