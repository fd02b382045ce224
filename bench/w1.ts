import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Oddswire } from "./process.ts";
import type { Report } from "./table.ts";

/** performance.md, W1: bursts included, TLS on, the image in the peak, CPU the mean over whole minutes with their bursts. */
const CPU_CORES_MAX = 0.1;
const PEAK_BYTES_MAX = 150e6;
const MINUTES = Number(process.env.ODDSWIRE_BENCH_MINUTES ?? 2);
const RATE_SHARE_MIN = 0.98;
const LOAD_SECONDS_MAX = 60;
const MARKETS = 20_000;
/** 2,000 changes a second, five times that for 10 s of each minute. */
const CHANGES_PER_MINUTE = 2_000 * 50 + 10_000 * 10;

interface Stats {
  readonly markets: number;
  readonly changes: number;
  readonly messages: number;
  readonly ready: boolean;
}

/** An event day of 20,000 markets into a gateway in the ingest role, in a process of its own. */
export async function w1(_files: readonly string[], progress: (text: string) => void): Promise<Report> {
  const folder = mkdtempSync(join(tmpdir(), "oddswire-w1-"));
  const caFile = join(folder, "ca.pem");
  const exchange = new Oddswire(["simulate", "--workload", "W1", "--cert-file", caFile]);
  const port = Number((await exchange.line(/^ESA \(TLS\)/)).split(":").at(-1));
  const loginHost = (await exchange.line(/^Identity/)).split(/\s+/)[1]?.replace("/api/login", "") as string;
  const config = join(folder, "ingest.json");
  const account = { appKey: "demo-app-key", username: "demo", password: "demo-password", loginHost };
  writeFileSync(
    config,
    JSON.stringify({
      role: "ingest",
      exchange: { host: "127.0.0.1", port, caFile, ...account },
      doors: { http: { port: 0 } },
    }),
  );
  const gateway = new Oddswire(["serve", "--config", config]);
  try {
    return await measure(gateway, exchange, progress);
  } finally {
    await gateway.stop();
    await exchange.stop();
  }
}

async function measure(gateway: Oddswire, exchange: Oddswire, progress: (text: string) => void): Promise<Report> {
  const { http } = JSON.parse(await gateway.line(/"msg":"started"/)) as { http: string };
  const stats = async () => ((await (await fetch(`${http}v1/info`)).json()) as { feed: Stats }).feed;
  progress("the image comes in");
  const began = performance.now();
  while (!(await stats()).ready) {
    if (performance.now() - began > LOAD_SECONDS_MAX * 1000) throw new Error("no image");
    await Bun.sleep(100);
  }
  const loadCpu = gateway.cpuSeconds();
  const [before, cpuBefore, feedBefore, start] = [
    await stats(),
    gateway.cpuSeconds(),
    exchange.cpuSeconds(),
    performance.now(),
  ];
  for (let left = MINUTES * 60; left > 0; left -= 5) {
    const { rss, peak } = gateway.memory();
    progress(`${left} s to go, ${mb(rss)} MB now, ${mb(peak)} MB at most`);
    await Bun.sleep(Math.min(5, left) * 1000);
  }
  const seconds = (performance.now() - start) / 1000;
  const [after, cpu, feed] = [await stats(), gateway.cpuSeconds() - cpuBefore, exchange.cpuSeconds() - feedBefore];
  const { rss, peak } = gateway.memory();
  const rate = (after.changes - before.changes) / seconds;
  const offered = CHANGES_PER_MINUTE / 60;
  const row = (name: string, value: string, limit: string, passed: boolean) => ({
    name,
    values: { measured: value, "to reach": limit },
    passed,
  });
  return {
    bench: "W1",
    rows: [
      row(
        "CPU, cores, mean of whole minutes",
        (cpu / seconds).toFixed(4),
        `≤ ${CPU_CORES_MAX}`,
        cpu / seconds <= CPU_CORES_MAX,
      ),
      row("peak RSS, MB, image included", mb(peak), `≤ ${mb(PEAK_BYTES_MAX)}`, peak <= PEAK_BYTES_MAX),
      row("RSS at the end, MB", mb(rss), `≤ ${mb(PEAK_BYTES_MAX)}`, rss <= PEAK_BYTES_MAX),
      row("markets", String(after.markets), String(MARKETS), after.markets === MARKETS),
      row(
        "market changes/s",
        rate.toFixed(0),
        `≥ ${(offered * RATE_SHARE_MIN).toFixed(0)}`,
        rate >= offered * RATE_SHARE_MIN,
      ),
      row("CPU of start and image, s", loadCpu.toFixed(2), "", true),
      row("CPU of the simulated exchange, cores", (feed / seconds).toFixed(3), "", true),
    ],
  };
}

function mb(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
