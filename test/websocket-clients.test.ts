import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Browser, chromium as driver } from "playwright-core";
import { startGateway } from "../src/app.ts";
import { type Clock, systemClock } from "../src/base/clock.ts";
import { silentLog } from "../src/base/log.ts";
import { seededRandom } from "../src/base/random.ts";
import { parseConfig } from "../src/config.ts";
import { Lobby } from "../src/edge/lobby.ts";
import { bunListen } from "../src/edge/sockets.ts";
import { FakeHub } from "../src/edge/testing.ts";
import { PONG_MS_MAX, QUIET_MS_MAX, WebSocketDoor } from "../src/edge/websocket.ts";
import { SimExchange } from "../src/sim/exchange.ts";
import { type MarketChange, NaiveBook } from "../src/sim/naive.ts";
import { TokenList } from "../src/tenancy/tokens.ts";
import { betfairlightweight, chromium } from "./parts.ts";
import { until } from "./stage.ts";

/** The WebSocket clients that people have: each comes, authenticates, subscribes, has its image and its changes, asks for a pong, is asked for one, and leaves. */
const HOST = "127.0.0.1";
const SESSION = "clients-session";
const UPSTREAM = { session: "upstream-token", appKey: "stage-app-key" };
const SCRIPTS = fileURLToPath(new URL("real/", import.meta.url));
const [browserPart, pythonPart] = [chromium(), betfairlightweight()];

const exchange = new SimExchange({
  clock: systemClock,
  random: seededRandom(1),
  log: silentLog,
  sessions: { accountOf: (token) => (token === UPSTREAM.session ? "stage" : null) },
  appKeys: [UPSTREAM.appKey],
});
const MARKETS = ["1.1", "1.2", "1.3"];
const runners = [1, 2].map((id) => ({ id, status: "ACTIVE", sortPriority: id, name: `Läufer ${id} 🐎` }));
const born = MARKETS.map((id) => ({
  id,
  img: true,
  marketDefinition: { status: "OPEN", version: 1, eventTypeId: "7", runners },
  rc: runners.map((runner) => ({ id: runner.id, ltp: 2, atb: [[2, 10.55]] as const, atl: [[2.02, 3]] as const })),
}));
let gateway: Awaited<ReturnType<typeof startGateway>>;
let browser: Browser | null = null;

/** A door on a clock that runs a hundred times as fast: who says nothing is asked for a pong after 300 ms, and dropped 150 ms later. */
const HASTE = 100;
const hurried: Clock = {
  wall: () => systemClock.wall(),
  monotonic: () => systemClock.monotonic() * HASTE,
  after: (ms, fire) => systemClock.after(ms / HASTE, fire),
};
const lobby = new Lobby({
  hub: new FakeHub(),
  tokens: new TokenList([{ token: SESSION, name: "ann" }]),
  clock: hurried,
  connectionsMax: 10,
});
let impatient: WebSocketDoor;

beforeAll(async () => {
  const free = { host: HOST, port: 0 };
  const { port } = exchange.listen(bunListen, free);
  publish(born);
  gateway = await startGateway(
    parseConfig({
      exchange: { host: HOST, port, tls: false, ...UPSTREAM },
      doors: { http: free, websocket: free },
      visitors: [{ token: SESSION, name: "ann" }],
    }),
    { log: silentLog },
  );
  impatient = new WebSocketDoor({ listen: bunListen, at: free, lobby, log: silentLog });
  if (browserPart.kind === "present")
    browser = await driver.launch({ executablePath: browserPart.path, args: ["--no-sandbox"] });
  await until(() => gateway.isReady, "the gateway has its image");
}, 30_000);

afterAll(async () => {
  await browser?.close();
  impatient.stop();
  await gateway.stop();
  exchange.stop();
}, 30_000);

function publish(changes: readonly MarketChange[]): void {
  exchange.publish(Date.now(), changes);
}

type How = "follow" | "linger" | "wrong";
/** Lets a client do it; hands on each line that it says, and ends when it has. */
type Client = (url: string, session: string, how: How, line: (line: string) => void) => Promise<void>;

const program =
  (command: string, script: string): Client =>
  async (url, session, how, line) => {
    const child = spawn(command, [SCRIPTS + script, url, session, how], { stdio: ["ignore", "pipe", "inherit"] });
    for await (const one of createInterface(child.stdout)) line(one);
  };

const inChromium: Client = async (url, session, how, line) => {
  const page = await (browser as Browser).newPage();
  await page.exposeFunction("line", line);
  await page.evaluate(inBrowser, { url, session, how });
  await page.close();
};

/** Runs in the page: there is no way to ask for a pong from there. */
function inBrowser({ url, session, how }: { url: string; session: string; how: How }): Promise<void> {
  const say = (globalThis as unknown as { line(line: string): Promise<void> }).line;
  const socket = new WebSocket(url);
  const send = (message: object) => socket.send(JSON.stringify(message));
  socket.onopen = () => {
    send({ op: "authentication", id: 1, appKey: "k", session });
    send({ op: "marketSubscription", id: 2, heartbeatMs: 500 });
    if (how === "linger") setTimeout(() => socket.close(1000, "enough"), 1_200);
  };
  socket.onmessage = ({ data }) => {
    if (how === "linger") return;
    void say(`message ${data}`);
    if (/"ltp":77\b/.test(data)) socket.close(1000, "done");
  };
  return new Promise((resolve) => {
    socket.onclose = ({ code, reason, wasClean }) =>
      void say(`closed ${code} ${reason}${wasClean ? "" : " not clean"}`).then(resolve);
  });
}

const clients: readonly { name: string; client: Client; isMissing: boolean; mayPing: boolean }[] = [
  { name: "ws, on Node", client: program("node", "websocket-client.mjs"), isMissing: false, mayPing: true },
  {
    name: "Python's websockets",
    client: program(pythonPart.path, "websocket_client.py"),
    isMissing: pythonPart.kind === "missing",
    mayPing: true,
  },
  { name: "Chromium", client: inChromium, isMissing: browserPart.kind === "missing", mayPing: false },
];

for (const [n, { name, client, isMissing, mayPing }] of clients.entries()) {
  describe.skipIf(isMissing)(name, () => {
    test("has an image and what changes, books right, a pong, and a clean end", async () => {
      const lines: string[] = [];
      const done = client(gateway.websocketUrl as string, SESSION, "follow", (line) => lines.push(line));
      const messages = () =>
        lines.filter((line) => line.startsWith("message")).map((line) => JSON.parse(line.slice(8)));
      await until(() => messages().some(({ ct }) => ct === "SUB_IMAGE"), `${name} has its image`);
      await until(() => messages().some(({ ct }) => ct === "HEARTBEAT"), `${name} has a heartbeat`);
      const prices = [3, 4, 5].map((price) => price + n / 10);
      for (const ltp of prices) publish(MARKETS.map((id) => ({ id, rc: [{ id: 1, ltp, atb: [[2, ltp]] }] })));
      publish([{ id: "1.3", rc: [{ id: 2, ltp: 77 }] }]);
      await done;
      publish([{ id: "1.3", rc: [{ id: 2, ltp: 2 }] }]);

      const books = MARKETS.map((id) => new NaiveBook(id));
      for (const book of books)
        for (const { mc = [] } of messages())
          for (const change of mc) if (change.id === book.market) book.apply(change);
      const expected = MARKETS.map((id, at) => {
        const book = new NaiveBook(id);
        const last = { id, rc: [{ id: 1, ltp: prices.at(-1), atb: [[2, prices.at(-1)]] }] } as unknown as MarketChange;
        for (const change of [born[at] as MarketChange, last]) book.apply(change);
        if (id === "1.3") book.apply({ id, rc: [{ id: 2, ltp: 77 }] });
        return book.state();
      });
      expect(books.map((book) => book.state())).toEqual(expected);
      expect(books[0]?.definition?.runners?.[0]?.name).toBe("Läufer 1 🐎");
      // The code comes back, clean; of a reason nobody hears again.
      const end = lines.filter((line) => !line.startsWith("message"));
      expect(end).toEqual([...(mayPing ? ["pong"] : []), "closed 1000 "]);
    }, 20_000);

    test("answers when it is asked for a pong: it may be silent for as long as it likes", async () => {
      const lines: string[] = [];
      const before = performance.now();
      const url = `ws://${HOST}:${impatient.port}/v1/ws`;
      await client(url, SESSION, "linger", (line) => lines.push(line));
      expect(performance.now() - before).toBeGreaterThan((2 * (QUIET_MS_MAX + PONG_MS_MAX)) / HASTE);
      expect(lines).toHaveLength(1);
      expect(lines[0]).toStartWith("closed 1000");
    }, 20_000);

    test("hears why it is refused", async () => {
      const lines: string[] = [];
      await client(gateway.websocketUrl as string, "wrong", "wrong", (line) => lines.push(line));
      expect(lines.at(-1)).toBe("closed 4105 the session token is not valid");
    }, 20_000);
  });
}
