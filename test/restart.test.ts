import { afterEach, describe, expect, test } from "bun:test";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { systemClock } from "../src/base/clock.ts";
import { silentLog } from "../src/base/log.ts";
import { seededRandom } from "../src/base/random.ts";
import { bunDial, bunListen } from "../src/edge/sockets.ts";
import { type ExchangeLimits, SimExchange } from "../src/sim/exchange.ts";
import { Visitor } from "../src/sim/exchange-visitor.ts";
import { firstDifference, type MarketChange, NaiveBook } from "../src/sim/naive.ts";
import { freePort } from "./ports.ts";
import { SESSION, UPSTREAM, until } from "./stage.ts";

/** A gateway process that is killed and started anew with its snapshot, between an exchange and users that go on. */
const LAUNCHER = fileURLToPath(new URL("../bin/oddswire.js", import.meta.url));
const HOST = "127.0.0.1";
const MARKETS = 40;

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0).reverse()) end();
});

function born(n: number): MarketChange {
  const ladder = Array.from({ length: 10 }, (_, i) => [2 + i / 100, 10 + n + i] as const);
  return {
    id: `1.${n}`,
    img: true,
    marketDefinition: { status: "OPEN", version: 1, eventTypeId: "1", eventId: `e${n % 3}` },
    rc: [{ id: 1, ltp: 2, atb: ladder }],
  };
}
const traded = (n: number, ltp: number, size = 7): MarketChange => ({
  id: `1.${n}`,
  rc: [{ id: 1, ltp, atb: [[1.5, size]] }],
});

/** The exchange, the truth, and a house that can be killed. */
class Street {
  readonly folder = mkdtempSync(join(tmpdir(), "oddswire-restart-"));
  readonly file = join(this.folder, "books");
  readonly truth = new Map<string, NaiveBook>();
  readonly log: string[] = [];
  readonly exchange: SimExchange;
  /** In front of the command that starts the gateway. */
  before: readonly string[] = [];
  readonly #port: number;
  #esa = 0;
  #http = 0;
  #child: ChildProcess | null = null;

  constructor(limits: Partial<ExchangeLimits> = {}) {
    this.exchange = new SimExchange({
      clock: systemClock,
      random: seededRandom(1),
      log: silentLog,
      sessions: { accountOf: (token) => (token === UPSTREAM.session ? "stage" : null) },
      appKeys: [UPSTREAM.appKey],
      limits: { marketsMax: Number.POSITIVE_INFINITY, ...limits },
    });
    this.#port = this.exchange.listen(bunListen, { host: HOST, port: 0 }).port;
    ends.push(() => {
      this.#child?.kill("SIGKILL");
      this.exchange.stop();
      rmSync(this.folder, { recursive: true });
    });
    this.say(...Array.from({ length: MARKETS }, (_, n) => born(n)));
  }

  say(...changes: MarketChange[]): void {
    for (const change of changes) {
      if (!this.truth.has(change.id)) this.truth.set(change.id, new NaiveBook(change.id));
      this.truth.get(change.id)?.apply(change);
    }
    this.exchange.publish(Date.now(), changes);
  }

  async start(more: { exchange?: object; everyMs?: number } = {}): Promise<void> {
    [this.#esa, this.#http] = [await freePort(), await freePort()];
    const config = join(this.folder, "config.json");
    const quick = { heartbeatMs: 500, retryFirstMs: 20, retryMaxMs: 100 };
    writeFileSync(
      config,
      JSON.stringify({
        exchange: { host: HOST, port: this.#port, tls: false, ...UPSTREAM, ...quick, ...more.exchange },
        doors: { http: { port: this.#http }, websocket: { port: 0 }, esa: { port: this.#esa } },
        visitors: [{ token: SESSION, name: "stage", marketsMax: 1_000 }],
        snapshot: { file: this.file, everyMs: more.everyMs ?? 600_000 },
      }),
    );
    const [command, ...rest] = [...this.before, "node", LAUNCHER, "serve", "--config", config];
    const child = spawn(command as string, rest, { stdio: ["ignore", "ignore", "pipe"] });
    child.stderr.on("data", (bytes) => this.log.push(String(bytes)));
    this.#child = child;
    await until(() => this.log.join("").includes('"msg":"started"'), "the gateway has started");
  }

  /** What `/v1/info` says of the feed; null while nobody answers. */
  async feed(): Promise<{ state: string; ready: boolean; markets: number } | null> {
    const answer = await fetch(`http://${HOST}:${this.#http}/v1/info`).catch(() => null);
    return answer === null
      ? null
      : ((await answer.json()) as { feed: { state: string; ready: boolean; markets: number } }).feed;
  }

  async is(state: string): Promise<void> {
    for (let tries = 0; tries < 400; tries++) {
      if ((await this.feed())?.state === state) return;
      await Bun.sleep(20);
    }
    throw new Error(`the feed is not ${state}: ${this.log.join("")}`);
  }

  async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const child = this.#child as ChildProcess;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await gone;
    this.log.length = 0;
  }

  /** So many snapshots have been written: the last one and the one before. */
  async snapshot(count: 1 | 2 = 1): Promise<void> {
    const oldest = count === 1 ? this.file : `${this.file}.1`;
    await until(() => statSync(oldest, { throwIfNoEntry: false }) !== undefined, "there is a snapshot");
  }

  says(words: string): Promise<void> {
    return until(() => this.log.join("").includes(words), `the log says ${words}`);
  }

  /** Comes, or comes back with what is known from before. */
  async come(before?: Visitor): Promise<Visitor> {
    const visitor = new Visitor(bunDial, { host: HOST, port: this.#esa }, before);
    await until(() => visitor.messages.length > 0, "greeted");
    visitor.authenticate("app-key", SESSION);
    await until(() => visitor.messages.length > 1, "authenticated");
    visitor.subscribe({ segmentationEnabled: true, heartbeatMs: 500 });
    await until(() => visitor.messages.length > 2, "subscribed");
    return visitor;
  }

  async isRight(visitor: Visitor): Promise<void> {
    await until(() => this.#difference(visitor) === null, "the books are right", 5_000).catch((error: Error) => {
      throw new Error(`${error.message}: ${this.#difference(visitor)}`);
    });
  }

  #difference(visitor: Visitor): string | null {
    for (const [id, book] of this.truth) {
      const held = visitor.books.get(id);
      const difference = held === undefined ? "missing" : firstDifference(held.state(), book.state());
      if (difference !== null) return `${id}: ${difference}`;
    }
    return null;
  }
}

const changesOf = (visitor: Visitor) => visitor.messages.filter(({ mc }) => mc !== undefined);
const answerOf = async (visitor: Visitor) => {
  await until(() => changesOf(visitor).length > 0, "answered");
  return changesOf(visitor)[0] as { ct?: string; status?: number; mc: readonly MarketChange[] };
};

const FAST = { everyMs: 1_000 };

describe("a gateway that is killed and comes back with its snapshot", () => {
  test("resumes at the exchange; who knew what is in it is told what changed, who knew more gets an image", async () => {
    const street = new Street();
    await street.start();
    const early = await street.come();
    await street.isRight(early);
    early.leave();
    street.say(traded(3, 3));
    const middle = await street.come();
    await street.isRight(middle);
    middle.leave();
    await street.end("SIGTERM");
    await street.start();
    await street.is("live");
    // The one at the beginning, which is at once.
    await street.snapshot(2);
    const late = await street.come();
    // It sees a price that is gone by the time that the exchange is asked again.
    street.say(traded(4, 4, 9));
    await street.isRight(late);
    late.leave();
    await street.end("SIGKILL");
    street.say(traded(4, 2, 0));
    street.say(traded(5, 5));
    await street.start();
    await street.is("live");
    expect([street.exchange.counters.images, street.exchange.counters.resumes]).toEqual([1, 2]);

    const [first, second, third] = [await street.come(early), await street.come(middle), await street.come(late)];
    const answers = [await answerOf(first), await answerOf(second), await answerOf(third)];
    expect(answers.map(({ ct }) => ct)).toEqual(["RESUB_DELTA", "RESUB_DELTA", "SUB_IMAGE"]);
    expect(answers.map(({ mc }) => mc.length)).toEqual([3, 2, MARKETS]);
    // What changed since the file was written comes by its changes alone.
    expect(answers[1]?.mc.map(({ img }) => img)).toEqual([undefined, undefined]);
    for (const visitor of [first, second, third]) await street.isRight(visitor);
    street.say(traded(6, 6), traded(5, 7));
    for (const visitor of [first, second, third]) await street.isRight(visitor);
  }, 30_000);

  test("serves at once while the exchange is away, marked stale; who has seen more waits until it has answered", async () => {
    const street = new Street();
    await street.start(FAST);
    const [early, late] = [await street.come(), await street.come()];
    await street.isRight(early);
    early.leave();
    await street.snapshot();
    street.say(traded(1, 8));
    await street.isRight(late);
    late.leave();
    await street.end("SIGKILL");
    street.exchange.refuseAuthentications("TIMEOUT");
    await street.start(FAST);
    expect(await street.feed()).toMatchObject({ state: "stale", ready: true, markets: MARKETS });
    const [first, second, third] = [await street.come(), await street.come(early), await street.come(late)];
    const answers = [await answerOf(first), await answerOf(second)];
    expect(answers.map(({ ct, status }) => [ct, status])).toEqual([
      ["SUB_IMAGE", 503],
      ["RESUB_DELTA", 503],
    ]);
    await Bun.sleep(700);
    expect(third.messages.filter(({ op }) => op === "mcm")).toEqual([]);
    street.exchange.refuseAuthentications("TIMEOUT", 0);
    await street.is("live");
    expect((await answerOf(third)).ct).toBe("SUB_IMAGE");
    for (const visitor of [first, second, third]) {
      await street.isRight(visitor);
      await until(() => visitor.last.status === undefined, "told that all is well");
    }
  }, 30_000);

  for (const staleClk of ["image", "INVALID_CLOCK"] as const) {
    test(`is right where the exchange does not resume it (${staleClk})`, async () => {
      const street = new Street({ logMessagesMax: 3 });
      street.exchange.knobs.staleClk = staleClk;
      await street.start(FAST);
      const early = await street.come();
      await street.isRight(early);
      early.leave();
      await street.snapshot();
      await street.end("SIGKILL");
      for (let i = 0; i < 10; i++) street.say(traded(i, 3 + i));
      await street.start(FAST);
      await street.is("live");
      const back = await street.come(early);
      expect([(await answerOf(back)).ct, (await answerOf(back)).mc.length]).toEqual(["RESUB_DELTA", 10]);
      await street.isRight(back);
      expect(street.exchange.counters.images).toBe(2);
    }, 30_000);
  }

  test("takes the one before where the last is torn, and none where both are, or were made for something else", async () => {
    const street = new Street();
    await street.start(FAST);
    await street.snapshot(2);
    await street.end("SIGKILL");
    const tear = (file: string) => writeFileSync(file, readFileSync(file).subarray(0, -100));
    tear(street.file);
    await street.start({ everyMs: 600_000 });
    await street.says("a snapshot is of no use");
    await street.says("the books of before are back");
    await street.is("live");
    await street.end("SIGTERM");

    await street.start({ exchange: { ladderLevels: 3 } });
    await street.says("it is of another account, exchange or subscription");
    await street.is("live");
    expect(street.log.join("")).not.toContain("the books of before are back");
    await street.end("SIGTERM");

    tear(street.file);
    tear(`${street.file}.1`);
    await street.start({ exchange: { ladderLevels: 3 } });
    await street.is("live");
    expect(street.log.join("").match(/cut short/g)?.length).toBe(2);
    await street.isRight(await street.come());
  }, 30_000);

  test("goes on without a snapshot on a disk that is full or not there", async () => {
    const street = new Street();
    const full = join(street.folder, "full");
    mkdirSync(full);
    Object.assign(street, { file: join(full, "books") });
    street.before = ["unshare", "-rm", "sh", "-c", `mount -t tmpfs -o size=4k none '${full}' && exec "$@"`, "sh"];
    if (spawnSync("unshare", ["-rm", "true"]).status !== 0) street.before = [];
    if (street.before.length > 0) {
      await street.start(FAST);
      await street.says('"code":"ENOSPC"');
      await street.isRight(await street.come());
      await street.end("SIGTERM");
    }
    street.before = [];
    Object.assign(street, { file: join(full, "nowhere", "books") });
    await street.start(FAST);
    await street.says('"code":"ENOENT"');
    await Bun.sleep(1_500);
    expect(street.log.join("").match(/no snapshot was written/g)?.length).toBe(1);
    await street.isRight(await street.come());
  }, 30_000);
});
