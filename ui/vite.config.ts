import { fileURLToPath } from "node:url";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

const fake = fileURLToPath(new URL("./src/platform/fake/entry.ts", import.meta.url));

// `--mode fake` swaps one file: the window then runs in any browser, without Tauri.
export default defineConfig(({ mode }) => ({
  plugins: [svelte()],
  // With VITEST set, Svelte must resolve to its browser build, or components cannot mount in jsdom.
  resolve: {
    alias: mode === "fake" ? { "#platform": fake } : {},
    ...(process.env.VITEST ? { conditions: ["browser"] } : {}),
  },
  clearScreen: false,
  envPrefix: "VITE_",
  build: {
    outDir: mode === "fake" ? "dist-fake" : "dist",
    target: "safari16.4",
    // The CSP allows fonts and images from the bundle only: nothing may turn into a data: URL.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
  },
  server: { port: 5173, strictPort: true },
  preview: {
    headers: {
      // The same wall as in src-tauri/tauri.conf.json, so that a browser run meets it too.
      "Content-Security-Policy":
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    },
  },
  test: {
    environment: "jsdom",
    include: ["src/**/*.test.ts"],
    setupFiles: ["src/test-setup.ts"],
    restoreMocks: true,
    // A busy machine is slow, not wrong: limits only catch what hangs.
    testTimeout: 60_000,
    // One browser environment for all files; the setup cleans up after every test.
    isolate: false,
    pool: "threads",
    maxWorkers: 2,
  },
}));
