import { describe, expect, test } from "vitest";
import { toWireError } from "./errors";
import { uuidV7 } from "./uuid";

describe("uuidV7", () => {
  test("lays out time, version and variant as RFC 9562 says", () => {
    // The example of RFC 9562, appendix A.6: 2022-02-22T19:22:22Z.
    const random = new Uint8Array([0x0c, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f]);
    expect(uuidV7(0x017f22e279b0, random)).toBe("017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
  });
  test("differs each time and sorts by time", () => {
    expect(uuidV7(1)).not.toBe(uuidV7(1));
    expect(uuidV7(1_700_000_000_000) < uuidV7(1_700_000_000_001)).toBe(true);
  });
});

describe("toWireError", () => {
  test("keeps a known code and its facts", () => {
    expect(toWireError({ code: "disk_full", details: { path: "/x" } })).toEqual({ code: "disk_full", details: { path: "/x" } });
  });
  test.each([
    ["a refused command", "Command chat_send not allowed by ACL", "Command chat_send not allowed by ACL"],
    ["a thrown error", new TypeError("boom"), "boom"],
    ["an unknown code", { code: "toString", details: {} }, '{"code":"toString","details":{}}'],
    ["nothing", undefined, ""],
  ])("%s becomes internal with its words", (_, thrown, reason) => {
    expect(toWireError(thrown)).toEqual({ code: "internal", details: { reason } });
  });
});
