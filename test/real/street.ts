import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { generate } from "selfsigned";
import type { ConfigInput } from "../../src/config.ts";
import { type Certificate, loopbackCertificate } from "../../src/sim/certificate.ts";
import type { MarketChange } from "../../src/sim/naive.ts";
import type { ExchangePlan } from "./exchange.ts";
import { Companion, Namespace, type Program } from "./namespace.ts";

/** Where a program believes the exchange to be: at the exchange, at Oddswire, at Oddswire by a way that can be cut, or at a hostile exchange. */
export type Way = "exchange" | "oddswire" | "relay" | "hostile";

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

const STREAMS = ["stream-api.betfair.com", "sports-data-stream-api.betfair.com"];
const SERVICES = ["identitysso.betfair.com", "identitysso-cert.betfair.com", "api.betfair.com"];
/** Loopback addresses, so that several programs have a port 443. */
const AT = { stream: "127.0.1.1", services: "127.0.1.2", hostile: "127.0.1.3", relay: "127.0.1.4" };
const READY_MS_MAX = 20_000;
const HERE = fileURLToPath(new URL(".", import.meta.url));
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const GUIDE = readFileSync(`${ROOT}docs/MIGRATION.md`, "utf8");

/** Who may come in at the exchange: the gateway's own account, and the one of clients that go there directly. */
export const GATEWAY: Credentials = { username: "YOUR-NAME", password: "gateway-password" };
/** Of the gateway's logins. */
const SECRET = "a secret for tests, thirty-two letters or more";
export const APP_KEY = "YOUR-APP-KEY";

/** The lines and the configuration that docs/MIGRATION.md tells people to write. */
export const GUIDED = {
  hosts: fenced("hosts").split("\n"),
  config: fenced("json"),
  certificates: fenced("sh"),
  shadow: fenced("").replaceAll("\\\n", " "),
};

/** What the exchange has been given to play. */
export interface Held {
  readonly messages: number;
  readonly markets: readonly string[];
}

/** What was played by one call, and by all so far. */
export interface Played {
  readonly messages: number;
  readonly changes: number;
  readonly messagesEver: number;
  readonly changesEver: number;
}

/** Known at the exchange and at Oddswire by the same name and password, so that a client need not change them. */
const CLIENT: Credentials = JSON.parse(GUIDED.config).visitors[0];

/** The exchange, Oddswire moved in as docs/MIGRATION.md says, and room for clients: all in a namespace, under the exchange's own names, on port 443. */
export class Street {
  readonly namespace: Namespace;
  readonly exchange: Companion;
  gateway: Program;
  readonly #hosts: Record<Way, string>;

  private constructor(namespace: Namespace, exchange: Companion) {
    this.namespace = namespace;
    this.exchange = exchange;
    const to = (stream: string, services: string) => [
      `${stream} ${STREAMS.join(" ")}`,
      `${services} ${SERVICES.join(" ")}`,
    ];
    this.#hosts = {
      exchange: namespace.hosts("exchange", to(AT.stream, AT.services)),
      oddswire: namespace.hosts("oddswire", GUIDED.hosts),
      relay: namespace.hosts("relay", [`${AT.relay} ${STREAMS.join(" ")}`, ...GUIDED.hosts.slice(1)]),
      hostile: namespace.hosts("hostile", to(AT.hostile, AT.services)),
    };
    this.gateway = this.#startGateway();
  }

  /** Opens it; `change` makes what a test needs of the guide's configuration. */
  static async open(change: (config: ConfigInput) => ConfigInput = (config) => config): Promise<Street> {
    const namespace = await Namespace.open(GUIDED.hosts.map((line) => line.split(/\s+/)[0] as string).filter(first));
    try {
      const certificate = await loopbackCertificate([...STREAMS, ...SERVICES]);
      await writeFiles(namespace.folder, certificate, change);
      const street = new Street(namespace, startExchange(namespace, certificate));
      await street.ready();
      return street;
    } catch (error) {
      await namespace.close();
      throw error;
    }
  }

  /** A program of real clients; what is at the end of the `way` it takes for the exchange. */
  clients(way: Way, python: string, script: string, account: Credentials = CLIENT): Companion {
    const { folder } = this.namespace;
    const env = {
      REQUESTS_CA_BUNDLE: `${folder}/${way === "oddswire" || way === "relay" ? "ca" : "exchange"}.crt`,
      ODDSWIRE_TEST_APP_KEY: APP_KEY,
      ODDSWIRE_TEST_CERT: `${folder}/client.crt`,
      ODDSWIRE_TEST_KEY: `${folder}/client.key`,
      ODDSWIRE_TEST_USERNAME: account.username,
      ODDSWIRE_TEST_PASSWORD: account.password,
    };
    return new Companion(this.namespace.start([python, `${HERE}${script}`], this.#hosts[way], env));
  }

  /** Compares the exchange and Oddswire as the guide says, for a shorter time; what it printed, and its exit code. */
  async shadow(minutes: number): Promise<{ readonly code: number | null; readonly report: string }> {
    const { folder } = this.namespace;
    const all = ["ca", "exchange"].map((name) => readFileSync(`${folder}/${name}.crt`, "utf8"));
    writeFileSync(`${folder}/all.crt`, all.join(""));
    const script = GUIDED.shadow
      .replace("DIRECT_PASSWORD=…", `DIRECT_PASSWORD=${GATEWAY.password}`)
      .replace("npx oddswire", `node ${ROOT}bin/oddswire.js`)
      .replace("all.crt", `${folder}/all.crt`)
      .replace("--app-key KEY", `--app-key ${APP_KEY}`)
      .replace("NAME", GATEWAY.username)
      .replace("--minutes 60", `--minutes ${minutes}`)
      .replace("shadow.json", `${folder}/shadow.json`);
    const program = this.namespace.start(["sh", "-e", "-c", script], this.#hosts.exchange);
    let report = "";
    program.process.stdout?.on("data", (bytes) => {
      report += bytes;
    });
    const [code] = await once(program.process, "close");
    return { code, report: report + program.errors };
  }

  /** Ends the gateway as a deployment does, and starts another. */
  async restartGateway(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    await this.gateway.end(signal);
    this.gateway = this.#startGateway();
    await this.ready();
  }

  /** The exchange plays the next so many messages of what it holds; resolves when Oddswire has them. */
  async play(messages: number): Promise<Played> {
    const before = await this.#changes();
    const played = await this.exchange.ask<Played>("play", { messages });
    while ((await this.#changes()) < before + played.changes) await Bun.sleep(1);
    return played;
  }

  /** The exchange publishes these, `laterMs` ahead of its time; resolves when Oddswire has them. */
  async publish(changes: readonly MarketChange[], laterMs = 0): Promise<void> {
    const before = await this.#changes();
    await this.exchange.ask("publish", { changes, laterMs });
    while ((await this.#changes()) < before + changes.length) await Bun.sleep(1);
  }

  /** Market changes that Oddswire has taken in. */
  async #changes(): Promise<number> {
    const url = "http://127.0.0.1:8080/v1/info";
    return JSON.parse((await this.exchange.ask<{ text: string }>("fetch", { url })).text).feed.changes;
  }

  /** Waits until Oddswire has the exchange's image. */
  async ready(): Promise<void> {
    const deadline = performance.now() + READY_MS_MAX;
    while (performance.now() < deadline && this.gateway.process.exitCode === null) {
      const answer = await this.exchange.ask<{ status: number } | null>("fetch", {
        url: "http://127.0.0.1:8080/readyz",
      });
      if (answer?.status === 200) return;
      await Bun.sleep(20);
    }
    throw new Error(`Oddswire did not become ready: ${this.gateway.errors}`);
  }

  close(): Promise<void> {
    return this.namespace.close();
  }

  /** It lives where the names mean the exchange. */
  #startGateway(): Program {
    const { folder } = this.namespace;
    const command = ["node", `${ROOT}bin/oddswire.js`, "serve", "--config", `${folder}/oddswire.json`];
    const env = {
      ODDSWIRE_EXCHANGE_PASSWORD: GATEWAY.password,
      ODDSWIRE_SESSIONS_SECRET: SECRET,
      ODDSWIRE_EXCHANGE_CA_FILE: `${folder}/exchange.crt`,
    };
    return this.namespace.start(command, this.#hosts.exchange, env);
  }
}

/** Polls until it is so; an error when it is not so in time. */
export async function until(holds: () => Promise<boolean>, msMax = 10_000): Promise<void> {
  const deadline = performance.now() + msMax;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within ${msMax} ms`);
    await Bun.sleep(20);
  }
}

function startExchange(namespace: Namespace, certificate: Certificate): Companion {
  const plan: ExchangePlan = {
    certificate,
    appKey: APP_KEY,
    accounts: [GATEWAY, CLIENT],
    streamHost: AT.stream,
    httpsHost: AT.services,
    hostileHost: AT.hostile,
    relayHost: AT.relay,
    relayTo: GUIDED.hosts[0]?.split(/\s+/)[0] as string,
  };
  const command = [process.execPath, `${HERE}exchange.ts`, JSON.stringify(plan)];
  return new Companion(namespace.start(command, namespace.hosts("plain", [])));
}

/** What /etc/oddswire holds in the guide, made as it says; the exchange's certificate, which is another; and that of a client, self-signed as they are. */
async function writeFiles(
  folder: string,
  exchange: Certificate,
  change: (config: ConfigInput) => ConfigInput,
): Promise<void> {
  const made = spawnSync("sh", ["-e", "-c", GUIDED.certificates], { cwd: folder, encoding: "utf8" });
  if (made.status !== 0) throw new Error(`the guide's certificates: ${made.stderr}`);
  const client = await generate([{ name: "commonName", value: CLIENT.username }], {
    keyType: "ec",
    algorithm: "sha256",
  });
  const config = change(JSON.parse(GUIDED.config.replaceAll("/etc/oddswire", folder)));
  const files = {
    "exchange.crt": exchange.cert,
    "clients.crt": client.cert,
    "client.crt": client.cert,
    "client.key": client.private,
    "oddswire.json": JSON.stringify(config),
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(`${folder}/${name}`, text, { mode: 0o600 });
}

/** The guide's first block of that language; of none, where that is "". */
function fenced(language: string): string {
  const block = new RegExp(`\\n\\n\`\`\`${language}\\n([\\s\\S]*?)\\n\`\`\``).exec(GUIDE)?.[1];
  if (block === undefined) throw new Error(`docs/MIGRATION.md has no block of ${language}`);
  return block;
}

function first(value: string, at: number, all: readonly string[]): boolean {
  return all.indexOf(value) === at;
}
