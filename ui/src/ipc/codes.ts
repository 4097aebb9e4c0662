import type { ErrorCode } from "./types";

// A record, not an array: a code added in Rust and forgotten here does not compile.
const KNOWN: Record<ErrorCode, true> = {
  empty_message: true,
  message_too_long: true,
  invalid_text: true,
  invalid_id: true,
  not_found: true,
  busy: true,
  model_loading: true,
  model_missing: true,
  model_invalid: true,
  model_unsupported: true,
  out_of_memory: true,
  engine_failed: true,
  history_locked: true,
  history_corrupt: true,
  history_newer: true,
  disk_full: true,
  disk_failed: true,
  link_refused: true,
  internal: true,
};

export const ERROR_CODES = Object.keys(KNOWN) as ErrorCode[];

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === "string" && Object.hasOwn(KNOWN, value);
}
