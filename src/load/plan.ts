import { type Random, randomInt, seededRandom } from "../base/random.ts";
import { ZipfDraw } from "../base/zipf.ts";
import type { CrowdPlan, Seat } from "./crowd.ts";
import { LAGGARD_KINDS, type Workload } from "./workload.ts";

/** Sockets of one process: the limit of open files is 20,000 in most places. */
export const USERS_PER_PROCESS = 15_000;
/**
 * Connections from one address to one place. A kernel has 28,232 ports for them, but looks first in a quarter of them, for who names an address to come from;
 * the 7,059th connect takes a hundred times as long as those before.
 */
const CONNECTIONS_PER_SOURCE = 6_000;
/** Without a name it looks first in half of them. */
const CONNECTIONS_WITHOUT_SOURCE = 12_000;
/** Draws for a market that a user has not, before the next free one is taken. */
const DRAWS_MAX = 64;

/** Everything about a run that is the same for all its processes. */
export interface Venue
  extends Omit<CrowdPlan, "seats" | "workload" | "seed" | "sources" | "marketIds" | "allMarketIds"> {
  /** In the order of their popularity, where there is any. */
  readonly marketIds: readonly string[];
}

/** Who sits where: one plan a process, which together are the workload. `processes`: null for as many as are needed. */
export function plansFor(workload: Workload, venue: Venue, processes: number | null, seed: number): CrowdPlan[] {
  const random = seededRandom(seed);
  // So that each process has its share of every kind.
  const seats = shuffled(seatsFor(workload, venue.marketIds, random), random);
  const groups = grouped(seats, processes);
  const marketIds = [...new Set(seats.filter(({ kind }) => kind === "ordinary").flatMap(({ marketIds }) => marketIds))];
  return groups.map((own, n) => ({
    ...venue,
    marketIds,
    allMarketIds: venue.marketIds,
    sources: sourcesFor(venue.target.host, groups, n),
    seats: own,
    workload: shared(workload, own.length / seats.length),
    seed: seed + n + 1,
  }));
}

/**
 * The seats of each process. With a storm those who are not cut off sit by themselves, as a process in which thousands shake hands again would not read in time what
 * the others were sent in time.
 */
function grouped(seats: readonly Seat[], processes: number | null): Seat[][] {
  const stormy = processes === null ? [false, true] : [null];
  return stormy
    .map((isShaken) => seats.filter((seat) => isShaken === null || seat.isShaken === isShaken))
    .filter((group) => group.length > 0)
    .flatMap((group) => dealt(group, processes ?? Math.ceil(group.length / USERS_PER_PROCESS)));
}

function dealt(seats: readonly Seat[], count: number): Seat[][] {
  return Array.from({ length: count }, (_, n) => seats.filter((_, i) => i % count === n));
}

/** A process's share of what all do together. */
function shared(workload: Workload, share: number): Workload {
  const { perSecond, handshakesMax } = workload.ramp;
  return {
    ...workload,
    churnPerSecond: workload.churnPerSecond * share,
    ramp: { perSecond: perSecond * share, handshakesMax: Math.max(1, Math.floor(handshakesMax * share)) },
  };
}

/** On loopback one address's ports would run out; elsewhere this machine's routes decide. */
function sourcesFor(host: string, groups: readonly (readonly Seat[])[], process: number): string[] {
  const sizes = groups.map(({ length }) => length);
  const users = sizes.reduce((sum, size) => sum + size, 0);
  if (!/^127\./.test(host) || users <= CONNECTIONS_WITHOUT_SOURCE) return [];
  // Each process has its own, as two of them would be in each other's way.
  const each = Math.ceil(Math.max(...sizes) / CONNECTIONS_PER_SOURCE);
  return Array.from({ length: each }, (_, i) => `127.0.0.${2 + process * each + i}`);
}

export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

function seatsFor(workload: Workload, marketIds: readonly string[], random: Random): Seat[] {
  const { users, laggards, readers, storm } = workload;
  const marketsOf = chooser(workload, marketIds, random);
  const late = LAGGARD_KINDS.flatMap((kind) => Array<typeof kind>(Math.round(users * laggards[kind])).fill(kind));
  const ordinary = users - late.length;
  const everyReader = Math.max(1, Math.floor(ordinary / Math.max(1, readers)));
  const seats: Seat[] = Array.from({ length: ordinary }, (_, n) => ({
    kind: "ordinary",
    marketIds: marketsOf(n),
    isReader: n % everyReader === 0 && n / everyReader < readers,
    isShaken: storm !== null && Math.floor((n + 1) * storm.share) > Math.floor(n * storm.share),
  }));
  for (const kind of late) seats.push({ kind, marketIds: marketsOf(seats.length), isReader: false, isShaken: false });
  return seats;
}

/** Evenly: everybody takes the next ones. By Zipf's law: each draws its own, no market twice. */
function chooser(
  { marketsEach, zipf }: Workload,
  marketIds: readonly string[],
  random: Random,
): (user: number) => string[] {
  const each = Math.min(marketsEach, marketIds.length);
  const at = (n: number) => marketIds[n % marketIds.length] as string;
  if (zipf === 0) return (user) => Array.from({ length: each }, (_, i) => at(user * each + i));
  const draw = new ZipfDraw(marketIds.length, zipf, random);
  return () => {
    const chosen = new Set<number>();
    for (let tries = 0; chosen.size < each && tries < DRAWS_MAX * each; tries++) chosen.add(draw.next());
    for (let n = 0; chosen.size < each; n++) chosen.add(n);
    return [...chosen].map(at);
  };
}

function shuffled<T>(items: T[], random: Random): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = randomInt(random, i + 1);
    [items[i], items[j]] = [items[j] as T, items[i] as T];
  }
  return items;
}
