import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { systemClock } from "../src/base/clock.ts";
import { seededRandom } from "../src/base/random.ts";
import { bunDial } from "../src/edge/sockets.ts";
import { type ExchangeMessage, Visitor } from "../src/sim/exchange-visitor.ts";
import { type MarketChange, NaiveBook } from "../src/sim/naive.ts";
import { NaiveOrders, type OrderEntry, type View } from "../src/sim/naive-orders.ts";
import { NaiveSports, type SportEntry } from "../src/sim/naive-sports.ts";
import { orderMethods } from "../src/sim/order-methods.ts";
import { Punters, STRATEGY_REFS } from "../src/sim/punters.ts";
import { truth } from "./order-truth.ts";
import { promtool } from "./parts.ts";
import { until } from "./stage.ts";
import { HOST, houses, LOGIN, WORKERS, type WorkerGateway } from "./worker-house.ts";

/** What an operator has of one process is to be had of several. */
const judge = promtool();
const EDGES = Array.from({ length: WORKERS }, (_, n) => `edge-${n + 1}`);

const openHouse = houses();

async function scrape({ metrics }: WorkerGateway, accept = "text/plain"): Promise<string> {
  return (await fetch(metrics as string, { headers: { Accept: accept } })).text();
}

async function eventually(holds: () => Promise<boolean>, msMax = 10_000): Promise<void> {
  for (const until = performance.now() + msMax; !(await holds()); await Bun.sleep(10))
    if (performance.now() > until) throw new Error(`not within ${msMax} ms: ${holds}`);
}

function figure(text: string, name: string): number | null {
  const line = text.split("\n").find((line) => line.startsWith(`${name} `));
  return line === undefined ? null : Number(line.slice(name.length));
}

test("one scrape tells of all workers, of those too that do not answer, and of the file of books", async () => {
  const house = openHouse();
  const snapshot = { file: house.path("books") };
  const gateway = await house.open({ metrics: { host: HOST, port: 0 }, snapshot });
  await gateway.ready();
  await eventually(async () => figure(await scrape(gateway), 'oddswire_snapshot_writes_total{worker="ingest"}') === 1);
  const text = await scrape(gateway);
  for (const worker of ["ingest", ...EDGES]) {
    expect(figure(text, `oddswire_worker_up{worker="${worker}"}`)).toBe(1);
    expect(figure(text, `oddswire_markets{worker="${worker}"}`)).toBe(60);
    expect(figure(text, `process_resident_memory_bytes{worker="${worker}"}`)).toBeGreaterThan(1e7);
  }
  expect(figure(text, 'oddswire_bus_followers{worker="ingest"}')).toBe(WORKERS);
  expect(figure(text, 'oddswire_users{worker="edge-3",state="in_step"}')).toBe(0);
  expect(figure(text, 'oddswire_users{worker="ingest",state="in_step"}')).toBeNull();
  expect(figure(text, 'oddswire_snapshot_bytes{worker="ingest"}')).toBeGreaterThan(1e4);
  expect(figure(text, 'oddswire_snapshot_age_seconds{worker="ingest"}')).toBeLessThan(30);
  expect(figure(text, 'oddswire_snapshot_failing{worker="ingest"}')).toBe(0);
  const families = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
  expect(new Set(families).size).toBe(families.length);
  expect((await scrape(gateway, "application/openmetrics-text")).endsWith("\n# EOF\n")).toBe(true);
  if (judge.kind === "present") {
    const { stdout, stderr } = Bun.spawnSync([judge.path, "check", "metrics"], { stdin: Buffer.from(text) });
    expect([stdout.toString(), stderr.toString()]).toEqual(["", ""]);
  }

  const workers = async () => (await gateway.info<{ workers: object }>()).workers;
  expect(await workers()).toEqual({ configured: WORKERS, serving: EDGES });

  process.kill(gateway.pids["edge-2"] as number, "SIGSTOP");
  const began = performance.now();
  const without = await scrape(gateway);
  process.kill(gateway.pids["edge-2"] as number, "SIGCONT");
  expect(performance.now() - began).toBeLessThan(3_000);
  expect(EDGES.map((worker) => figure(without, `oddswire_worker_up{worker="${worker}"}`))).toEqual([1, 0, 1]);
  expect(figure(without, 'oddswire_markets{worker="edge-2"}')).toBeNull();
  expect(figure(without, 'oddswire_markets{worker="edge-3"}')).toBe(60);

  process.kill(gateway.pids["edge-3"] as number, "SIGKILL");
  await eventually(async () => JSON.stringify(await workers()) === '{"configured":3,"serving":["edge-1","edge-2"]}');
  await eventually(
    async () => JSON.stringify(await workers()) === JSON.stringify({ configured: WORKERS, serving: EDGES }),
  );
}, 30_000);

test("a visitor's limit of connections is one over all workers, and what a dead worker's users had is free again", async () => {
  const [limit, token] = [6, "a-token-that-stands"];
  const gateway = await openHouse().open({ visitors: [{ name: "ann", token, connectionsMax: limit }] });
  const { esa } = await gateway.info<{ esa: { port: number } }>();
  const visit = () => {
    const visitor = new Visitor(bunDial, { host: HOST, port: esa.port });
    visitor.authenticate("any", token);
    visitor.subscribe({ heartbeatMs: 500 });
    return visitor;
  };
  const isIn = ({ messages }: Visitor) =>
    messages.some(({ connectionsAvailable }) => connectionsAvailable !== undefined);
  const refused = ({ messages }: Visitor) =>
    messages.filter(({ errorCode }) => errorCode === "MAX_CONNECTION_LIMIT_EXCEEDED").length;
  const visitors = Array.from({ length: limit }, visit);
  await until(() => visitors.every(isIn), "as many as may are in");
  const more = Array.from({ length: 2 * limit }, visit);
  await until(() => more.every((visitor) => visitor.closed !== null), "the others are not");
  expect(more.map(refused)).toEqual(more.map(() => 1));

  const serving = () => gateway.lines.filter(({ msg, worker }) => msg === "serves" && worker !== "ingest").length;
  for (const edge of EDGES) process.kill(gateway.pids[edge] as number, "SIGKILL");
  await until(() => serving() === 2 * WORKERS, "others have taken their places");
  const back = Array.from({ length: limit }, visit);
  await until(() => back.every(isIn), "as many are in again");
  const last = visit();
  await until(() => last.closed !== null, "and no more");
  expect(refused(last)).toBe(1);
  for (const visitor of [...visitors, ...back]) visitor.leave();
}, 30_000);

test("a login is good at every worker, and after its logout at none, of those too that are started later", async () => {
  const gateway = await openHouse().open();
  const { http } = gateway;
  const { esa } = await gateway.info<{ esa: { port: number } }>();
  const body = new URLSearchParams(LOGIN);
  const login = await fetch(`${http}api/login`, { method: "POST", headers: { "X-Application": "any" }, body });
  const { token } = (await login.json()) as { token: string };
  const visit = () => {
    const visitor = new Visitor(bunDial, { host: HOST, port: esa.port });
    visitor.authenticate("any", token);
    return visitor;
  };
  /** What each says to so many that all are asked. */
  const answers = async () => {
    const visitors = Array.from({ length: 36 }, visit);
    const answer = ({ messages }: Visitor) => messages.find(({ op }) => op === "status");
    await until(() => visitors.every((visitor) => answer(visitor) !== undefined), "all are answered");
    for (const visitor of visitors) visitor.leave();
    expect(new Set(visitors.map(({ messages }) => messages[0]?.connectionId?.slice(0, 3))).size).toBe(WORKERS);
    return new Set(visitors.map((visitor) => answer(visitor)?.errorCode ?? "SUCCESS"));
  };
  const serving = () => gateway.lines.filter(({ msg, worker }) => msg === "serves" && worker !== "ingest").length;
  expect(await answers()).toEqual(new Set(["SUCCESS"]));
  await fetch(`${http}api/logout`, { method: "POST", headers: { "X-Application": "any", "X-Authentication": token } });
  await Bun.sleep(300);
  expect(await answers()).toEqual(new Set(["INVALID_SESSION_INFORMATION"]));

  for (const edge of ["edge-1", "edge-2"]) process.kill(gateway.pids[edge] as number, "SIGKILL");
  await until(() => serving() === WORKERS + 2, "others have taken their places");
  expect(await answers()).toEqual(new Set(["INVALID_SESSION_INFORMATION"]));

  process.kill(gateway.pids.ingest as number, "SIGKILL");
  process.kill(gateway.pids["edge-3"] as number, "SIGKILL");
  await until(() => serving() === WORKERS + 3, "another edge, fed by another ingest");
  // Which hears it when the others have come to that ingest too.
  await eventually(async () => [...(await answers())].join() === "INVALID_SESSION_INFORMATION");
}, 60_000);

interface SideMessage extends ExchangeMessage {
  readonly oc?: readonly OrderEntry[];
  readonly rc?: readonly SportEntry[];
  readonly cc?: readonly SportEntry[];
}

/** A user of the streams beside the prices, all on one connection. */
class SideUser {
  readonly visitor: Visitor;
  readonly view: View;

  constructor(port: number, token: string, prefix: string | null) {
    this.visitor = new Visitor(bunDial, { host: HOST, port });
    this.view = {
      sees: (ref) => prefix === null || ref.startsWith(prefix),
      overall: prefix === null,
      strategies: true,
    };
    this.visitor.authenticate("any", token);
    const orderFilter = { includeOverallPosition: this.view.overall, partitionMatchedByStrategyRef: true };
    this.visitor.send({ op: "orderSubscription", id: 3, orderFilter, heartbeatMs: 500 });
    if (prefix !== null) return;
    this.visitor.send({ op: "raceSubscription", id: 4 });
    this.visitor.send({ op: "cricketSubscription", id: 5 });
  }

  get edge(): string | undefined {
    return this.visitor.messages[0]?.connectionId?.slice(0, 3);
  }

  get orders(): string[] {
    let book = new NaiveOrders();
    for (const { ct, oc = [] } of this.#messages) {
      if (ct === "SUB_IMAGE") book = new NaiveOrders();
      book.apply(oc);
    }
    return book.state();
  }

  get sports(): string[] {
    const words = new NaiveSports();
    for (const { rc = [], cc = [] } of this.#messages) words.apply([...rc, ...cc]);
    return words.state();
  }

  get #messages(): readonly SideMessage[] {
    return this.visitor.messages;
  }
}

test("orders and sports come to the users of every worker, to each what is its own, over the ingest's death too", async () => {
  const house = openHouse();
  const { exchange, world } = house;
  const random = seededRandom(7);
  const stage = { clock: systemClock, random, books: exchange.orders, markets: () => exchange.marketIds() };
  const people = { punters: 6, actsPerSecond: 10, account: "stage", strategyRefs: STRATEGY_REFS };
  const punters = new Punters(people, { ...stage, methods: orderMethods(exchange.orders) });
  const visitors = [
    { token: "token-all", name: "all", orders: "account" as const, sports: ["race" as const, "cricket" as const] },
    { token: "token-alpha", name: "alpha", orders: { refPrefix: "alpha-" } },
    { token: "token-none", name: "none" },
  ];
  const gateway = await house.open({ orders: { enabled: true }, sports: { race: true, cricket: true }, visitors });
  await gateway.ready();
  punters.start();
  exchange.publishSport("rcm", systemClock.wall(), [{ id: "28587288.1650", mid: "1.1", rpc: { g: "1f" } }]);
  const { esa } = await gateway.info<{ esa: { port: number } }>();
  const user = (n: number) => new SideUser(esa.port, n % 2 ? "token-alpha" : "token-all", n % 2 ? "alpha-" : null);
  const users = Array.from({ length: 24 }, (_, n) => user(n));
  await until(() => new Set(users.map(({ edge }) => edge)).size === WORKERS, "every worker has some");
  const stranger = new SideUser(esa.port, "token-none", "none-");
  await until(() => stranger.visitor.closed !== null, "who may see none is refused");
  expect(stranger.visitor.last.errorCode).toBe("NOT_AUTHORIZED");

  await Bun.sleep(500);
  exchange.publishSport("ccm", systemClock.wall(), [
    { eventId: "3", marketId: "1.2", fixtureInfo: { eventStatus: "x" } },
  ]);
  const account = exchange.orders.account("stage");
  const allRight = () =>
    until(
      () => users.every(({ orders, view }) => String(orders) === String(truth(account, view))),
      "all orders are right",
    );
  punters.stop();
  world.stop();
  await allRight();
  expect(
    truth(account, { sees: (ref) => ref.startsWith("alpha-"), overall: false, strategies: true }).length,
  ).toBeGreaterThan(3);
  const punted = users.filter((_, n) => n % 2 === 0);
  await until(() => punted.every(({ sports }) => sports.length === 2), "both games have come to all who may see them");

  const heard = users.map(({ visitor }) => visitor.messages.length);
  process.kill(gateway.pids.ingest as number, "SIGKILL");
  const later = (n: number) => (users[n] as SideUser).visitor.messages.slice(heard[n]);
  await until(() => users.every((_, n) => later(n).some(({ status }) => status === 503)), "all hear 503");
  punters.start();
  await until(() => users.every((_, n) => later(n).some(({ ct }) => ct === "SUB_IMAGE")), "and then everything anew");
  exchange.publishSport("rcm", systemClock.wall(), [{ id: "28587288.1650", mid: "1.1", rpc: { g: "2f" } }]);
  punters.stop();
  await allRight();
  await until(() => punted.every(({ sports }) => sports.some((word) => word.includes("2f"))), "races go on");
  for (const { visitor } of users) {
    expect(visitor.closed).toBeNull();
    visitor.leave();
  }
}, 60_000);

test("only what users of any worker want is carried, also after the ingest's death", async () => {
  const house = openHouse();
  const { exchange, world } = house;
  const token = "a-token-that-stands";
  const demand = { enabled: true, connections: 2, graceMs: 300 };
  const gateway = await house.open({ exchange: { demand }, visitors: [{ name: "ann", token }] });
  await gateway.ready();
  const { esa } = await gateway.info<{ esa: { port: number } }>();
  const ids = world.markets.map(({ id }) => id).slice(0, 12);
  const visitors = ids.map((id) => {
    const visitor = new Visitor(bunDial, { host: HOST, port: esa.port });
    visitor.authenticate("any", token);
    visitor.subscribe({ marketFilter: { marketIds: [id] }, heartbeatMs: 500 });
    return visitor;
  });
  const state = (image: MarketChange) => {
    const book = new NaiveBook(image.id);
    book.apply(image);
    return JSON.stringify(book.state());
  };
  const isRight = (visitor: Visitor, n: number) => {
    const id = ids[n] as string;
    return JSON.stringify(visitor.books.get(id)?.state()) === state(exchange.image(id) as MarketChange);
  };
  const carried = async () => (await gateway.info<{ feed: { markets: number } }>()).feed.markets;
  await until(() => visitors.every(isRight), "each has its market");
  expect(new Set(visitors.map(({ messages }) => messages[0]?.connectionId?.slice(0, 3))).size).toBeGreaterThan(1);
  expect(await carried()).toBe(ids.length);

  const heard = visitors.map(({ messages }) => messages.length);
  process.kill(gateway.pids.ingest as number, "SIGKILL");
  const later = (n: number) => (visitors[n] as Visitor).messages.slice(heard[n]);
  await until(() => visitors.every((_, n) => later(n).some(({ status }) => status === 503)), "all hear 503");
  await until(() => visitors.every(isRight) && visitors.every((_, n) => later(n).some(({ mc }) => mc)), "all go on");
  expect(await carried()).toBe(ids.length);
  for (const visitor of visitors.slice(4)) visitor.leave();
  await eventually(async () => (await carried()) === 4);
  for (const visitor of visitors) visitor.leave();
}, 60_000);

test("all workers started anew serve the books of before at once, marked stale, and nobody is taken back in time", async () => {
  const house = openHouse();
  const { exchange } = house;
  const token = "a-token-that-stands";
  const options = { visitors: [{ name: "ann", token }], snapshot: { file: house.path("books") } };
  const come = (gateway: { esaPort: number }, before?: Visitor) => {
    const visitor = new Visitor(bunDial, { host: HOST, port: gateway.esaPort }, before);
    visitor.authenticate("any", token);
    visitor.subscribe({ heartbeatMs: 500 });
    return visitor;
  };
  const open = async () => {
    const gateway = await house.open(options);
    await gateway.ready();
    const { esa } = await gateway.info<{ esa: { port: number } }>();
    return Object.assign(gateway, { esaPort: esa.port });
  };
  const first = await open();
  await until(() => existsSync(options.snapshot.file), "a file is written");
  const late = Array.from({ length: 6 }, () => come(first));
  await Bun.sleep(300);
  await until(() => late.every((visitor) => house.wrong(visitor).length === 0), "they have seen more than is in it");
  first.child.kill("SIGKILL");
  await until(() => late.every(({ closed }) => closed !== null), "all is dead");

  exchange.refuseAuthentications("TIMEOUT");
  const second = await open();
  const { feed } = await second.info<{ feed: object }>();
  expect(feed).toMatchObject({ state: "stale", ready: true, markets: 60 });
  let fresh = Array.from({ length: 6 }, () => come(second));
  const prices = ({ messages }: Visitor) => messages.filter(({ op }) => op === "mcm");
  const served = () => {
    // A worker that had no books within its time sends away who came before them.
    fresh = fresh.map((visitor) => (visitor.closed === null ? visitor : come(second)));
    return fresh.every(({ books }) => books.size === 60);
  };
  await until(served, "who comes is served at once");
  const back = late.map((visitor) => come(second, visitor));
  expect(fresh.map((visitor) => prices(visitor)[0])).toEqual(
    fresh.map(() => expect.objectContaining({ ct: "SUB_IMAGE", status: 503 })),
  );
  // Two heartbeats of the bus, after which a clk that nobody knows would be answered.
  await Bun.sleep(2_500);
  expect(back.flatMap(prices)).toEqual([]);

  exchange.refuseAuthentications("TIMEOUT", 0);
  await until(() => [...fresh, ...back].every((visitor) => house.wrong(visitor).length === 0), "all are right");
  await until(() => [...fresh, ...back].every(({ last }) => last.status === undefined), "all hear that all is well");
  expect(exchange.counters.images).toBe(1);
  for (const visitor of [...fresh, ...back]) visitor.leave();
}, 60_000);
