import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connect } from "../client/connection.ts";
import { webSocketWire } from "../client/wire.ts";
import { type Gateway, startGateway } from "../src/app.ts";
import { systemClock } from "../src/base/clock.ts";
import { silentLog } from "../src/base/log.ts";
import { seededRandom } from "../src/base/random.ts";
import { parseConfig } from "../src/config.ts";
import { bunListen } from "../src/edge/sockets.ts";
import { loopbackCertificate } from "../src/sim/certificate.ts";
import { SimExchange } from "../src/sim/exchange.ts";
import { hashPassword } from "../src/tenancy/passwords.ts";
import { authority } from "./authority.ts";
import { Demo } from "./demo.ts";
import { betfairlightweight } from "./parts.ts";
import { HASTE, until } from "./stage.ts";

const HOST = "127.0.0.1";
const PASSWORD = "pass & wörd=";
const LIFETIME_MS = 2_000;
const python = betfairlightweight();
const folder = mkdtempSync(join(tmpdir(), "oddswire-identity-"));

/** What identity_client.py prints of each step. */
interface Step {
  readonly step: string;
  readonly error: string | null;
  readonly token: string | null;
  readonly result: unknown;
}

let exchange: SimExchange;
let gateway: Gateway;
let caFile: string;
let certLoginPort: number;

beforeAll(async () => {
  const [own, ours, theirs] = [await loopbackCertificate(), await authority(), await authority()];
  caFile = file("server.pem", own.cert);
  for (const [name, { cert, key }] of [
    ["ann", await ours.sign("ann-bot")],
    ["foreign", await theirs.sign("ann-bot")],
  ] as const)
    file(`${name}.pem`, cert) && file(`${name}.key`, key);
  const tls = { host: HOST, port: 0, certFile: caFile, keyFile: file("server.key", own.key) };
  exchange = new SimExchange({
    clock: systemClock,
    random: seededRandom(1),
    log: silentLog,
    sessions: { accountOf: () => "oddswire" },
    appKeys: ["up"],
  });
  const { port } = exchange.listen(bunListen, { host: HOST, port: 0 });
  const free = { host: HOST, port: 0 };
  const config = parseConfig({
    exchange: { host: HOST, port, tls: false, session: "up", appKey: "up", heartbeatMs: 500, retryFirstMs: 20 },
    doors: {
      http: free,
      websocket: free,
      esa: free,
      https: tls,
      certLogin: { ...tls, clientCaFile: file("clients.pem", ours.cert) },
    },
    appKeys: ["our-key"],
    sessions: { lifetimeMs: LIFETIME_MS },
    visitors: [
      { name: "ann", username: "ann", passwordHash: await hashPassword(PASSWORD, crypto), certName: "ann-bot" },
    ],
  });
  gateway = await startGateway(config, { log: silentLog });
  const { https } = (await (await fetch(`${gateway.httpUrl}v1/info`)).json()) as { https: { certLoginPort: number } };
  certLoginPort = https.certLoginPort;
  publish();
  await until(() => gateway.isReady, "ready");
});

afterAll(async () => {
  await gateway.stop();
  exchange.stop();
  rmSync(folder, { recursive: true });
});

let published = 0;
function publish(): void {
  const definition = { status: "OPEN", version: 1, runners: [{ id: 7, sortPriority: 1, status: "ACTIVE" }] };
  const change = { id: "1.5", img: true, marketDefinition: definition, rc: [{ id: 7, ltp: ++published }] };
  exchange.publish(Date.now(), [change] as never);
}

function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

describe.skipIf(python.kind === "missing")("the real betfairlightweight, with a name and a password of ours", () => {
  test("logs in, streams, keeps alive past the token's lifetime, logs out; after that its token is none", async () => {
    const steps = "login_interactive,stream,sleep:1.2,keep_alive,sleep:1.2,stream,logout,keep_alive";
    const done = await follow(`${gateway.httpsUrl}api/`, steps);
    expect(done.map(({ step, error }) => [step, error])).toEqual([
      ["login_interactive", null],
      ["stream", null],
      ["sleep:1.2", null],
      ["keep_alive", null],
      ["sleep:1.2", null],
      ["stream", null],
      ["logout", null],
      ["keep_alive", "KeepAliveError: API keepAlive FAIL: NO_SESSION"],
    ]);
    const token = done[0]?.token as string;
    expect(token).toMatch(/^[A-Za-z0-9+/]{43}=$/);
    expect(done[3]).toMatchObject({ token, result: { token, product: "our-key", status: "SUCCESS", error: "" } });
    expect([done[1]?.result, done[5]?.result, done[6]?.token]).toEqual([1, 1, null]);
  }, 20_000);

  test("is told when its token has ended, as the exchange tells it", async () => {
    const done = await follow(`${gateway.httpsUrl}api/`, "login_interactive,sleep:2.1,keep_alive,stream");
    expect(done.map(({ error }) => error)).toEqual([
      null,
      null,
      "KeepAliveError: API keepAlive FAIL: NO_SESSION",
      expect.stringContaining("INVALID_SESSION_INFORMATION"),
    ]);
  }, 20_000);

  test("logs in by certificate where the name in it is the user's", async () => {
    const login = async (certificate: string | null, password = PASSWORD) => {
      const paths = [join(folder, `${certificate}.pem`), join(folder, `${certificate}.key`)];
      const more = certificate === null ? [] : ["--cert", ...paths];
      const [done] = await follow(`https://${HOST}:${certLoginPort}/api/`, "login", more, password);
      return done?.error;
    };
    expect(await login("ann")).toBe(null);
    expect(await login("foreign")).toBe("LoginError: API login: CERT_AUTH_REQUIRED");
    expect(await login("ann", "wrong")).toBe("LoginError: API login: INVALID_USERNAME_OR_PASSWORD");
    const [plain] = await follow(`${gateway.httpsUrl}api/`, "login", ["--cert", ...pair("ann")]);
    expect(plain?.error).toBe("LoginError: API login: CERT_AUTH_REQUIRED");
  }, 20_000);

  test("hears what is wrong in the exchange's words", async () => {
    const error = async (password: string, more: string[]) =>
      (await follow(`${gateway.httpsUrl}api/`, "login_interactive", more, password))[0]?.error;
    expect(await error("wrong", [])).toBe("LoginError: API login: INVALID_USERNAME_OR_PASSWORD");
    expect(await error(PASSWORD, ["--app-key", "other"])).toBe("LoginError: API login: INVALID_APP_KEY");
  }, 20_000);
});

test("a stream goes on when its token has ended; who comes anew needs another", async () => {
  const token = await tokenFor("ann", PASSWORD);
  const options = { wire: webSocketWire(gateway.websocketUrl as string), appKey: "our-key", random: HASTE };
  const connection = connect({ ...options, session: token, clock: systemClock });
  const subscription = connection.subscribe({ heartbeatMs: 500 });
  await until(() => subscription.state.kind === "live", "live");
  const headers = { "X-Application": "our-key", "X-Authentication": token };
  const left = await fetch(`${gateway.httpUrl}api/logout`, { method: "POST", headers });
  expect(await left.json()).toEqual({ token, product: "our-key", status: "SUCCESS", error: "" });
  publish();
  const seen = () => subscription.books.get("1.5")?.runner(7)?.ltp;
  await until(() => seen() === published, "what was published after the logout");
  const refused = await fetch(`${gateway.httpUrl}v1/markets`, { headers: { Authorization: `Bearer ${token}` } });
  expect([refused.status, await refused.json()]).toMatchObject([401, { code: "INVALID_SESSION_INFORMATION" }]);
  connection.close();
});

describe.skipIf(python.kind === "missing")("the demo", () => {
  test("lets a betfairlightweight log in with what it shows, by either way, and stream", async () => {
    const demo = await Demo.start("--https-port", "0");
    try {
      const { https } = demo.info as unknown as { https: { port: number } };
      const steps = "login_interactive,keep_alive,stream,logout,login,stream";
      const account = ["--username", "demo", "--app-key", "demo-app-key", "--esa-port", String(demo.esaPort)];
      const more = [...account, "--cert", ...pair("ann"), "--lightweight"];
      const done = await follow(`http://${HOST}:${new URL(demo.url).port}/api/`, steps, more, "demo-password");
      expect(done.map(({ step, error }) => [step, error])).toEqual(steps.split(",").map((step) => [step, null]));
      const there = await fetch(`https://${HOST}:${https.port}/livez`, { tls: { rejectUnauthorized: false } });
      expect(there.status).toBe(200);
    } finally {
      await demo.stop();
    }
  }, 40_000);
});

async function tokenFor(username: string, password: string): Promise<string> {
  const body = new URLSearchParams({ username, password });
  const headers = { "X-Application": "our-key" };
  const response = await fetch(`${gateway.httpUrl}api/login`, { method: "POST", headers, body });
  return ((await response.json()) as { token: string }).token;
}

function pair(name: string): string[] {
  return [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
}

/** Has betfairlightweight do these steps; `more` wins over what is said before it. */
function follow(identity: string, steps: string, more: string[] = [], password = PASSWORD): Promise<Step[]> {
  const script = fileURLToPath(new URL("real/identity_client.py", import.meta.url));
  const said = {
    identity,
    steps,
    password,
    username: "ann",
    "app-key": "our-key",
    "esa-port": String(gateway.esaPort),
  };
  const args = [script, ...Object.entries(said).flatMap(([name, value]) => [`--${name}`, value]), ...more];
  const env = { ...process.env, REQUESTS_CA_BUNDLE: caFile };
  const child = spawn(python.path, args, { stdio: ["ignore", "pipe", "pipe"], env });
  let [printed, complaints] = ["", ""];
  child.stdout.on("data", (bytes) => (printed += bytes));
  child.stderr.on("data", (bytes) => (complaints += bytes));
  return new Promise((resolve, reject) =>
    child.on("close", (code) =>
      code === 0
        ? resolve(JSON.parse(printed))
        : reject(new Error(`identity_client.py exited with ${code}: ${complaints}`)),
    ),
  );
}
