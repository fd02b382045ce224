import { afterEach, expect, test } from "bun:test";
import { bunDial } from "../src/edge/sockets.ts";
import { type ExchangeMessage, Visitor } from "../src/sim/exchange-visitor.ts";
import { type MarketChange, NaiveBook } from "../src/sim/naive.ts";
import { until } from "./stage.ts";
import { HOST, WorkerHouse } from "./worker-house.ts";

const USERS = 300;
const MARKETS_EACH = 3;
/** From the death of a worker until the last of its users has right books again. */
const BACK_MS_MAX = 2_000;
/** So long the prices go on after it; then they stand still, so that all there is can be compared. */
const GOES_ON_MS = 600;
const TOKEN = "a-token-that-stands";

let house: WorkerHouse;
afterEach(() => house.close());

/** A plain ESA client with a few markets, which comes back at once with its clk. */
class User {
  readonly ids: readonly string[];
  visitor: Visitor;
  /** When its connection was lost, and its books were as far as others' again. */
  lostAt: number | null = null;
  backAt: number | null = null;
  readonly #at: { readonly host: string; readonly port: number };

  constructor(port: number, ids: readonly string[]) {
    this.#at = { host: HOST, port };
    this.ids = ids;
    this.visitor = this.#visit();
  }

  get edge(): string | undefined {
    return this.visitor.messages[0]?.connectionId?.slice(0, 3);
  }

  /** How its visit began, once that is there whole. */
  get answer(): string | undefined {
    const first = this.visitor.messages.findIndex(({ op }) => op === "mcm");
    const end = this.visitor.messages.slice(first).find(({ clk }) => clk !== undefined);
    return end === undefined ? undefined : this.visitor.messages[first]?.ct;
  }

  /** To be called now and then. */
  look(): void {
    if (this.visitor.closed !== null) {
      this.lostAt ??= performance.now();
      this.visitor = this.#visit(this.visitor);
    } else if (this.lostAt !== null && this.answer !== undefined) this.backAt ??= performance.now();
  }

  #visit(before?: Visitor): Visitor {
    const visitor = new Visitor(bunDial, this.#at, before);
    visitor.authenticate("any", TOKEN);
    visitor.subscribe({ marketFilter: { marketIds: this.ids }, segmentationEnabled: true, heartbeatMs: 500 });
    return visitor;
  }
}

/** What was said of each market under each clk, by everybody who was in step. */
class Said {
  readonly #markets = new Map<string, Map<number, string>>();
  readonly #different: string[] = [];

  add(messages: readonly ExchangeMessage[]): void {
    for (const [id, clk, text] of entriesIn(messages)) {
      const said = this.#markets.get(id) ?? new Map<number, string>();
      this.#markets.set(id, said);
      if ((said.get(clk) ?? text) !== text) this.#different.push(`${id} at ${clk}: ${text} and ${said.get(clk)}`);
      said.set(clk, text);
    }
  }

  get different(): readonly string[] {
    return this.#different;
  }

  /** Changes of a user's markets that others were told of after its messages began, and it was not. */
  missing(ids: readonly string[], messages: readonly ExchangeMessage[], since: number): string[] {
    const told = new Set([...entriesIn(messages)].map(([id, clk]) => `${id} ${clk}`));
    return ids.flatMap((id) =>
      [...(this.#markets.get(id)?.keys() ?? [])]
        .filter((clk) => clk > since && !told.has(`${id} ${clk}`))
        .map((clk) => `${id} at ${clk}`),
    );
  }
}

function* entriesIn(messages: readonly ExchangeMessage[]): Generator<readonly [string, number, string]> {
  for (const { mc, clk } of messages)
    for (const entry of mc ?? []) yield [entry.id, sequence(clk as string), JSON.stringify(entry)];
}

/** As our own clk counts: in base 36. */
function sequence(clk: string): number {
  return Number.parseInt(clk, 36);
}

/** From behind the message that brought the answer on, when it was in step; that one's clk, too. */
function inStep(messages: readonly ExchangeMessage[]): { since: number; news: readonly ExchangeMessage[] } {
  const end = messages.findIndex(({ op, clk }) => op === "mcm" && clk !== undefined);
  const { clk } = messages[end] as ExchangeMessage;
  return { since: sequence(clk as string), news: messages.slice(end + 1) };
}

function stateOf(image: MarketChange): string {
  const book = new NaiveBook(image.id);
  book.apply(image);
  return JSON.stringify(book.state());
}

test(`${USERS} users of three workers: who was on the one that is killed is back within 2 s, with right books, and nobody missed a change`, async () => {
  house = new WorkerHouse();
  const { exchange, world } = house;
  const gateway = await house.open({ visitors: [{ name: "ann", token: TOKEN, connectionsMax: 2 * USERS }] });
  await gateway.ready();
  const { esa } = await gateway.info<{ esa: { port: number } }>();
  const ids = world.markets.filter(({ status }) => status !== "CLOSED").map(({ id }) => id);
  const wanted = (n: number) =>
    Array.from({ length: MARKETS_EACH }, (_, i) => ids[(n + i * 17) % ids.length] as string);
  const users = Array.from({ length: USERS }, (_, n) => new User(esa.port, wanted(n)));
  await until(() => users.every(({ answer }) => answer === "SUB_IMAGE"), "everybody has an image");
  const before = users.map(({ visitor }) => visitor);
  const edges = users.map(({ edge }) => edge);

  const diedAt = performance.now();
  process.kill(gateway.pids["edge-2"] as number, "SIGKILL");
  const stopAt = diedAt + GOES_ON_MS;
  let stopped = false;
  const right = new Map(ids.map((id) => [id, ""]));
  const isRight = ({ ids, visitor }: User) =>
    ids.every((id) => JSON.stringify(visitor.books.get(id)?.state()) === right.get(id));
  await until(() => {
    for (const user of users) user.look();
    if (!stopped && performance.now() >= stopAt) {
      stopped = true;
      world.stop();
      for (const id of ids) right.set(id, stateOf(exchange.image(id) as MarketChange));
    }
    return stopped && users.every(isRight);
  }, "every user's every book is the exchange's");
  const rightMs = performance.now() - diedAt;

  const moved = users.filter(({ lostAt }) => lostAt !== null);
  const backMs = moved.map(({ backAt }) => (backAt as number) - diedAt).sort((a, b) => a - b);
  console.log(
    `   ${moved.length} users back ${(backMs.at(-1) ?? 0).toFixed(0)} ms after a worker's death, all books right ${rightMs.toFixed(0)} ms after`,
  );
  expect(rightMs).toBeLessThan(BACK_MS_MAX);

  // All who were on one worker, and only they, lost their connection, and were told what changed, from where they were.
  const dead = new Set(edges.filter((_, n) => users[n]?.lostAt !== null));
  expect(dead.size).toBe(1);
  expect(users.map(({ lostAt }) => lostAt !== null)).toEqual(edges.map((edge) => dead.has(edge)));
  expect(moved.length).toBeGreaterThan(USERS / 10);
  expect(new Set(moved.map(({ answer }) => answer))).toEqual(new Set(["RESUB_DELTA"]));

  // What is said under a clk is the same on every worker, and everybody was told of everything: before, in the answer, after.
  const said = new Said();
  const visits = users.map(({ visitor, ids }) => ({ ids, ...inStep(visitor.messages) }));
  for (const { news } of visits) said.add(news);
  expect(said.different).toEqual([]);
  expect(visits.flatMap(({ ids, news, since }) => said.missing(ids, news, since))).toEqual([]);
  for (const [n, user] of users.entries()) {
    if (user.lostAt === null) continue;
    const old = (before[n] as Visitor).messages;
    const [first, last] = [inStep(user.visitor.messages), inStep(old)];
    const until = Math.max(...old.flatMap(({ clk }) => (clk === undefined ? [] : [sequence(clk)])));
    expect(first.since).toBeGreaterThanOrEqual(until);
    expect(
      said.missing(user.ids, last.news, last.since).filter((what) => Number(what.split(" ").at(-1)) <= until),
    ).toEqual([]);
  }
  for (const { visitor } of users) visitor.leave();
}, 60_000);
