import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Demo } from "./demo.ts";
import { freePort } from "./ports.ts";

const MAIN = fileURLToPath(new URL("../src/main.ts", import.meta.url));

describe("who reads our output may end before us", () => {
  let demo: Demo;
  beforeAll(async () => void (demo = await Demo.start("--rate", "200")), 30_000);
  afterAll(async () => void (await demo.stop()));

  test("`watch … | head -2` prints two lines, ends, and complains of nothing", async () => {
    const market = await inPlay(demo);
    const script = 'set -o pipefail; "$0" "$1" watch "$2" "$3" | head -2';
    const watching = shell(script, demo.url, market);
    let [printed, complaints] = ["", ""];
    watching.stdout.on("data", (text) => (printed += text));
    watching.stderr.on("data", (text) => (complaints += text));
    expect(await once(watching, "exit")).toEqual([0, null]);
    expect(printed.trimEnd().split("\n")).toHaveLength(2);
    expect(complaints).toBe("");
  }, 20_000);
});

test("a gateway outlives who reads its log, and stops when it is told to", async () => {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "oddswire-test-"));
  const file = join(folder, "oddswire.json");
  // at the exchange nobody answers: each attempt is some lines of log
  const exchange = { host: "127.0.0.1", port: 1, appKey: "k", session: "s" };
  const doors = { http: { port }, websocket: { port: 0 } };
  writeFileSync(file, JSON.stringify({ exchange, doors, log: { level: "debug" } }));
  const gateway = shell('exec 2> >(head -1); exec "$0" "$1" serve --config "$2"', file);
  await once(gateway.stdout, "data"); // what head had to say
  await Bun.sleep(1_500); // some attempts
  expect(gateway.exitCode).toBe(null);
  expect((await fetch(`http://127.0.0.1:${port}/readyz`)).status).toBe(503);
  gateway.kill("SIGTERM");
  expect(await once(gateway, "exit")).toEqual([0, null]);
  rmSync(folder, { recursive: true });
}, 20_000);

/** A line of shell, in which $0 is Bun, $1 our main, and $2 on are these. */
function shell(script: string, ...words: string[]) {
  return spawn("bash", ["-c", script, process.execPath, MAIN, ...words], { stdio: ["ignore", "pipe", "pipe"] });
}

/** The id of a market in play; there is none until the first image has come. */
async function inPlay({ url, info }: Demo): Promise<string> {
  const headers = { Authorization: `Bearer ${info.demo.session}` };
  for (;;) {
    const response = await fetch(`${url}v1/markets?limit=1&status=OPEN&inPlay=true`, { headers });
    const { markets } = (await response.json()) as { markets: { id: string }[] };
    if (markets[0]) return markets[0].id;
    await Bun.sleep(20);
  }
}
