import { isErrorCode } from "./codes";
import type { ErrorCode, WireError } from "./types";

export function wireError(code: ErrorCode, details: Record<string, string> = {}): WireError {
  return { code, details };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function textFacts(value: unknown): Record<string, string> {
  if (!isRecord(value)) return {};
  return Object.fromEntries(Object.entries(value).map(([key, fact]) => [key, String(fact)]));
}

/** Whatever was thrown becomes an error with a code; what is not one of ours keeps its words as a fact. */
export function toWireError(thrown: unknown): WireError {
  if (isRecord(thrown) && isErrorCode(thrown["code"])) {
    return { code: thrown["code"], details: textFacts(thrown["details"]) };
  }
  const reason = thrown instanceof Error ? thrown.message : typeof thrown === "string" ? thrown : JSON.stringify(thrown);
  return wireError("internal", { reason: reason ?? "" });
}
