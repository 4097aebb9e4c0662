import { expect, test } from "vitest";
import type { AppStatus, WireError } from "../../ipc/types";
import type { Platform } from "../../platform/platform";
import { Notices } from "../notices/notices.svelte";
import { Status } from "./status.svelte";

const damaged: WireError = { code: "history_corrupt", details: {} };
const loading = (notice: WireError | null): AppStatus => ({ version: "1", model: { state: "loading" }, notice });
const failed = (notice: WireError | null): AppStatus => ({
  version: "1",
  model: { state: "failed", error: { code: "model_missing", details: {} } },
  notice,
});

async function told(answers: AppStatus[]): Promise<string[]> {
  const notices = new Notices();
  const platform = { appStatus: async () => answers.shift()! } as unknown as Platform;
  await new Status(platform, notices).watch();
  return notices.list.map((notice) => notice.error.code);
}

test("a notice of a history that opened after the first question is told", async () => {
  expect(await told([loading(null), failed(damaged)])).toEqual(["history_corrupt", "model_missing"]);
});

test("the same notice is told once", async () => {
  expect(await told([loading(damaged), loading(damaged), failed(damaged)])).toEqual(["history_corrupt", "model_missing"]);
});
