import { afterEach, describe, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { type OpenWire, type Wire, webSocketWire } from "../client/wire.ts";
import { systemClock } from "../src/base/clock.ts";
import { pick, randomInt, seededRandom } from "../src/base/random.ts";
import type { ConfigInput } from "../src/config.ts";
import { bunDial } from "../src/edge/sockets.ts";
import { lineWire } from "../src/sim/line-wire.ts";
import { NaiveSports, type SportEntry } from "../src/sim/naive-sports.ts";
import { Replay } from "../src/sim/replay.ts";
import { betfairlightweight, recordings } from "./parts.ts";
import { type OpenStage, openStage, SESSION, UPSTREAM, until } from "./stage.ts";

const SEED = Number(process.env.ODDSWIRE_SEED ?? Date.now() % 1_000_000);
const folder = recordings();
const python = betfairlightweight();
const FILES = [
  "messages/betfairlightweight/RACE-1.140075353",
  "messages/betfairlightweight/CRICKET-1.179676557",
  "flumine/sportsdata-1.200806927.ccm",
].map((file) => `${folder.path}/${file}`);

const SPORTS = { race: true, cricket: true };
const VISITORS: ConfigInput["visitors"] = [
  { token: SESSION, name: "stage", sports: ["race", "cricket"] },
  { token: "token-race", name: "racegoer", sports: ["race"] },
  { token: "token-none", name: "none" },
];
const OPS = {
  race: { ask: "raceSubscription", op: "rcm", list: "rc" },
  cricket: { ask: "cricketSubscription", op: "ccm", list: "cc" },
};
type Sport = keyof typeof OPS;

interface Message {
  readonly op: string;
  readonly id?: number;
  readonly ct?: string;
  readonly clk?: string;
  readonly initialClk?: string;
  readonly status?: number;
  readonly statusCode?: string;
  readonly errorCode?: string;
  readonly rc?: readonly SportEntry[];
  readonly cc?: readonly SportEntry[];
}

/** A client with one sport's stream that comes back by itself, with its clk where it `resumes`. */
class Reader {
  words = new NaiveSports();
  /** The entries of each message but images, to the letter. */
  readonly lists: string[] = [];
  readonly counts = { connects: 0, images: 0, resumes: 0, entries: 0, stale: 0 };
  refusal: string | null = null;
  isLive = false;
  #wire: Wire | null = null;
  #ended = false;
  #initialClk: string | null = null;
  #clk: string | null = null;
  readonly #open: OpenWire;
  readonly #sport: Sport;
  readonly #session: string;
  readonly #terms: object | null;

  /** `terms`: of a client that resumes; null: one that sends op and id alone, as real ones do. */
  constructor(open: OpenWire, sport: Sport, session = SESSION, terms: object | null = null) {
    this.#open = open;
    this.#sport = sport;
    this.#session = session;
    this.#terms = terms;
    this.connect();
  }

  connect(): void {
    this.counts.connects++;
    this.#wire = this.#open({
      open() {},
      message: (text) => this.#hear(text),
      close: () => {
        this.isLive = false;
        if (!this.#ended) setTimeout(() => this.#ended || this.connect(), 5);
      },
    });
  }

  end(): void {
    this.#ended = true;
    this.#wire?.close();
  }

  #say(message: object): void {
    this.#wire?.send(JSON.stringify(message));
  }

  #hear(text: string): void {
    const message: Message = JSON.parse(text);
    if (message.op === "connection")
      this.#say({ op: "authentication", id: 1, appKey: UPSTREAM.appKey, session: this.#session });
    else if (message.op === "status") this.#status(message);
    else if (message.op === OPS[this.#sport].op) this.#change(message, text);
    else throw new Error(`nobody asked for ${message.op}`);
  }

  #status({ id, statusCode, errorCode }: Message): void {
    if (statusCode === "FAILURE") {
      this.refusal = errorCode ?? "";
      return this.end();
    }
    const resume = this.#terms && { ...this.#terms, initialClk: this.#initialClk, clk: this.#clk };
    if (id === 1) this.#say({ op: OPS[this.#sport].ask, id: 2, ...resume });
  }

  #change({ id, ct, clk, initialClk, status, rc, cc }: Message, text: string): void {
    if (id !== 2) throw new Error(`a change for ${id}`);
    const entries = rc ?? cc ?? [];
    if (ct === "SUB_IMAGE") {
      this.counts.images++;
      // Who does not resume keeps its words, as betfairlightweight does.
      if (this.#terms !== null) this.words = new NaiveSports();
    } else if (ct === "RESUB_DELTA") this.counts.resumes++;
    else if (entries.length > 0) this.lists.push(text.slice(text.indexOf(`"${OPS[this.#sport].list}":`)));
    if (status === 503) this.counts.stale++;
    this.isLive = status === undefined;
    this.counts.entries += entries.length;
    this.words.apply(entries);
    this.#clk = clk ?? this.#clk;
    this.#initialClk = initialClk ?? this.#initialClk;
  }
}

let stage: OpenStage | null = null;
const readers: Reader[] = [];
const children: ChildProcess[] = [];

afterEach(async () => {
  for (const reader of readers.splice(0)) reader.end();
  for (const child of children.splice(0)) child.kill();
  await stage?.close();
  stage = null;
});

async function open(sports: ConfigInput["sports"] = SPORTS): Promise<OpenStage> {
  stage = await openStage(SEED, { sports, visitors: VISITORS });
  await until(() => stage?.gateway.source.sourceState === "live", "the gateway is live");
  return stage;
}

/** Both sports of the gateway, as it tells itself. */
async function sportsLive({ gateway }: OpenStage): Promise<void> {
  const states = async () => {
    const info = (await (await fetch(`${gateway.httpUrl}v1/info`)).json()) as Record<Sport, { state: string }>;
    return [info.race?.state, info.cricket?.state].join();
  };
  for (let tries = 0; (await states()) !== "live,live"; tries++) {
    if (tries === 500) throw new Error(`the sports are not live: ${await states()}`);
    await Bun.sleep(5);
  }
}

/** What was played, to the letter of the exchange, and what stands in the end. */
interface Played {
  readonly lists: Record<Sport, string[]>;
  readonly words: Record<Sport, NaiveSports>;
  readonly entries: Record<Sport, number>;
}

/** Plays recordings into the exchange as quick as `taken` allows it. */
async function play({ exchange }: OpenStage, files: readonly string[], taken: (played: Played) => Promise<void>) {
  const played: Played = {
    lists: { race: [], cricket: [] },
    words: { race: new NaiveSports(), cricket: new NaiveSports() },
    entries: { race: 0, cricket: 0 },
  };
  const options = { files, order: "in turn", speed: Number.POSITIVE_INFINITY, loop: false, rewritePt: true } as const;
  const replay = new Replay(options, {
    clock: systemClock,
    publish() {},
    publishSport(op, pt, changes) {
      const sport = op === "rcm" ? "race" : "cricket";
      played.lists[sport].push(`"${OPS[sport].list}":${JSON.stringify(changes)}}`);
      played.entries[sport] += changes.length;
      played.words[sport].apply(changes as readonly SportEntry[]);
      exchange.publishSport(op, pt, changes);
    },
    settled: () => taken(played),
  });
  await replay.run();
  return played;
}

/** No reader is more than so many messages late. */
const inStep = (sports: readonly (readonly [Sport, Reader])[], late: number) => (played: Played) =>
  until(
    () => sports.every(([sport, { lists }]) => lists.length >= played.lists[sport].length - late),
    "everybody hears",
  );

const state = (words: NaiveSports) => words.state();

describe.skipIf(folder.kind === "missing")(`recorded races and cricket (seed ${SEED})`, () => {
  test("reach a plain client to the letter as they reach one at the exchange itself, and one who comes late as their last words", async () => {
    const { esaAddress, websocketUrl, upstream } = await open();
    const direct = lineWire(bunDial, { host: "127.0.0.1", port: upstream.port });
    const [esa, ws] = [lineWire(bunDial, esaAddress), webSocketWire(websocketUrl)];
    const all = (["race", "cricket"] as const).flatMap((sport) => [
      [sport, new Reader(direct, sport, UPSTREAM.session)] as const,
      [sport, new Reader(esa, sport)] as const,
      [sport, new Reader(ws, sport)] as const,
    ]);
    readers.push(...all.map(([, reader]) => reader));
    await until(() => readers.every(({ counts }) => counts.images === 1), "everybody is subscribed");
    const played = await play(stage as OpenStage, FILES, inStep(all, 30));
    await inStep(all, 0)(played);
    expect([played.lists.race.length, played.lists.cricket.length]).toEqual([4, 2173]);
    for (const [sport, { lists, words, counts }] of all) {
      expect(lists).toEqual(played.lists[sport]);
      expect(state(words)).toEqual(state(played.words[sport]));
      expect(counts).toMatchObject({ connects: 1, images: 1, stale: 0 });
    }
    for (const sport of ["race", "cricket"] as const) {
      const late = new Reader(esa, sport);
      readers.push(late);
      await until(() => late.words.games.size === played.words[sport].games.size, "the late one has its image");
      expect(state(late.words)).toEqual(state(played.words[sport]));
      expect(late.counts.entries).toBe(late.words.games.size);
    }
  }, 30_000);

  test("come to the same end over cuts everywhere, with and without a clk, and for a slow reader", async () => {
    const random = seededRandom(SEED);
    const { esaAddress, websocketUrl, upstream, esa, websocket } = await open();
    await sportsLive(stage as OpenStage);
    const line = lineWire(bunDial, esaAddress);
    const soon = { heartbeatMs: 500 };
    const all = (["race", "cricket"] as const).flatMap((sport) => [
      [sport, new Reader(line, sport)] as const,
      [sport, new Reader(line, sport, SESSION, soon)] as const,
      [sport, new Reader(line, sport, SESSION, { ...soon, conflateMs: 100 })] as const,
    ]);
    const slow = new Reader(webSocketWire(websocketUrl), "cricket", SESSION, soon);
    readers.push(...all.map(([, reader]) => reader), slow);
    await until(() => readers.every(({ counts }) => counts.images === 1), "everybody is subscribed");
    websocket.add({ bytesPerSecond: 200_000 }, "down");
    let nextCut = 1;
    let cuts = 0;
    const taken = async ({ lists }: Played) => {
      const messages = lists.race.length + lists.cricket.length;
      if (messages % 20 === 0) await Bun.sleep(1);
      if (messages < nextCut) return;
      nextCut = messages + 100 + randomInt(random, 800);
      (cuts++ % 3 === 2 ? upstream : esa)[pick(random, ["cut", "reset"] as const)]();
      await Bun.sleep(randomInt(random, 60));
    };
    const played = await play(stage as OpenStage, Array(5).fill(FILES).flat(), taken);
    websocket.clear();
    for (const [i, [sport, reader]] of [...all, ["cricket", slow] as const].entries()) {
      const isThere = () => reader.isLive && state(reader.words).join() === state(played.words[sport]).join();
      await until(isThere, `reader ${i} has the last words`, 5_000).catch(() => {});
      expect([i, state(reader.words)]).toEqual([i, state(played.words[sport])]);
      expect(reader.isLive).toBe(true);
    }
    expect(cuts).toBeGreaterThan(10);
    for (const [, { counts }] of all) expect(counts.connects).toBeGreaterThan(3);
    expect(all[1]?.[1].counts.resumes).toBeGreaterThan(3);
    expect(all[0]?.[1].counts.resumes).toBe(0);
    expect(slow.counts).toMatchObject({ connects: 1 });
    expect(slow.lists.length).toBeLessThan(played.lists.cricket.length / 2);
  }, 30_000);

  test.skipIf(python.kind === "missing")(
    "are read by the real betfairlightweight, from the start and late, without a word of complaint",
    async () => {
      const { gateway } = await open();
      await sportsLive(stage as OpenStage);
      const early = await Library.start(gateway.esaPort as number);
      const played = await play(stage as OpenStage, FILES, () => Bun.sleep(0.5));
      const late = await Library.start(gateway.esaPort as number);
      await Bun.sleep(300);
      for (const [library, isEarly] of [
        [early, true],
        [late, false],
      ] as const) {
        const { complaints, ...sports } = await library.report();
        expect(complaints).toEqual([]);
        for (const sport of ["race", "cricket"] as const) {
          expect(shown(sports[sport].games)).toEqual(expected(sport, played.words[sport]));
          const updates = isEarly ? played.entries[sport] : played.words[sport].games.size;
          expect(sports[sport]).toMatchObject({ updates, resources: updates });
        }
        expect(sports.cricket.clk).toBe(played.lists.cricket.length.toString(36));
      }
    },
    30_000,
  );
});

describe("sports data", () => {
  test("are for the entitled, and for nobody where they are not enabled", async () => {
    const refused = async (sport: Sport, session: string) => {
      const reader = new Reader(lineWire(bunDial, (stage as OpenStage).esaAddress), sport, session);
      readers.push(reader);
      await until(() => reader.refusal !== null || reader.counts.images > 0, "an answer");
      return reader.refusal;
    };
    await open({ race: true });
    expect(await refused("race", SESSION)).toBeNull();
    expect(await refused("race", "token-race")).toBeNull();
    expect(await refused("cricket", "token-race")).toBe("NOT_AUTHORIZED");
    expect(await refused("race", "token-none")).toBe("NOT_AUTHORIZED");
    expect(await refused("cricket", SESSION)).toBe("NOT_AUTHORIZED");
  });
});

type Games = Record<string, Record<string, unknown>>;

interface Report {
  readonly race: { readonly updates: number; readonly resources: number; readonly clk: string; readonly games: Games };
  readonly cricket: Report["race"];
  readonly complaints: readonly string[];
}

/** sports_client.py, subscribed to both. */
class Library {
  readonly #child: ChildProcess;
  #printed = "";

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout?.on("data", (bytes) => (this.#printed += bytes));
  }

  static async start(port: number): Promise<Library> {
    const script = fileURLToPath(new URL("real/sports_client.py", import.meta.url));
    const args = [script, "--port", String(port), "--session", SESSION];
    const child = spawn(python.path, args, { stdio: ["pipe", "pipe", "inherit"] });
    children.push(child);
    const library = new Library(child);
    await until(() => library.#printed !== "" || child.exitCode !== null, "the library is subscribed");
    return library;
  }

  async report(): Promise<Report> {
    this.#child.stdin?.end();
    await until(() => this.#child.exitCode !== null, "the library's report");
    return JSON.parse(this.#printed.slice("ready\n".length));
  }
}

/** What the library holds, without what it knows nothing of. */
function shown(games: Games): string[] {
  const known = Object.values(games).flatMap((game) =>
    Object.entries(game).filter(([, value]) => value !== null && !(Array.isArray(value) && value.length === 0)),
  );
  return known.map((entry) => JSON.stringify(sorted(entry))).sort();
}

/** The same in the library's form: by market, runners in a list. */
function expected(sport: Sport, { games }: NaiveSports): string[] {
  const shapes = [...games].map(([ids, words]) => {
    const parts = [...words].filter(([key]) => !key.startsWith("runner "));
    const rrc = [...words].filter(([key]) => key.startsWith("runner ")).map(([, runner]) => runner);
    return { ...JSON.parse(ids), ...Object.fromEntries(parts), ...(sport === "race" && { rrc }) };
  });
  return shown(Object.fromEntries(shapes.map((game, i) => [i, game])));
}

/** Keys in order all the way down: Python keeps another. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)]),
  );
}
