import { FAULTS } from "../base/errors.ts";
import type { Hub } from "../delivery/hub.ts";
import type { Traffic } from "../delivery/traffic.ts";
import type { Lobby } from "../edge/lobby.ts";
import { CALL_ENDS, type CallCounts, OPERATIONS } from "../exchange/call-counts.ts";
import type { Catalogue } from "../exchange/catalogue.ts";
import type { Cache } from "../market/cache.ts";
import type { SourceState } from "../market/types.ts";
import type { Sessions } from "../tenancy/sessions.ts";
import type { ProcessFigures } from "./metrics-process.ts";

/** A connection to where prices, orders or sports come from, or several as one. */
export interface FeedCounters {
  readonly sourceState: SourceState;
  readonly connects: number;
  readonly messages: number;
  readonly bytes: number;
  readonly images: number;
  readonly resumes: number;
  readonly invalidLines: number;
  /** By the monotonic clock; absent where several connections are one feed. */
  readonly lastMessageAt?: number | null;
  /** A bus counts batches that did not follow each other. */
  readonly gaps?: number;
}

/** A stream that is handed out beside the market stream. */
export interface DeskCounters {
  readonly messagesOut: number;
  readonly images: number;
  readonly resumes: number;
  readonly subscriptions: { readonly size: number };
}

/** What there is where users are served. */
export interface UserSide {
  readonly hub: Hub;
  readonly lobby: Lobby;
  /** By name, with the name's words in snake case. */
  readonly doors: Readonly<Record<string, Traffic>>;
  /** By stream: order, race, cricket. */
  readonly desks: Readonly<Record<string, DeskCounters>>;
  readonly tokens: Sessions;
  /** Null in a process that has no use for names. */
  readonly catalogue: Catalogue | null;
}

/** The rooms, as ops reads them. */
export interface MetricsSources {
  readonly version: string;
  readonly role: string;
  readonly isReady: () => boolean;
  /** By stream: market, order, race, cricket. */
  readonly feeds: Readonly<Record<string, FeedCounters>>;
  readonly cache: Cache;
  /** Null in a process that serves nobody. */
  readonly users: UserSide | null;
  /** Present where others are fed from here. */
  readonly bus?: { readonly followers: number; readonly joins: number; readonly drops: number };
  /** What was called with the login at the exchange. */
  readonly calls?: CallCounts | undefined;
  /** Null where the books are not kept as a file. */
  readonly snapshot?: (() => SnapshotCounters | null) | undefined;
}

/** The file that the books are kept in. */
export interface SnapshotCounters {
  readonly written: number;
  readonly failures: number;
  readonly isFailing: boolean;
  readonly lastBytes: number;
  readonly lastMs: number;
  /** When the file that there is was written, by the monotonic clock, before the start perhaps; null: there is none. */
  readonly wroteAt: number | null;
}

/** What was asked for once for the whole of a scrape. */
export interface Scrape extends MetricsSources {
  readonly now: number;
  readonly process: ProcessFigures;
  readonly memoryLimitBytes: number;
}

/** The values of the labels, in their order, and the number. */
export type Sample = readonly [labels: readonly string[], value: number];

export interface MetricDefinition {
  readonly name: string;
  readonly type: "counter" | "gauge";
  readonly help: string;
  readonly labels: readonly string[];
  readonly read: (from: Scrape) => readonly Sample[];
}

/** The histogram is kept by the process itself; everything else is read when asked. Seconds, doubling or so: a millisecond is the timer's own, a second is a stall. */
export const LOOP_LAG = {
  name: "oddswire_event_loop_lag_seconds",
  help: "How late a timer fired that is due every 100 ms: the time that anything may have to wait for the process.",
  buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
} as const;

/** Everything that is told, in the order in which it is told. Labels have few values, all known beforehand: never a market, a user or an address. */
export const METRICS: readonly MetricDefinition[] = [
  {
    name: "oddswire_build_info",
    type: "gauge",
    help: "Always 1; the labels say what runs.",
    labels: ["version", "role", "runtime"],
    read: ({ version, role }) => [[[version, role, RUNTIME], 1]],
  },
  gauge("oddswire_ready", "1 once the exchange's first image is whole.", ({ isReady }) => (isReady() ? 1 : 0)),

  {
    name: "oddswire_feed_state",
    type: "gauge",
    help: "1 for the state that the feed is in: live, stale (what is shown may be old) or down (nothing has come yet).",
    labels: ["feed", "state"],
    read: ({ feeds }) =>
      Object.entries(feeds).flatMap(([name, { sourceState }]) =>
        STATES.map((state): Sample => [[name, state], state === sourceState ? 1 : 0]),
      ),
  },
  feed("connects_total", "Connections made; more than the first: it had to come back.", (of) => of.connects),
  feed("messages_total", "Messages received, heartbeats included.", (of) => of.messages),
  feed("received_bytes_total", "Bytes received.", (of) => of.bytes),
  feed("images_total", "Images received, instead of what had changed.", (of) => of.images),
  feed("resumes_total", "Times that the feed went on from where it was cut.", (of) => of.resumes),
  feed("invalid_lines_total", "Lines that could not be read; each ends the connection.", (of) => of.invalidLines),
  feed("gaps_total", "Batches that did not follow each other; only from a bus.", (of) => of.gaps),
  {
    ...feed(
      "silence_seconds",
      "Since the last message; absent where several connections are one feed.",
      () => undefined,
    ),
    type: "gauge",
    read: ({ feeds, now }) =>
      Object.entries(feeds).flatMap(([name, { lastMessageAt }]): Sample[] =>
        typeof lastMessageAt === "number" ? [[[name], (now - lastMessageAt) / 1000]] : [],
      ),
  },

  gauge("oddswire_markets", "Markets held.", ({ cache }) => cache.size),
  counter("oddswire_changes_total", "Market changes applied.", ({ cache }) => cache.changes),
  gauge("oddswire_arena_used_bytes", "What the books take of their arena.", ({ cache }) => cache.bytesUsed),
  gauge("oddswire_arena_held_bytes", "What the arena takes of the machine.", ({ cache }) => cache.bytesHeld),

  door("oddswire_connections", "gauge", "Connections open.", ({ opened, closed }) => opened - closed),
  door("oddswire_connections_opened_total", "counter", "Connections taken.", ({ opened }) => opened),
  {
    name: "oddswire_users",
    type: "gauge",
    help: "Users who have authenticated: in_step, behind (the socket is full, or what was asked for is on its way), or held (their bytes of the second are spent).",
    labels: ["state"],
    read: byUsers(({ hub }) => [
      [["in_step"], hub.sessions.size - hub.behind.size - hub.held],
      [["behind"], hub.behind.size],
      [["held"], hub.held],
    ]),
  },
  users("oddswire_behind_bytes", "gauge", "Bytes that wait for sockets of users who are behind.", ({ hub }) =>
    sum([...hub.behind].map((session) => session.outbox.bytesWaiting)),
  ),
  {
    name: "oddswire_behind_longest_seconds",
    type: "gauge",
    help: "How long the user has been behind who has been so for the longest; delivery.behindMsMax ends it.",
    labels: [],
    read: ({ users, now }) =>
      users === null ? [] : [[[], [...users.hub.behind].reduce((max, one) => Math.max(max, behindFor(one, now)), 0)]],
  },
  {
    name: "oddswire_closes_total",
    type: "counter",
    help: "Conversations that ended, by the code that the user was given; LEFT: the user went.",
    labels: ["code"],
    read: byUsers(({ lobby }) =>
      [...FAULT_CODES, "LEFT" as const].map((code): Sample => [[code], lobby.ends.get(code) ?? 0]),
    ),
  },
  {
    name: "oddswire_subscriptions",
    type: "gauge",
    help: "Subscriptions open.",
    labels: ["stream"],
    read: byUsers(({ hub, desks }) => {
      let markets = 0;
      for (const { subscriptions } of hub.sessions) markets += subscriptions.length;
      return [
        [["market"], markets],
        ...Object.entries(desks).map(([name, of]): Sample => [[name], of.subscriptions.size]),
      ];
    }),
  },

  stream("sent_messages_total", "Messages of changes, images and heartbeats put together.", (of) => of.messagesOut),
  stream("sent_images_total", "Images begun.", (of) => of.images),
  stream("sent_resumes_total", "Users who came back and were told only what had changed.", (of) => of.resumes),
  users(
    "oddswire_holds_total",
    "counter",
    "Times that the bytes of a user's second were spent.",
    ({ hub }) => hub.holds,
  ),
  users("oddswire_catch_ups_total", "counter", "Times that a subscription fell behind.", ({ hub }) => hub.catchUps),
  users(
    "oddswire_encodes_total",
    "counter",
    "Changes of a market encoded, once for all who share a view.",
    ({ hub }) => hub.encodes,
  ),
  door("oddswire_sent_frames_total", "counter", "Messages framed, replies included.", ({ frames }) => frames),
  door("oddswire_sent_bytes_total", "counter", "Bytes that sockets took, before TLS.", ({ bytes }) => bytes),
  door("oddswire_writes_total", "counter", "Writes to sockets.", ({ writes }) => writes),

  {
    name: "oddswire_logins_total",
    type: "counter",
    help: "Logins of users, by how they ended.",
    labels: ["outcome"],
    read: byUsers(({ tokens: { counters } }) => [
      [["token"], counters.logins],
      [["refused"], counters.refused],
      [["busy"], counters.busy],
    ]),
  },
  users(
    "oddswire_keep_alives_total",
    "counter",
    "Tokens of logins kept alive.",
    ({ tokens }) => tokens.counters.keepAlives,
  ),
  {
    name: "oddswire_tokens_ended_total",
    type: "counter",
    help: "Tokens of logins that ended.",
    labels: ["reason"],
    read: byUsers(({ tokens: { counters } }) => [
      [["logout"], counters.logouts],
      [["expired"], counters.expired],
      [["pushed_out"], counters.pushedOut],
    ]),
  },
  users("oddswire_tokens", "gauge", "Tokens of logins alive.", ({ tokens }) => tokens.alive),
  users("oddswire_named_markets", "gauge", "Markets whose names are known.", ({ catalogue }) => catalogue?.named),
  users("oddswire_catalogue_calls_total", "counter", "Calls for names.", ({ catalogue }) => catalogue?.calls),
  users(
    "oddswire_catalogue_failures_total",
    "counter",
    "Calls for names that failed.",
    ({ catalogue }) => catalogue?.failures,
  ),

  bus("oddswire_bus_followers", "gauge", "Processes that are fed from here.", (of) => of.followers),
  bus("oddswire_bus_joins_total", "counter", "Times that one began to follow.", (of) => of.joins),
  bus("oddswire_bus_drops_total", "counter", "Followers dropped, as they were too slow.", (of) => of.drops),

  {
    name: "oddswire_exchange_calls_total",
    type: "counter",
    help: "Calls of the exchange's APIs, by how they ended: result, error (the API said no) or unanswered (no answer in time, or none that can be read).",
    labels: ["operation", "outcome"],
    read: ({ calls }) =>
      calls === undefined
        ? []
        : OPERATIONS.flatMap((operation) =>
            CALL_ENDS.map((end): Sample => [[operation, end], calls.of(operation, end)]),
          ),
  },

  snapshot("age_seconds", "gauge", "How old the file of books is.", ({ wroteAt }, now) =>
    wroteAt === null ? null : (now - wroteAt) / 1000,
  ),
  snapshot("bytes", "gauge", "What was written of it the last time.", (of) => (of.written > 0 ? of.lastBytes : null)),
  snapshot("duration_seconds", "gauge", "How long that took.", (of) => (of.written > 0 ? of.lastMs / 1000 : null)),
  snapshot("writes_total", "counter", "Times that it was written.", (of) => of.written),
  snapshot("failures_total", "counter", "Times that it was not, and the one before stayed.", (of) => of.failures),
  snapshot("failing", "gauge", "1 when the last attempt failed; the log says why.", (of) => (of.isFailing ? 1 : 0)),

  counter("process_cpu_seconds_total", "CPU time, user and system.", ({ process }) => process.cpuSeconds),
  gauge("process_resident_memory_bytes", "Memory that the process takes (RSS).", ({ process }) => process.rssBytes),
  gauge(
    "process_start_time_seconds",
    "When the process began, seconds since the Unix epoch.",
    ({ process }) => process.startedAt,
  ),
  gauge("process_open_fds", "Open files and sockets.", ({ process }) => process.openFiles),
  gauge("process_max_fds", "How many may be open.", ({ process }) => process.openFilesMax),
  gauge(
    "oddswire_heap_used_bytes",
    "The runtime's heap in use, array buffers included.",
    ({ process }) => process.heapUsedBytes,
  ),
  gauge(
    "oddswire_memory_limit_bytes",
    "How much memory the process may take: metrics.memoryBytesMax, else what its control group allows, else what the machine has.",
    ({ memoryLimitBytes }) => memoryLimitBytes,
  ),
  gauge(
    "oddswire_memory_load_ratio",
    "RSS over that limit.",
    ({ process, memoryLimitBytes }) => process.rssBytes / memoryLimitBytes,
  ),
];

const RUNTIME = `bun ${process.versions.bun}`;
const STATES: readonly SourceState[] = ["live", "stale", "down"];
const FAULT_CODES = Object.keys(FAULTS) as (keyof typeof FAULTS)[];

type Figure<From> = (from: From) => number | null | undefined;

/** One number, or none where it is not known. */
function one(value: number | null | undefined, labels: readonly string[] = []): Sample[] {
  return value === null || value === undefined ? [] : [[labels, value]];
}

function gauge(name: string, help: string, figure: Figure<Scrape>): MetricDefinition {
  return { name, type: "gauge", help, labels: [], read: (from) => one(figure(from)) };
}

function counter(name: string, help: string, figure: Figure<Scrape>): MetricDefinition {
  return { name, type: "counter", help, labels: [], read: (from) => one(figure(from)) };
}

function feed(name: string, help: string, figure: Figure<FeedCounters>): MetricDefinition {
  const read = ({ feeds }: Scrape) => Object.entries(feeds).flatMap(([feed, of]) => one(figure(of), [feed]));
  return { name: `oddswire_feed_${name}`, type: "counter", help, labels: ["feed"], read };
}

function users(name: string, type: "counter" | "gauge", help: string, figure: Figure<UserSide>): MetricDefinition {
  return { name, type, help, labels: [], read: byUsers((from) => one(figure(from))) };
}

function door(name: string, type: "counter" | "gauge", help: string, figure: Figure<Traffic>): MetricDefinition {
  const read = byUsers(({ doors }) => Object.entries(doors).flatMap(([door, of]) => one(figure(of), [door])));
  return { name, type, help, labels: ["door"], read };
}

function stream(name: string, help: string, figure: Figure<Omit<DeskCounters, "subscriptions">>): MetricDefinition {
  const read = byUsers(({ hub, desks }) =>
    Object.entries({ market: hub, ...desks }).flatMap(([stream, of]) => one(figure(of), [stream])),
  );
  return { name: `oddswire_${name}`, type: "counter", help, labels: ["stream"], read };
}

function bus(
  name: string,
  type: "counter" | "gauge",
  help: string,
  figure: Figure<NonNullable<MetricsSources["bus"]>>,
): MetricDefinition {
  return { name, type, help, labels: [], read: ({ bus }) => (bus === undefined ? [] : one(figure(bus))) };
}

function snapshot(
  name: string,
  type: "counter" | "gauge",
  help: string,
  figure: (from: SnapshotCounters, now: number) => number | null,
): MetricDefinition {
  const read = ({ snapshot, now }: Scrape) => {
    const counters = snapshot?.() ?? null;
    return counters === null ? [] : one(figure(counters, now));
  };
  return { name: `oddswire_snapshot_${name}`, type, help, labels: [], read };
}

function byUsers(read: (from: UserSide) => readonly Sample[]): MetricDefinition["read"] {
  return ({ users }) => (users === null ? [] : read(users));
}

function behindFor({ behindSince }: { readonly behindSince: number | null }, now: number): number {
  return behindSince === null ? 0 : (now - behindSince) / 1000;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
