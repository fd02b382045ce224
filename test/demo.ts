import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { freePort } from "./ports.ts";

/** What a running demo says about itself at `/v1/info`. */
interface Info {
  readonly websocket: { readonly port: number; readonly path: string };
  readonly sse: { readonly port: number | null; readonly path: string };
  readonly esa: { readonly port: number | null; readonly tlsPort: number | null };
  readonly demo: { readonly session: string; readonly appKey?: string };
}

/** The most time from the start to a page that answers, milliseconds. */
const START_MS_MAX = 20_000;
/** The most time from SIGTERM to the end. */
const STOP_MS_MAX = 10_000;

/** `oddswire demo` as a user starts it: a process of its own, with ports of its own. */
export class Demo {
  readonly url: string;
  readonly esaPort: number;
  readonly info: Info;
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess, url: string, esaPort: number, info: Info) {
    this.#process = process;
    this.url = url;
    this.esaPort = esaPort;
    this.info = info;
  }

  /** Starts it with these options and waits until its page answers; what it printed is in the error where it does not. */
  static async start(...options: string[]): Promise<Demo> {
    const [httpPort, esaPort] = [await freePort(), await freePort()];
    const ports = ["--http-port", String(httpPort), "--esa-port", String(esaPort)];
    const launcher = fileURLToPath(new URL("../bin/oddswire.js", import.meta.url));
    const child = spawn("node", [launcher, "demo", ...ports, ...options], { stdio: ["ignore", "pipe", "pipe"] });
    let printed = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (bytes) => (printed = (printed + bytes).slice(-8_000)));
    const url = `http://127.0.0.1:${httpPort}/`;
    const info = await answer(`${url}v1/info`, child);
    if (info !== null) return new Demo(child, url, esaPort, info as Info);
    child.kill("SIGKILL");
    throw new Error(`oddswire demo ${options.join(" ")} did not come up:\n${printed}`);
  }

  /** Asks it to stop; resolves to its exit code, null if it had to be killed. */
  async stop(): Promise<number | null> {
    if (this.#process.exitCode !== null) return this.#process.exitCode;
    const ended = new Promise<number | null>((resolve) => this.#process.once("exit", resolve));
    const limit = setTimeout(() => this.#process.kill("SIGKILL"), STOP_MS_MAX);
    this.#process.kill("SIGTERM");
    return ended.finally(() => clearTimeout(limit));
  }
}

/** The JSON at the address once it answers; null where the process ended or the time is over. */
async function answer(address: string, child: ChildProcess): Promise<unknown> {
  const deadline = performance.now() + START_MS_MAX;
  while (performance.now() < deadline && child.exitCode === null) {
    const response = await fetch(address).catch(() => null);
    if (response?.ok) return response.json();
    await Bun.sleep(100);
  }
  return null;
}
