import { describe, expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { options, parseConfig, readConfig } from "./config.ts";

const LEAST = { exchange: { host: "example.com", appKey: "k", session: "s" } };

function complaint(input: unknown, env = {}): string {
  try {
    parseConfig(input, env);
  } catch (error) {
    expect((error as { code: string }).code).toBe("INVALID_CONFIG");
    return (error as Error).message;
  }
  return "";
}

describe("configuration", () => {
  test("the least there is stands, with defaults for the rest", () => {
    const config = parseConfig(LEAST);
    expect(config.exchange.port).toBe(443);
    expect(config.exchange.tls).toBe(true);
    expect(config.doors.http).toEqual({ host: "127.0.0.1", port: 8080 });
    expect(config.cache.forgetMs).toBeGreaterThanOrEqual(config.cache.retentionMs);
  });

  test("a typo is named, with what was meant", () => {
    expect(complaint({ ...LEAST, cache: { retentonMs: 5 } })).toBe(
      "cache.retentonMs: there is no such option; did you mean cache.retentionMs?",
    );
    expect(complaint({ ...LEAST, dors: {} })).toContain("did you mean doors?");
    expect(complaint({ ...LEAST, zzzzzzzzzzzz: 1 })).toBe("zzzzzzzzzzzz: there is no such option");
  });

  test("every mistake is named, where it is", () => {
    const said = complaint({
      exchange: { host: 5, appKey: "k", session: "s", port: 70_000 },
      visitors: [{ token: "short", name: "a" }],
    });
    expect(said).toContain("exchange.host:");
    expect(said).toContain("exchange.port:");
    expect(said).toContain("visitors.0.token:");
  });

  test("contradictions are found", () => {
    expect(complaint({ ...LEAST, cache: { forgetMs: 1, retentionMs: 2 } })).toContain("cache.forgetMs");
    expect(complaint({ exchange: { host: "h", appKey: "k" } })).toContain("username and password");
    expect(complaint({ exchange: { host: "h", appKey: "k", session: "s", certFile: "c" } })).toContain(
      "belong together",
    );
    const carrying = (more: object) => ({ exchange: { ...LEAST.exchange, ...more } });
    const ten = carrying({ demand: { enabled: true, connections: 10 } });
    expect(complaint({ ...ten, orders: { enabled: true } })).toContain("11 connections");
    expect(complaint({ ...ten, role: "ingest" })).toContain("no users");
    const shards = [{ eventTypeIds: ["1"] }, { eventTypeIds: ["2"] }];
    expect(complaint(carrying({ filter: { eventTypeIds: ["1"] }, shards }))).toContain("2 has no market in common");
  });

  test("orders are nobody's by default; two visitors whose prefixes overlap would read each other's", () => {
    const said = (...prefixes: string[]) =>
      complaint({
        ...LEAST,
        visitors: prefixes.map((refPrefix, i) => ({ name: `v${i}`, token: `long-enough-${i}`, orders: { refPrefix } })),
      });
    expect(said("alpha-", "beta-", "alpha2-")).toBe("");
    for (const [one, other] of [
      ["alpha-", "alpha-"],
      ["alpha-1", "alpha-"],
      ["a", "alpha-"],
    ] as const)
      expect(said(one, "beta-", other)).toContain("v0 and default/v2 would see each other's orders");
    expect(said("")).toContain("visitors.0.orders");
    const twice = [1, 2].map((n) => ({ name: "v", token: `long-enough-${n}`, orders: { refPrefix: "alpha-" } }));
    expect(complaint({ ...LEAST, visitors: twice })).toBe("");
    const { orders, visitors } = parseConfig({ ...LEAST, visitors: [{ name: "v", token: "long-enough" }] });
    expect([orders.enabled, visitors[0]?.orders]).toEqual([false, undefined]);
  });

  test("a visitor gets in by a token or a login, and by nothing half", () => {
    const said = (visitors: object[], doors = {}) => complaint({ ...LEAST, doors, visitors });
    const passwordHash = `scrypt:16384:8:1:${"A".repeat(22)}==:${"A".repeat(43)}=`;
    const ann = { name: "ann", username: "ann", password: "long-enough" };
    const certLogin = { port: 0, certFile: "c", keyFile: "k", clientCaFile: "a" };
    expect(said([ann, { name: "bob", token: "long-enough" }, { name: "c", username: "c", passwordHash }])).toBe("");
    expect(said([{ name: "ann" }])).toContain("ann needs a token, or a username");
    expect(said([{ name: "ann", username: "ann" }])).toContain("one of password and passwordHash");
    expect(said([{ name: "ann", token: "long-enough", password: "long-enough" }])).toContain("username goes with");
    expect(said([{ ...ann, passwordHash }])).toContain("one of password and passwordHash");
    expect(said([{ ...ann, passwordHash: "5f4dcc3b5aa765d6" }])).toContain("oddswire password");
    expect(said([ann, { ...ann, name: "other" }])).toContain("two have the same username");
    expect(said([{ ...ann, certName: "bot" }])).toContain("doors.certLogin");
    expect(said([{ ...ann, certName: "bot" }], { certLogin })).toBe("");
  });

  test("the environment wins, with the right types", () => {
    const env = { ODDSWIRE_EXCHANGE_PORT: "8443", ODDSWIRE_EXCHANGE_TLS: "false", ODDSWIRE_EXCHANGE_PASSWORD: "0123" };
    const config = parseConfig(LEAST, env);
    expect(config.exchange).toMatchObject({ port: 8443, tls: false, password: "0123" });
    expect(complaint(LEAST, { ODDSWIRE_EXCHANGE_PORT: "many" })).toContain("exchange.port:");
  });

  test("each option says what it is for", () => {
    for (const option of options()) expect([option.path, option.help.length > 5]).toEqual([option.path, true]);
    expect(new Set(options().map((option) => option.env)).size).toBeGreaterThan(20);
  });

  test("a missing file and one that is not JSON each say so", () => {
    const path = join(mkdtempSync(join(tmpdir(), "oddswire-")), "config.json");
    expect(() => readConfig(path, {})).toThrow("there is no such file");
    writeFileSync(path, "{ exchange: ");
    expect(() => readConfig(path, {})).toThrow("is not JSON");
  });
});
