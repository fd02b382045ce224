import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Workload } from "../src/load/workload.ts";
import { Process } from "./process.ts";
import { median, type Report, type Row } from "./table.ts";
import { Feed } from "./w8-feed.ts";
import { installed, PEERS } from "./w8-peers.ts";
import { floorSide, oddswireSide, peerSide, type Served, type Side } from "./w8-sides.ts";
import { type BenchWorkload, WORKLOADS } from "./workloads.ts";

const USERS = 10_000;
const ROUNDS = 5;
/** What is compared with is not what must hold. */
const PEER_ROUNDS_MAX = 3;
const SECONDS = 5;
const WARM_UP_SECONDS = 2;
/** Users that take more of their core than this measure themselves. */
const USERS_CPU_MAX = 0.9;
const OF_THE_FLOOR_MIN = 0.7;
/** Enough to know what a message looks like. */
const SAMPLE = { users: 10, flushes: 5 } as const;
const OURS = "Oddswire";
const FLOOR = fileURLToPath(new URL("floor/", import.meta.url));

/** How it is run otherwise than as it should be: to see that it works. */
interface Options {
  readonly runs?: number;
  readonly seconds?: number;
  readonly users?: number;
  readonly peers?: boolean;
}

type Progress = (text: string) => void;

interface Load {
  readonly name: string;
  readonly workload: BenchWorkload & { readonly users: Workload };
  /** Of each market so many runners change. */
  readonly runners: number;
  readonly changes: number;
}

const LOADS: readonly Load[] = [
  { name: "(a) 1 change", workload: workload("W8a"), runners: 1, changes: 1 },
  { name: "(b) 10 changes", workload: workload("W8b"), runners: 3, changes: 10 },
];

interface Measured {
  /** A flush handed over to one user, whatever it is made of. */
  readonly flushesPerCoreSecond: number;
  readonly bytesPerFlush: number;
  readonly cpu: number;
  readonly usersCpu: number;
  /** Messages that were not what the first user got, and books of the first user that are not the exchange's. */
  readonly wrong: number;
  readonly booksChecked: boolean;
}

/** Somebody in the race of a load, and how it went so far. */
interface Runner {
  readonly name: string;
  readonly side: Side | null;
  /** Why there is nobody. */
  readonly missing: string;
  readonly roundsMax: number;
  readonly measured: Measured[];
}

/** As many flushes to 10,000 users as one core gives: the floor, the gateway and the peers in turn, with the same bytes, read by the same program. */
export async function w8(
  _files: readonly string[],
  progress: Progress,
  { runs = ROUNDS, seconds = SECONDS, users = USERS, peers = true }: Options = {},
): Promise<Report> {
  const folder = mkdtempSync(join(tmpdir(), "oddswire-w8-"));
  try {
    const bench = new Bench(folder, users, seconds);
    const rows: Row[] = [];
    for (const load of LOADS) {
      const runners = await bench.runners(load, peers, progress);
      for (let round = 1; round <= runs; round++) {
        for (const { name, side, roundsMax, measured } of runners) {
          if (side === null || round > roundsMax) continue;
          progress(`${load.name}, round ${round} of ${runs}: ${name}`);
          measured.push(await bench.turn(side));
        }
      }
      rows.push(...runners.map((runner) => row(load, runner, runners[0] as Runner)));
    }
    return { bench: "W8", rows };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function workload(name: string): BenchWorkload & { readonly users: Workload } {
  const found = WORKLOADS[name];
  if (found?.users == null) throw new Error(`there is no workload ${name} with users`);
  return { ...found, users: found.users };
}

class Bench {
  readonly #folder: string;
  readonly #users: number;
  readonly #seconds: number;
  readonly #programs: { readonly floor: string; readonly users: string };

  constructor(folder: string, users: number, seconds: number) {
    this.#folder = folder;
    this.#users = users;
    this.#seconds = seconds;
    this.#programs = { floor: compiled("floor", folder), users: compiled("users", folder) };
  }

  /** The floor comes first and the gateway second, so that each round has them one after the other. */
  async runners({ workload, runners, changes }: Load, peers: boolean, progress: Progress): Promise<Runner[]> {
    const feed = () => new Feed(workload.feed, runners);
    const gateway = oddswireSide(feed, workload.users.fields, this.#users);
    progress("what a message looks like");
    const message = await this.#sample(gateway);
    const ours = [runner("floor", floorSide(this.#programs.floor, message)), runner(OURS, gateway)];
    return peers ? [...ours, ...(await peerRunners(message.toString("latin1"), changes, progress))] : ours;
  }

  /** A fresh server and fresh users: nothing is left of the turn before. */
  async turn(side: Side): Promise<Measured> {
    const users = this.#users;
    const { served, crowd, kept } = await this.#start(side, users);
    try {
      await drive(served, crowd, WARM_UP_SECONDS);
      const from = mark(served, crowd);
      const flushes = await drive(served, crowd, this.#seconds);
      const to = mark(served, crowd);
      const { messages, bytes, wrong } = JSON.parse(await crowd.ask("end")) as Record<string, number>;
      const books = served.wrongBooks(kept);
      const seconds = to.at - from.at;
      return {
        flushesPerCoreSecond: (flushes * users) / (to.cpu - from.cpu),
        bytesPerFlush: ((bytes as number) / (messages as number)) * served.messages,
        cpu: (to.cpu - from.cpu) / seconds,
        usersCpu: (to.usersCpu - from.usersCpu) / seconds,
        wrong: (wrong as number) + (books?.length ?? 0),
        booksChecked: books !== null,
      };
    } finally {
      await crowd.stop();
      await served.stop();
    }
  }

  async #sample(side: Side): Promise<Buffer> {
    const { served, crowd, kept } = await this.#start(side, SAMPLE.users);
    try {
      for (let i = 0; i < SAMPLE.flushes; i++) await flush(served, crowd);
      await crowd.ask("end");
      return Buffer.from(readFileSync(kept, "latin1").trimEnd().split("\n").at(-1) as string, "latin1");
    } finally {
      await crowd.stop();
      await served.stop();
    }
  }

  async #start(side: Side, users: number): Promise<{ served: Served; crowd: Process; kept: string }> {
    const served = await side(this.#folder);
    const [hello, kept] = [join(this.#folder, "hello"), join(this.#folder, "kept")];
    writeFileSync(hello, served.hello);
    const { port, path, dialect, messages } = served;
    const args = [path, users, messages, dialect, hello, kept].map(String);
    const crowd = new Process(String(port), args, this.#programs.users);
    try {
      await crowd.line(/^ready$/);
      return { served, crowd, kept };
    } catch (error) {
      await crowd.stop();
      await served.stop();
      throw error;
    }
  }
}

function runner(name: string, side: Side): Runner {
  return { name, side, missing: "", roundsMax: Number.POSITIVE_INFINITY, measured: [] };
}

/** With the whole message; and where it tells of several changes, with a message each too. */
async function peerRunners(message: string, changes: number, progress: Progress): Promise<Runner[]> {
  const runners: Runner[] = [];
  for (const peer of PEERS) {
    progress(`${peer.name} ${peer.version}`);
    const place = await installed(peer);
    for (const messages of changes === 1 ? [[message]] : [[message], apart(message)]) {
      const name = `${peer.name} ${peer.version}${messages.length > 1 ? `, ${messages.length} messages` : ""}`;
      const there = place.kind === "there" ? peerSide(peer, place.at, messages) : null;
      const missing = place.kind === "there" ? "" : place.why;
      runners.push({ name, side: there, missing, roundsMax: PEER_ROUNDS_MAX, measured: [] });
    }
  }
  return runners;
}

/** The messages that peers which merge nothing would send: a change each. */
function apart(message: string): string[] {
  const { mc, ...head } = JSON.parse(message) as { mc: object[] };
  return mc.map((change) => JSON.stringify({ ...head, mc: [change] }));
}

function compiled(name: string, folder: string): string {
  const program = join(folder, name);
  try {
    execFileSync("gcc", ["-O2", "-o", program, `${FLOOR}${name}.c`], { stdio: ["ignore", "ignore", "pipe"] });
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT")
      throw new Error(
        "the floor of W8 is a C program: install gcc and the C library's headers (Debian: gcc libc6-dev)",
      );
    throw error;
  }
  return program;
}

/** A flush after another, each when the one before has arrived at everybody; returns how many they were. */
async function drive(served: Served, crowd: Process, seconds: number): Promise<number> {
  let flushes = 0;
  for (const until = performance.now() + seconds * 1_000; performance.now() < until; flushes++)
    await flush(served, crowd);
  return flushes;
}

async function flush(served: Served, crowd: Process): Promise<void> {
  const arrived = crowd.line(/^done/, crowd.lines.length);
  served.publish();
  await arrived;
}

function mark({ process }: Served, crowd: Process): { at: number; cpu: number; usersCpu: number } {
  return { at: performance.now() / 1_000, cpu: process.cpuSeconds(), usersCpu: crowd.cpuSeconds() };
}

function row(load: Load, { name, missing, measured }: Runner, floor: Runner): Row {
  const title = `${load.name}: ${name}`;
  if (measured.length === 0) return { name: title, values: { "flushes/core-s": missing }, passed: true };
  const of = (value: (measured: Measured) => number) => median(measured.map(value));
  const rates = measured.map(({ flushesPerCoreSecond }) => flushesPerCoreSecond);
  const ratios = rates.map((rate, i) => rate / (floor.measured[i] as Measured).flushesPerCoreSecond);
  const isOurs = name === OURS;
  const wrong = measured.reduce((sum, each) => sum + each.wrong, 0);
  const usersCpu = Math.max(...measured.map((each) => each.usersCpu));
  return {
    name: title,
    values: {
      "flushes/core-s": median(rates),
      "least to most": `${thousands(Math.min(...rates))} to ${thousands(Math.max(...rates))}`,
      "× floor": `${spread(ratios)}${isOurs ? `, ≥ ${OF_THE_FLOOR_MIN}` : ""}`,
      "changes/core-s": median(rates) * load.changes,
      "bytes a flush": Math.round(of(({ bytesPerFlush }) => bytesPerFlush)),
      "CPU, cores": of(({ cpu }) => cpu),
      "users' CPU": usersCpu,
      wrong,
      "books checked": measured.some((each) => each.booksChecked) ? measured.length * load.workload.feed.markets : "",
    },
    passed: wrong === 0 && usersCpu < USERS_CPU_MAX && (!isOurs || median(ratios) >= OF_THE_FLOOR_MIN),
  };
}

function thousands(value: number): string {
  return `${(value / 1_000).toFixed(1)}K`;
}

/** The median, and between what. */
function spread(values: readonly number[]): string {
  const [middle, least, most] = [median(values), Math.min(...values), Math.max(...values)].map((value) =>
    value.toFixed(2),
  );
  return `${middle} (${least} to ${most})`;
}
