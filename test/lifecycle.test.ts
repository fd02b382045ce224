import { afterEach, describe, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connect } from "../client/connection.ts";
import { webSocketWire } from "../client/wire.ts";
import { systemClock } from "../src/base/clock.ts";
import { bunDial } from "../src/edge/sockets.ts";
import { cameThrough } from "../src/sim/came-through.ts";
import { firstDifference, type MarketChange, NaiveBook } from "../src/sim/naive.ts";
import { freePort, listens } from "./ports.ts";
import { HASTE, until } from "./stage.ts";

const LAUNCHER = fileURLToPath(new URL("../bin/oddswire.js", import.meta.url));
const CREDENTIALS = { session: "demo-session-token", appKey: "demo-app-key" };
/** Generous: figures are printed, and judged where they are measured for their own sake. */
const READY_MS_MAX = 10_000;
const STOP_MS_MAX = 5_000;

const processes: ChildProcess[] = [];
afterEach(() => {
  for (const child of processes.splice(0)) child.kill("SIGKILL");
});

interface Ports {
  readonly http: number;
  readonly ws: number;
  readonly esa: number;
  readonly tls: number;
}

async function ports(): Promise<Ports> {
  return { http: await freePort(), ws: await freePort(), esa: await freePort(), tls: await freePort() };
}

/** A demo on these ports; resolves when it says that it is ready, with how long that took. */
async function demo(
  { http, ws, esa, tls }: Ports,
  ...options: string[]
): Promise<{ child: ChildProcess; readyMs: number }> {
  const named = ["--http-port", http, "--ws-port", ws, "--esa-port", esa, "--esa-tls-port", tls].map(String);
  const began = performance.now();
  const child = spawn("node", [LAUNCHER, "demo", ...named, ...options], { stdio: ["ignore", "ignore", "inherit"] });
  processes.push(child);
  let ready = false;
  await until(
    () => {
      void fetch(`http://127.0.0.1:${http}/readyz`).then(
        (response) => (ready ||= response.ok),
        () => {},
      );
      return ready;
    },
    "the demo is ready",
    READY_MS_MAX,
  );
  return { child, readyMs: performance.now() - began };
}

/** As `until`, for what has to be asked for. */
async function untilAsked(holds: () => Promise<boolean>, words: string): Promise<void> {
  const deadline = performance.now() + READY_MS_MAX;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within ${READY_MS_MAX} ms: ${words}`);
    await Bun.sleep(50);
  }
}

function exitOf(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null) return Promise.resolve(child.exitCode);
  return new Promise((resolve) => child.once("exit", resolve));
}

describe("SIGTERM", () => {
  test("tells users to come back, in their door's words, and ends with exit code 0", async () => {
    const where = await ports();
    const { child, readyMs } = await demo(where, "--markets", "20");
    const closes: number[] = [];
    const socket = new WebSocket(`ws://127.0.0.1:${where.ws}/v1/ws`);
    socket.onclose = ({ code }) => closes.push(code);
    let esa = "";
    let isOver = false;
    const say = (message: object) => bunSocket.write(Buffer.from(`${JSON.stringify(message)}\r\n`));
    const bunSocket = bunDial(
      { host: "127.0.0.1", port: where.esa },
      { data: (_, bytes) => void (esa += Buffer.from(bytes).toString()), close: () => (isOver = true) },
    );
    await until(() => esa.includes("connectionId") && socket.readyState === WebSocket.OPEN, "both are greeted");
    say({ op: "authentication", id: 1, ...CREDENTIALS });
    await until(() => esa.includes("connectionsAvailable"), "authenticated");
    say({ op: "marketSubscription", id: 2, marketFilter: {}, marketDataFilter: {} });
    await until(() => esa.includes("SUB_IMAGE"), "the image");
    const asked = performance.now();
    child.kill("SIGTERM");
    expect(await exitOf(child)).toBe(0);
    const stopMs = performance.now() - asked;
    expect(stopMs).toBeLessThan(STOP_MS_MAX);
    await until(() => closes.length > 0 && isOver, "both are told");
    expect(closes).toEqual([1001]);
    const last = JSON.parse(esa.trim().split("\r\n").at(-1) as string);
    expect(last).toMatchObject({
      op: "status",
      statusCode: "FAILURE",
      errorCode: "CONNECTION_FAILED",
      connectionClosed: true,
    });
    console.log(`ready in ${readyMs.toFixed(0)} ms, stopped in ${stopMs.toFixed(0)} ms`);
  }, 30_000);
});

test("SIGTERM to npm start ends what it started", async () => {
  const where = await ports();
  const named = [
    "--http-port",
    where.http,
    "--ws-port",
    where.ws,
    "--esa-port",
    where.esa,
    "--esa-tls-port",
    where.tls,
  ].map(String);
  const child = spawn("npm", ["start", "--", ...named], {
    stdio: "ignore",
    cwd: fileURLToPath(new URL("..", import.meta.url)),
  });
  processes.push(child);
  const alive = () => listens(where.http);
  await untilAsked(alive, "the demo is up");
  child.kill("SIGTERM");
  await untilAsked(async () => !(await alive()), "the demo is down");
}, 30_000);

describe("SIGKILL and restart", () => {
  test("a client is back by itself, with the right book", async () => {
    const changes = Array.from({ length: 50 }, (_, i) => ({
      op: "mcm",
      clk: String(i),
      pt: 1000 + i,
      mc: [change(i)],
    }));
    const path = join(mkdtempSync(join(tmpdir(), "oddswire-")), "recording");
    writeFileSync(path, changes.map((message) => JSON.stringify(message)).join("\n"));
    const truth = new NaiveBook("1.5");
    for (const { mc } of changes) for (const each of mc) truth.apply(each);

    const where = await ports();
    const options = ["--recording", path, "--speed", "0"];
    const first = await demo(where, ...options);
    const connection = connect({
      wire: webSocketWire(`ws://127.0.0.1:${where.ws}/v1/ws`),
      ...CREDENTIALS,
      random: HASTE,
      clock: systemClock,
    });
    const subscription = connection.subscribe({});
    const isRight = () =>
      subscription.state.kind === "live" &&
      firstDifference(cameThrough("1.5", subscription.books.get("1.5")), truth.state()) === null;
    await until(isRight, "the client has the book");

    // the launcher: what it started must not outlive it, or its ports would be taken
    first.child.kill("SIGKILL");
    await until(() => subscription.state.kind === "stale", "the client notices, and says that its book may be old");
    const second = await demo(where, ...options);
    await until(() => connection.reconnects > 0 && isRight(), "the client is back, and right");
    connection.close();
    second.child.kill("SIGTERM");
    expect(await exitOf(second.child)).toBe(0);
    console.log(`ready again in ${second.readyMs.toFixed(0)} ms`);
  }, 40_000);
});

function change(i: number): MarketChange {
  const runners = [{ id: 7, sortPriority: 1, status: "ACTIVE" }];
  const rc = [{ id: 7, ltp: 1 + i / 100, atb: [[2 + (i % 5), i]] }];
  return {
    id: "1.5",
    rc,
    ...(i === 0 && { marketDefinition: { status: "OPEN", version: 1, runners } }),
  } as unknown as MarketChange;
}
