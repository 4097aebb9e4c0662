import type { AppStatus } from "../../ipc/types";
import type { Platform } from "../platform";
import { FakePlatform, READY } from "./fake";
import { sampleAnswer, sampleConversations } from "./samples";

const LOADING: AppStatus = { ...READY, model: { state: "loading" } };
const FAILED: AppStatus = {
  ...READY,
  model: { state: "failed", error: { code: "model_invalid", details: { path: "/usr/share/chimera/chimera-starter-q4_0.gguf", reason: "tensor data ends early" } } },
};

const statusFor = (scene: string | null): AppStatus => (scene === "loading" ? LOADING : scene === "failed" ? FAILED : READY);

/** For a browser: `?lang=hi&theme=dark&scene=loading|failed|empty&ms=30`. */
export function createPlatform(): Platform {
  const query = new URLSearchParams(location.search);
  const scene = query.get("scene");
  return new FakePlatform({
    answer: sampleAnswer,
    pieceMs: Number(query.get("ms") ?? 30),
    status: statusFor(scene),
    settings: { language: query.get("lang") ?? "system", theme: query.get("theme") ?? "system" },
    conversations: scene === "empty" ? [] : sampleConversations(Date.now()),
  });
}
