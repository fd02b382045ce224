import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Process } from "../bench/process.ts";
import { listenersOn } from "../src/load/server.ts";
import type { SoakMistake } from "./soak-gateway.ts";

export const SOAK_SESSION = "soak-session-token";
/** Of the feed W2: so many, numbered from here. */
const MARKETS = { count: 500, first: 260_000_000 };

/** What a process holds of the machine: resident memory, how much of it is its own and no file's, and open descriptors. */
export interface Held {
  readonly rss: number;
  readonly own: number;
  readonly descriptors: number;
}

/** A simulated exchange and a gateway, as users start them; each is a process of its own. The gateway may be one with a planted mistake. */
export class SoakHouse {
  /** The gateway's page, and the port of its WebSocket door. */
  readonly url: string;
  readonly port: number;
  readonly #pid: number;
  readonly #opened: readonly { stop(): unknown }[];

  private constructor(url: string, port: number, pid: number, opened: readonly { stop(): unknown }[]) {
    this.url = url;
    this.port = port;
    this.#pid = pid;
    this.#opened = opened;
  }

  static async open(mistake?: SoakMistake): Promise<SoakHouse> {
    const folder = mkdtempSync(join(tmpdir(), "oddswire-soak-"));
    const exchange = new Process("src/main.ts", ["simulate", "--workload", "W2"]);
    const opened: { stop(): unknown }[] = [{ stop: () => rmSync(folder, { recursive: true }) }, exchange];
    try {
      const file = join(folder, "gateway.json");
      writeFileSync(file, JSON.stringify(await configFor(exchange)));
      const gateway = started(["serve", "--config", file], mistake);
      opened.push(gateway);
      const { http } = JSON.parse(await gateway.line(/"msg":"started"/)) as { http: string };
      const info = await ready(http);
      const [pid] = listenersOn([info.websocket.port]);
      if (pid === undefined) throw new Error("nobody listens at the gateway's port");
      return new SoakHouse(http, info.websocket.port, pid, opened);
    } catch (error) {
      await stopAll(opened);
      throw error;
    }
  }

  crowd(): Crowd {
    return new Crowd(this.port);
  }

  held(): Held {
    const status = readFileSync(`/proc/${this.#pid}/status`, "utf8");
    const bytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]) * 1024;
    return {
      rss: bytes("VmRSS"),
      own: bytes("RssAnon"),
      descriptors: readdirSync(`/proc/${this.#pid}/fd`).length,
    };
  }

  close(): Promise<void> {
    return stopAll(this.#opened);
  }
}

/** Users in a process of their own (soak-crowd.ts). */
export class Crowd {
  readonly #process: Process;

  constructor(port: number, session = SOAK_SESSION, heartbeatMs = 5_000, marketIds: readonly string[] = W2_MARKET_IDS) {
    this.#process = new Process("test/soak-crowd.ts", [String(port), session, String(heartbeatMs), ...marketIds]);
  }

  /** "come N", "flit N" or "leave"; resolves when it is done. */
  async tell(words: string): Promise<void> {
    const answer = await this.#process.ask(words);
    if (answer !== "done") throw new Error(this.#process.lines.join("\n"));
  }

  /** All are gone at once, and none of them has said a word. */
  vanish(): void {
    process.kill(this.#process.pid, "SIGKILL");
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }
}

const W2_MARKET_IDS = Array.from({ length: MARKETS.count }, (_, n) => `1.${MARKETS.first + n}`);

async function configFor(exchange: Process): Promise<object> {
  const port = Number((await exchange.line(/^ESA \(TCP\)/)).split(":").at(-1));
  const loginHost = (await exchange.line(/^Identity/)).split(/\s+/)[1]?.replace("/api/login", "");
  const login = { appKey: "demo-app-key", username: "demo", password: "demo-password", loginHost };
  return {
    exchange: { host: "127.0.0.1", port, tls: false, ...login },
    doors: { http: { port: 0 }, websocket: { port: 0 }, connectionsMax: 19_900 },
    visitors: [{ token: SOAK_SESSION, name: "soak", connectionsMax: 20_000 }],
    catalogue: { enabled: false },
    log: { level: "info" },
  };
}

/** By the launcher, as everybody starts it; with a mistake, past it. */
function started(args: readonly string[], mistake?: SoakMistake): Process {
  if (mistake === undefined) return new Process("bin/oddswire.js", args, "node");
  return new Process(`SOAK_MISTAKE=${mistake}`, [process.execPath, "test/soak-gateway.ts", ...args], "env");
}

async function ready(http: string): Promise<{ websocket: { port: number } }> {
  for (;;) {
    const info = await (await fetch(`${http}v1/info`)).json();
    if ((info as { feed: { ready: boolean } }).feed.ready) return info as { websocket: { port: number } };
    await Bun.sleep(50);
  }
}

async function stopAll(opened: readonly { stop(): unknown }[]): Promise<void> {
  for (const one of [...opened].reverse()) await one.stop();
}
