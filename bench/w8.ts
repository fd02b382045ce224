import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Workload } from "../src/load/workload.ts";
import type { BenchOptions } from "./options.ts";
import { median, type Report, type Row } from "./table.ts";
import { Feed } from "./w8-feed.ts";
import { installed, PEERS } from "./w8-peers.ts";
import { compiled, type Outcome, race, sample } from "./w8-race.ts";
import { floorSide, oddswireSide, peerSide, type Side } from "./w8-sides.ts";
import { WORKLOADS } from "./workloads.ts";

const USERS = 10_000;
const ROUNDS = 5;
/** What is compared with is not what must hold. */
const PEER_ROUNDS_MAX = 3;
/** Of each, in a round. */
const SECONDS = 4;
/** Users that take more of their core than this measure themselves. */
const USERS_CPU_MAX = 0.9;
const OF_THE_FLOOR_MIN = 0.7;

const ABOUT =
  "As many flushes to 10,000 users as one core gives, (a) with one market change, (b) with ten in one frame. The floor is a C program (`bench/floor/`): one thread, epoll, and the very bytes that Oddswire sends, " +
  "one write a user and flush, without any gateway. Oddswire is `oddswire serve` as anybody runs it, one process, fed by the simulated exchange; users have one market or ten, conflateMs 0. " +
  "The peers broadcast the same message; where it is ten changes, also as ten messages, which is what they send that merge nothing. All users are one C program, the same for everybody: it decodes each frame and holds each message " +
  "against what the first user of that server got; the first user's books are held against the exchange's at the end. Everybody is raced against a floor of its own, both up at once and busy in turn, a second each; " +
  "the next flush goes out when the last has arrived at everybody, so that each is a write a user: who would merge several flushes into one write, as nats-server and Oddswire do when more come at once, does not get to. A flush is one user's. CPU: the server's own user and system time, all its threads; a round is four seconds of each; medians. " +
  "The exchange, the users and whatever else is going on share the two cores. The picture shows Oddswire's CPU for a flush, as times the floor's.";

interface Load {
  readonly name: string;
  readonly workload: string;
  /** Of each market so many runners change. */
  readonly runners: number;
  readonly changes: number;
}

const LOADS: readonly Load[] = [
  { name: "(a) 1 change", workload: "W8a", runners: 1, changes: 1 },
  { name: "(b) 10 changes", workload: "W8b", runners: 3, changes: 10 },
];

type Progress = (text: string) => void;
/** Races somebody against the floor; `roundsMax`: no more rounds than that. */
type Race = (side: Side, roundsMax: number) => Promise<{ readonly floor: Outcome; readonly other: Outcome }>;

/** The floor, the gateway and the peers with the same bytes to the same users. */
export async function w8(
  _files: readonly string[],
  progress: Progress,
  { runs = ROUNDS, seconds = SECONDS, users = USERS }: BenchOptions = {},
): Promise<Report> {
  const folder = mkdtempSync(join(tmpdir(), "oddswire-w8-"));
  try {
    const programs = compiled(folder);
    const rows: Row[] = [];
    for (const load of LOADS) {
      const gateway = gatewaySide(load, users);
      progress(`${load.name}: what a message looks like`);
      const message = await sample(gateway, programs, folder);
      const against: Race = async (side, roundsMax) => {
        const options = { users, rounds: Math.min(runs, roundsMax), seconds };
        const [floor, other] = await race([floorSide(programs.floor, message), side], options, programs, folder);
        return { floor: floor as Outcome, other: other as Outcome };
      };
      rows.push(...(await ours(load, gateway, against, progress)));
      rows.push(...(await peers(load, message.toString("latin1"), against, progress)));
    }
    return { bench: "W8", about: ABOUT, rows };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function gatewaySide({ workload, runners }: Load, users: number): Side {
  const found = WORKLOADS[workload];
  if (found?.users == null) throw new Error(`there is no workload ${workload} with users`);
  const { feed, users: crowd } = found;
  return oddswireSide(() => new Feed(feed, runners), (crowd as Workload).fields, users);
}

async function ours(load: Load, gateway: Side, against: Race, progress: Progress): Promise<Row[]> {
  progress(`${load.name}: Oddswire`);
  const { floor, other } = await against(gateway, Number.POSITIVE_INFINITY);
  const ratios = ratiosOf(floor, other);
  const row = rowOf(load, "Oddswire", other, ratios);
  const isReached = other.booksChecked !== null && median(ratios) >= OF_THE_FLOOR_MIN;
  return [
    rowOf(load, "floor", floor, ratiosOf(floor, floor)),
    {
      ...row,
      values: { ...row.values, "to reach": `≥ ${OF_THE_FLOOR_MIN}` },
      passed: row.passed && isReached,
      runs: ratios,
      bar: { ours: ratios.map((ratio) => 1 / ratio), limit: 1 / OF_THE_FLOOR_MIN },
    },
  ];
}

/** With the whole message; and where it tells of several changes, with a message each too. */
async function peers(load: Load, message: string, against: Race, progress: Progress): Promise<Row[]> {
  const rows: Row[] = [];
  for (const peer of PEERS) {
    const name = `${peer.name} ${peer.version}`;
    progress(`${load.name}: ${name}`);
    const place = await installed(peer);
    if (place.kind === "missing") {
      rows.push({
        name: `${load.name}: ${name}`,
        values: { "flushes/core-s": place.why, "to reach": "" },
        passed: true,
      });
      continue;
    }
    for (const messages of load.changes === 1 ? [[message]] : [[message], apart(message)]) {
      const { floor, other } = await against(peerSide(peer, place.at, messages), PEER_ROUNDS_MAX);
      const how = messages.length === 1 ? "" : `, ${messages.length} messages`;
      rows.push(rowOf(load, `${name}${how}`, other, ratiosOf(floor, other)));
    }
  }
  return rows;
}

/** The messages of who merges nothing: a change each. */
function apart(message: string): string[] {
  const { mc, ...head } = JSON.parse(message) as { readonly mc: readonly object[] };
  return mc.map((change) => JSON.stringify({ ...head, mc: [change] }));
}

function ratiosOf(floor: Outcome, other: Outcome): number[] {
  return other.rounds.map(({ flushes, cpu }, i) => {
    const beside = floor.rounds[i] as (typeof floor.rounds)[number];
    return flushes / cpu / (beside.flushes / beside.cpu);
  });
}

function rowOf(load: Load, name: string, outcome: Outcome, ratios: readonly number[]): Row {
  const { users, rounds, wrong, booksChecked, bytesPerFlush } = outcome;
  const rates = rounds.map(({ flushes, cpu }) => (flushes * users) / cpu);
  const usersCpu = Math.max(...rounds.map((round) => round.usersCpu / round.seconds));
  return {
    name: `${load.name}: ${name}`,
    values: {
      "flushes/core-s": median(rates),
      "least to most": `${thousands(Math.min(...rates))} to ${thousands(Math.max(...rates))}`,
      "× floor": spread(ratios),
      "to reach": "",
      "changes/core-s": median(rates) * load.changes,
      "bytes a flush": Math.round(bytesPerFlush),
      "CPU, cores": median(rounds.map(({ cpu, seconds }) => cpu / seconds)),
      "users' CPU": usersCpu,
      wrong,
      "books checked": booksChecked ?? "",
    },
    passed: wrong === 0 && usersCpu < USERS_CPU_MAX,
  };
}

function thousands(value: number): string {
  return `${(value / 1_000).toFixed(1)}K`;
}

/** The median, and between what. */
function spread(values: readonly number[]): string {
  const all = [median(values), Math.min(...values), Math.max(...values)];
  const [middle, least, most] = all.map((value) => value.toFixed(2));
  return `${middle} (${least} to ${most})`;
}
