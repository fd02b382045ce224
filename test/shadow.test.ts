import { afterAll, describe, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { FindingKind } from "../src/ops/shadow-pair.ts";
import type { ShadowReport } from "../src/ops/shadow-report.ts";
import { ESA_AT, EXCHANGE_AT } from "../src/sim/house.ts";
import { oddswire } from "./command.ts";
import { freePort } from "./ports.ts";
import { ALIGNED_MS, cleanDerby, FAULTS, faultyDerby, ShadowStage } from "./shadow-stage.ts";

const SEED = 7;

describe("a clean derby (an hour of it: `npm run prove -- shadow`)", () => {
  for (const conflateMs of [0, 500, 5_000])
    test(`five minutes at conflateMs ${conflateMs}: many states, no finding, nothing left unjudged`, async () => {
      const report = await cleanDerby(5, { seed: SEED, conflateMs });
      expect(report.findings).toEqual({ total: 0, counts: expect.anything(), samples: [] });
      expect([report.statesUnjudged, report.pauses.count, report.marketsCompared]).toEqual([0, 0, 8]);
      expect(report.statesMatched).toBeGreaterThan(conflateMs === 0 ? 8_000 : 200);
      expect(report.through.conflateMs).toBe(conflateMs);
      // Both links take 2 to 5 ms, and the gateway's own to the exchange 3 to 8.
      if (conflateMs === 0) expect(report.latencyMs?.p50).toBeWithin(3, 8);
      expect(report.latencyMs?.max).toBeLessThan(conflateMs + 20);
    }, 20_000);
});

describe("each fault planted between gateway and shadow is one finding, of its own kind and at the right market", () => {
  for (const { spoil, kind } of FAULTS)
    for (const conflateMs of [0, 500])
      test(`${spoil}, conflateMs ${conflateMs}: ${kind}`, async () => {
        const { report, market } = await faultyDerby(spoil, { seed: SEED, conflateMs });
        expect(found(report)).toEqual([`${kind} ${market}`]);
        expect(report.findings.total).toBe(1);
        expect(report.findings.counts[kind]).toBe(1);
      }, 20_000);

  test("what an offer was before comes again: back in time", async () => {
    const { report, market } = await faultyDerby("repeat", { seed: SEED });
    expect(found(report)).toEqual([`back in time ${market}`]);
  }, 20_000);

  test("a market that the exchange does not have: extra", async () => {
    const { report, market } = await faultyDerby("double", { seed: SEED });
    expect(found(report)).toEqual([`extra ${market}9`]);
  }, 20_000);

  test("two wrong levels, one after the other, are two findings, and the words hold both values", async () => {
    const stage = new ShadowStage({ seed: SEED });
    await stage.open();
    stage.shadow.start();
    const market = stage.market(0);
    for (let times = 0; times < 2; times++) {
      await stage.pass(ALIGNED_MS);
      stage.spoiler.plant({ kind: "size", market });
      await stage.pass(ALIGNED_MS);
    }
    const { findings } = stage.close();
    expect(findings.counts.wrong).toBe(2);
    const [, direct, through] =
      /^runner \d+ at[bl] [\d.]+: ([\d.]+) direct, ([\d.]+) through Oddswire$/.exec(findings.samples[0]?.what ?? "") ??
      [];
    expect(Number(through)).toBe(2 * Number(direct));
  }, 20_000);
});

describe("while a side is not there, nothing is compared, and that is told", () => {
  const breaks: readonly [string, RegExp, (stage: ShadowStage) => void][] = [
    ["the gateway restarts", /^through is stale/, (stage) => stage.house.restart(true)],
    ["the exchange cuts the gateway off", /^through is stale: .*503/, (stage) => void stage.network.cut("gateway")],
    ["the way to the exchange breaks", /^direct is stale/, (stage) => void stage.network.cut("direct")],
    [
      "both ways break",
      /is stale/,
      (stage) => [EXCHANGE_AT, ESA_AT].forEach(({ host, port }) => void stage.network.cut(`${host}:${port}`)),
    ],
    [
      "the exchange says that it is late",
      /503/,
      ({ house, clock }) => {
        house.exchange.knobs.status = 503;
        clock.after(8_000, () => (house.exchange.knobs.status = null));
      },
    ],
  ];
  for (const [name, reason, happen] of breaks)
    for (const conflateMs of [0, 500])
      test(`${name}, conflateMs ${conflateMs}: no finding, and it goes on comparing`, async () => {
        const stage = new ShadowStage({ seed: SEED, conflateMs });
        await stage.open();
        stage.shadow.start();
        await stage.pass(20_000);
        happen(stage);
        await stage.pass(20_000);
        const before = stage.shadow.report();
        await stage.pass(20_000);
        const after = stage.close();
        expect(after.findings.samples).toEqual([]);
        expect(before.pauses.count).toBeGreaterThan(0);
        expect(before.pauses.samples.some((pause) => reason.test(pause.reason))).toBe(true);
        expect(after.statesMatched - before.statesMatched).toBeGreaterThan(100 / (1 + conflateMs / 100));
      }, 20_000);
});

describe("`oddswire shadow` on real sockets", () => {
  const folder = mkdtempSync(join(tmpdir(), "oddswire-shadow-"));
  const children: ChildProcess[] = [];
  afterAll(() => {
    for (const child of children) child.kill("SIGKILL");
    rmSync(folder, { recursive: true });
  });

  test("beside a gateway that works: exit code 0, a table and a report", async () => {
    const exchange = await simulate("1");
    const esa = await serve(exchange);
    const report = join(folder, "report.json");
    const outcome = await shadow(exchange, esa, "--report", report);
    expect(outcome.stderr).toBe("");
    expect(outcome.stdout).toContain("Findings: none.");
    expect(outcome.code).toBe(0);
    const { statesMatched, marketsCompared, direct, through, latencyMs, seconds } = JSON.parse(
      readFileSync(report, "utf8"),
    ) as ShadowReport;
    expect(direct).toMatchObject({ address: `127.0.0.1:${exchange.plain}`, connects: 1, conflateMs: 0, markets: 40 });
    expect(through).toMatchObject({ address: `127.0.0.1:${esa}`, connects: 1, conflateMs: 0, markets: 40 });
    expect(marketsCompared).toBe(40);
    expect(statesMatched).toBeGreaterThan(50);
    expect(latencyMs?.p99).toBeLessThan(2_000);
    expect(seconds).toBeWithin(6, 8);
  }, 60_000);

  test("beside another exchange than its own: exit code 1, JSON that says what is wrong", async () => {
    const [here, there] = await Promise.all([simulate("1"), simulate("2")]);
    const outcome = await shadow(
      here,
      there.plain,
      "--json",
      "--username",
      "demo",
      "--login",
      there.identity,
      "--grace-ms",
      "1000",
      "--late-ms",
      "500",
    );
    expect(outcome.code).toBe(1);
    const { findings } = JSON.parse(outcome.stdout) as ShadowReport;
    expect(findings.total).toBeGreaterThan(30);
    expect(findings.counts.wrong).toBeGreaterThan(10);
    expect(outcome.stderr).toContain(findings.samples[0]?.what as string);
  }, 60_000);

  test("a side that refuses us: exit code 1, and which it was", async () => {
    const exchange = await simulate("1");
    const outcome = await shadow(exchange, await freePort(), "--app-key", "other");
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toContain(
      "CONNECTION_FAILED: nothing was compared; direct: no session: INPUT_VALIDATION_ERROR",
    );
  }, 60_000);

  interface Exchange {
    readonly plain: number;
    readonly identity: string;
  }

  async function simulate(seed: string): Promise<Exchange> {
    const printed = await start(["simulate", "--seed", seed], /Credentials/);
    return {
      plain: Number(/\(TCP\) +127.0.0.1:(\d+)/.exec(printed)?.[1]),
      identity: /http:\/\/127.0.0.1:\d+/.exec(printed)?.[0] as string,
    };
  }

  /** A gateway at that exchange; resolves to its ESA door's port once it has prices. */
  async function serve({ plain, identity }: Exchange): Promise<number> {
    const [esa, http] = [await freePort(), await freePort()];
    const file = join(folder, "oddswire.json");
    const exchange = {
      host: "127.0.0.1",
      port: plain,
      tls: false,
      appKey: "demo-app-key",
      username: "demo",
      password: "demo-password",
      loginHost: identity,
    };
    const doors = { http: { port: http }, websocket: { port: 0 }, esa: { port: esa } };
    writeFileSync(file, JSON.stringify({ exchange, doors, visitors: [{ token: "shadow-token", name: "shadow" }] }));
    await start(["serve", "--config", file], /"started"/);
    while (!(await fetch(`http://127.0.0.1:${http}/readyz`)).ok) await Bun.sleep(50);
    return esa;
  }

  /** Starts a command; resolves to what it printed, once that holds the words. */
  async function start(args: readonly string[], words: RegExp): Promise<string> {
    const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
    const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    children.push(child);
    let printed = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (bytes) => (printed += bytes));
    while (!words.test(printed))
      await Promise.race([once(child.stdout, "data"), once(child.stderr, "data"), exited(child)]);
    return printed;
  }

  async function exited(child: ChildProcess): Promise<never> {
    await once(child, "exit");
    throw new Error(`ended early: ${child.spawnargs.join(" ")}`);
  }

  function shadow(exchange: Exchange, through: number, ...options: string[]) {
    const sides = ["--direct", `127.0.0.1:${exchange.plain}`, "--through", `127.0.0.1:${through}`, "--plain"];
    const login = ["--app-key", "demo-app-key", "--direct-username", "demo", "--direct-login", exchange.identity];
    const env = {
      ODDSWIRE_SHADOW_DIRECT_PASSWORD: "demo-password",
      ODDSWIRE_SHADOW_PASSWORD: "demo-password",
      ODDSWIRE_SHADOW_SESSION: "shadow-token",
    };
    return oddswire(["shadow", ...sides, ...login, "--minutes", "0.1", ...options], { env, msMax: 40_000 });
  }
});

function found({ findings }: ShadowReport): string[] {
  return findings.samples.map(({ kind, market }: { kind: FindingKind; market: string }) => `${kind} ${market}`);
}
