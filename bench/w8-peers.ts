import { execFile } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
/** No dependencies of the product: the bench fetches them by itself, once. */
const CACHE = fileURLToPath(new URL("../node_modules/.cache/oddswire-peers/", import.meta.url));
const INSTALL_MS_MAX = 300_000;

export interface Peer {
  readonly name: "ws" | "uwebsockets" | "socket.io" | "nats-server";
  readonly version: string;
  /** In bench/peers/; null: it is a server by itself. */
  readonly script: string | null;
}

export const PEERS: readonly Peer[] = [
  { name: "ws", version: "8.23.0", script: "ws.js" },
  { name: "uwebsockets", version: "3.0.6", script: "uwebsockets.js" },
  { name: "socket.io", version: "4.8.4", script: "socketio.js" },
  { name: "nats-server", version: "2.15.2", script: null },
];

/** Where it is; or in words why it is not to be had. */
export type Installed =
  | { readonly kind: "there"; readonly at: string }
  | { readonly kind: "missing"; readonly why: string };

/** Installs a peer where it is not yet: a folder to require it from, or a program. */
export async function installed({ name, version, script }: Peer): Promise<Installed> {
  const folder = join(CACHE, `${name}-${version}`);
  const at = script === null ? join(folder, name) : folder;
  if (existsSync(script === null ? at : join(folder, "node_modules", name, "package.json")))
    return { kind: "there", at };
  try {
    mkdirSync(folder, { recursive: true });
    if (script === null) await goInstall(`github.com/nats-io/nats-server/v2@v${version}`, folder);
    else await npmInstall(`${name}@${version}`, folder);
    return { kind: "there", at };
  } catch (error) {
    const { code, stderr, message } = error as Error & { code?: unknown; stderr?: string };
    if (code === "ENOENT")
      return { kind: "missing", why: script === null ? "needs Go to install" : "needs npm to install" };
    return { kind: "missing", why: `does not install: ${(stderr || message).trim().split("\n")[0]}` };
  }
}

async function npmInstall(what: string, folder: string): Promise<void> {
  const args = ["install", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts", what];
  await run("npm", args, { timeout: INSTALL_MS_MAX });
}

async function goInstall(what: string, folder: string): Promise<void> {
  const env = { ...process.env, GOBIN: folder, GOTOOLCHAIN: "local" };
  await run("go", ["install", what], { timeout: INSTALL_MS_MAX, env });
}
