import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import { generate } from "selfsigned";
import { systemClock } from "../src/base/clock.ts";
import { silentLog } from "../src/base/log.ts";
import { seededRandom, systemRandom } from "../src/base/random.ts";
import type { TlsClientOptions } from "../src/base/socket.ts";
import { bunDial, bunListen } from "../src/edge/sockets.ts";
import { bunPost, EXCHANGE_DEFAULTS, ExchangeClient } from "../src/exchange/client.ts";
import type { Credentials } from "../src/exchange/identity.ts";
import { IdentitySession, SESSION_DEFAULTS } from "../src/exchange/session.ts";
import { ALL_FIELDS } from "../src/market/types.ts";
import { SimExchange } from "../src/sim/exchange.ts";
import { SimIdentity } from "../src/sim/identity.ts";
import { freePort } from "./ports.ts";
import { FaultProxy } from "./proxy.ts";

const HOST = "127.0.0.1";
const ADA = { username: "ada", password: "secret" };
/** As in production, but in a hurry. */
const SETTINGS = {
  ...EXCHANGE_DEFAULTS.settings,
  heartbeatMs: 500,
  requestMs: 3_000,
  waits: {
    retry: { firstMs: 20, maxMs: 100 },
    later: { firstMs: 200, maxMs: 400 },
    slow: { firstMs: 1_000, maxMs: 1_000 },
  },
};

interface Pem {
  readonly cert: string;
  readonly key: string;
}
let own: Pem;
let expired: Pem;
let foreign: Pem;
let account: Pem;

beforeAll(async () => {
  [own, expired, foreign, account] = await Promise.all([
    certificate([HOST]),
    certificate([HOST], new Date(Date.now() - 60_000)),
    certificate(["other.example"]),
    certificate(["ada"]),
  ]);
});

async function certificate(names: readonly string[], until = new Date(Date.now() + 3_600_000)): Promise<Pem> {
  const { cert, private: key } = await generate([{ name: "commonName", value: names[0] as string }], {
    keyType: "ec",
    notBeforeDate: new Date(Date.now() - 3_600_000),
    notAfterDate: until,
    extensions: [
      { name: "basicConstraints", cA: true },
      {
        name: "subjectAltName",
        altNames: names.map((name) => (name === HOST ? { type: 7, ip: name } : { type: 2, value: name })),
      },
    ],
  });
  return { cert, key };
}

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

/** Exchange and identity service over TLS, a faulty way between, and the production client. */
async function setUp(options: { pem?: Pem; tls?: TlsClientOptions; credentials?: Credentials; host?: string } = {}) {
  const pem = options.pem ?? own;
  const random = seededRandom(1);
  const identity = new SimIdentity({ clock: systemClock, random, accounts: [ADA], appKeys: ["key"] });
  const exchange = new SimExchange({
    clock: systemClock,
    random,
    log: silentLog,
    sessions: identity,
    appKeys: ["key"],
    limits: { segmentBytes: 500 },
  });
  const port = await freePort();
  exchange.listen(bunListen, { host: HOST, port, tls: pem });
  undo.push(() => exchange.stop());
  const proxy = await FaultProxy.start(port);
  undo.push(() => proxy.stop());
  const server = Bun.serve({
    hostname: HOST,
    port: await freePort(),
    tls: { ...own, ...(options.credentials?.kind === "certificate" && { requestCert: true, ca: account.cert }) },
    fetch: identity.handle,
  });
  undo.push(() => server.stop(true));
  const base = `https://${HOST}:${server.port}/api`;
  const world = { clock: systemClock, random: systemRandom, log: silentLog };
  const session = new IdentitySession(
    {
      ...SESSION_DEFAULTS,
      appKey: "key",
      credentials: options.credentials ?? { kind: "interactive", ...ADA },
      hosts: { login: base, certLogin: base },
    },
    { ...world, post: bunPost(own.cert) },
  );
  const client = new ExchangeClient(
    {
      ...EXCHANGE_DEFAULTS,
      name: "exchange",
      host: options.host ?? HOST,
      port: proxy.port,
      tls: options.tls ?? { ca: own.cert },
      appKey: "key",
      filter: {},
      fields: ALL_FIELDS,
      settings: SETTINGS,
    },
    { ...world, dial: bunDial, session },
  );
  undo.push(() => client.stop());
  const heard = { changes: 0, said: [] as string[] };
  const start = () =>
    client.start({
      batch(batch) {
        heard.changes += batch.changes;
      },
      settled() {},
      state: (state, reason) => heard.said.push(`${state}: ${reason}`),
    });
  const publish = (id: string, tv: number) =>
    exchange.publish(Date.now(), [
      { id, tv, marketDefinition: { status: "OPEN", version: tv, runners: [] }, rc: [{ id: 1, ltp: tv }] },
    ]);
  return { identity, exchange, proxy, server, client, heard, start, publish };
}

async function until(true_: () => boolean, ms = 5_000): Promise<void> {
  for (const by = performance.now() + ms; !true_(); await pause(2))
    if (performance.now() > by) throw new Error(`not within ${ms} ms: ${true_}`);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

const live = (client: ExchangeClient) => () => client.sourceState === "live";

describe("the upstream, on real sockets", () => {
  test("logs in, authenticates and streams over TLS, by an authority of one's own", async () => {
    const { client, identity, heard, start, publish } = await setUp();
    publish("1.1", 1);
    start();
    await until(live(client));
    publish("1.1", 2);
    await until(() => heard.changes === 2);
    expect(identity.counters.logins).toBe(1);
    expect(client).toMatchObject({ connects: 1, images: 1, invalidLines: 0, connectionsAvailable: 9 });
  });

  test("by certificate, shown to an identity service that asks for one, and by no other", async () => {
    const right = await setUp({ credentials: { kind: "certificate", ...ADA, ...account } });
    right.start();
    await until(live(right.client));
    expect(right.identity.counters.logins).toBe(1);
    const wrong = await setUp({ credentials: { kind: "certificate", ...ADA, ...foreign } });
    wrong.start();
    await until(() => wrong.client.state.kind === "waiting");
    expect(wrong.identity.counters.logins).toBe(0);
  });

  const distrusted: readonly [string, () => Parameters<typeof setUp>[0]][] = [
    ["nobody vouches for", () => ({ tls: {} })],
    ["expired a minute ago", () => ({ pem: expired, tls: { ca: expired.cert } })],
    ["is another host's", () => ({ pem: foreign, tls: { ca: foreign.cert } })],
  ];
  for (const [what, options] of distrusted)
    test(`says nothing to an exchange whose certificate ${what}, and keeps trying`, async () => {
      const { client, exchange, proxy, start } = await setUp(options());
      start();
      await until(() => proxy.counts.connections >= 2);
      expect(client.connects).toBe(0);
      expect(exchange.counters.authentications + exchange.counters.authenticationsRefused).toBe(0);
      expect(client.sourceState).toBe("down");
    });

  test("a name that does not resolve is a reason to wait, not to crash", async () => {
    const { client, start } = await setUp({ host: "exchange.invalid" });
    start();
    await until(() => client.state.kind === "waiting" && client.state.memory.attempts >= 2);
    expect(client.state).toHaveProperty("reason");
  });

  test("cut, reset, half-open, sliced, refused: always back, resumed, one image", async () => {
    const { client, exchange, proxy, heard, start, publish } = await setUp();
    for (let market = 1; market <= 30; market++) publish(`1.${market}`, 1);
    start();
    await until(live(client));
    let tv = 1;
    const faults: [string, () => unknown][] = [
      ["cut", () => proxy.cut()],
      ["reset", () => proxy.reset()],
      ["half-open", () => proxy.halfOpen()],
      ["reset in mid-message", () => proxy.add({ limitBytes: 3_000, limitBy: "reset" }, "down")],
      [
        "refused for a while",
        async () => {
          await proxy.refuse(true);
          proxy.reset();
          await pause(60);
          await proxy.refuse(false);
        },
      ],
      ["sliced", () => proxy.add({ sliceBytes: 7 })],
      ["cut again", () => proxy.cut()],
    ];
    for (const [what, fault] of faults) {
      const connects = client.connects;
      await fault();
      for (let market = 1; market <= 30; market++) publish(`1.${market}`, ++tv);
      if (what !== "sliced") await until(() => client.connects > connects);
      if (what === "reset in mid-message") proxy.clear();
      await until(live(client));
    }
    const before = heard.changes;
    publish("1.1", ++tv);
    await until(() => heard.changes > before);
    expect([client.images, exchange.counters.images]).toEqual([1, 1]);
    expect(client.resumes).toBeGreaterThanOrEqual(6);
    expect(client.invalidLines).toBe(0);
  });

  test("a session that ends, an identity service that is down: back as soon as it is up, with a fresh token", async () => {
    const { client, exchange, identity, proxy, start } = await setUp();
    start();
    await until(live(client));
    identity.expire();
    identity.knobs.httpStatus = 503;
    await pause(100);
    expect(client.sourceState).toBe("live");
    proxy.cut();
    await until(() => exchange.counters.authenticationsRefused === 1 && client.state.kind === "waiting");
    identity.knobs.httpStatus = null;
    await until(live(client));
    expect(identity.counters.logins).toBe(2);
    expect([client.images, client.resumes]).toEqual([1, 1]);
  });

  test("a password that is wrong is given up, not tried again and again", async () => {
    const { client, identity, start, heard } = await setUp({
      credentials: { kind: "interactive", ...ADA, password: "wrong" },
    });
    start();
    await until(() => client.state.kind === "failed");
    await pause(200);
    expect(identity.counters.refused).toBe(1);
    expect(heard.said).toEqual(["down: no session: INVALID_USERNAME_OR_PASSWORD"]);
  });
});

describe("bunPost", () => {
  const signal = () => AbortSignal.timeout(5_000);
  const ask = (port: number, ca?: string, more: object = {}) =>
    bunPost(ca)({ url: `https://${HOST}:${port}/x`, headers: {}, body: "b", signal: signal(), ...more });

  async function serve(pem: Pem, answer: (request: Request) => Response | Promise<Response>): Promise<number> {
    const server = Bun.serve({
      hostname: HOST,
      port: await freePort(),
      tls: pem,
      fetch: answer,
    });
    undo.push(() => server.stop(true));
    return server.port as number;
  }

  test("posts to whom it trusts, and to nobody else", async () => {
    let asked = 0;
    const answer = async (request: Request) => {
      asked++;
      return new Response(`${request.method} ${await request.text()}`, { status: 418 });
    };
    expect(await ask(await serve(own, answer), own.cert)).toEqual({ status: 418, body: "POST b" });
    await expect(ask(await serve(own, answer))).rejects.toThrow();
    await expect(ask(await serve(expired, answer), expired.cert)).rejects.toThrow();
    await expect(ask(await serve(foreign, answer), foreign.cert)).rejects.toThrow();
    expect(asked).toBe(1);
  });

  test("follows no redirect, takes no endless answer, and hears its signal", async () => {
    const away = await serve(own, () => Response.redirect("https://elsewhere.invalid/", 302));
    expect((await ask(away, own.cert)).status).toBe(302);
    const endless = await serve(own, () => new Response("x".repeat(100_000)));
    await expect(ask(endless, own.cert)).rejects.toThrow("more than 65536 bytes");
    const never = await serve(own, () => new Promise(() => {}));
    const gone = new AbortController();
    const waiting = ask(never, own.cert, { signal: gone.signal });
    gone.abort();
    await expect(waiting).rejects.toThrow();
  });
});
