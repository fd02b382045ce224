import type { Clock } from "../base/clock.ts";
import { FAULTS, type FaultCode, OddswireError } from "../base/errors.ts";
import { Latencies, type LatenciesJson } from "../base/latencies.ts";
import type { CrowdEnd, CrowdPlan, CrowdTick, CrowdWord } from "./crowd.ts";
import { countedSince, type ServerCounts } from "./metrics.ts";
import { SAMPLES_MAX } from "./peers.ts";
import type { CrowdListener, CrowdOrder, CrowdProcess } from "./process.ts";
import {
  checksOf,
  type LaggardsResult,
  type LoadResult,
  rounded,
  type Second,
  summary,
  type Thresholds,
  toldOf,
} from "./result.ts";
import type { ServerUse } from "./server.ts";
import type { Found } from "./venue.ts";
import { LAGGARD_KINDS, type LaggardKind, type Workload } from "./workload.ts";

export interface LoadTestOptions {
  readonly url: string;
  readonly venue: Found;
  readonly plans: readonly CrowdPlan[];
  /** The whole of it. */
  readonly workload: Workload;
  readonly thresholds: Thresholds;
  readonly clockKind: "shared" | "quickest";
  /** Of the server, where it runs here. */
  readonly pids: readonly number[];
}

export interface LoadTestWorld {
  readonly clock: Clock;
  readonly start: (listener: CrowdListener) => CrowdProcess;
  readonly use: (pids: readonly number[], withPss: boolean) => ServerUse | null;
  /** The server's own counts so far; absent where nobody knows where to ask. */
  readonly counts?: () => Promise<ServerCounts>;
  /** How it goes, for a terminal; null ends it. */
  readonly progress?: (text: string | null) => void;
  /** Resolves when somebody wants it to end early: what was measured by then is the result. */
  readonly stopped: Promise<void>;
}

const TICK_MS = 1_000;
/** The server is asked what waits for those who are behind. */
const COUNTS_MS = 2_000;
/** How much longer than its pace says a ramp may take, before what came is all there is. */
const RAMP_SECONDS_MORE = 60;
/** From an order to the last process's word. */
const ANSWER_MS_MAX = 120_000;

const TOO_MANY =
  ". Ask for fewer --users, give several --session TOKEN, or raise visitors[].connectionsMax (and doors.connectionsMax) of the gateway";
const NO_TRUST = ". Give --ca FILE with the certificate to trust";

/** One process and what it last said. */
interface Member {
  readonly process: CrowdProcess;
  tick: CrowdTick | null;
  end: CrowdEnd | null;
}

/** Runs a load test: everybody comes, warms up, is measured, is looked at. Throws an OddswireError where it cannot be done. */
export class LoadTest {
  readonly #options: LoadTestOptions;
  readonly #world: LoadTestWorld;
  readonly #members: Member[] = [];
  readonly #seconds: Second[] = [];
  readonly #latencies = new Latencies();
  readonly #arrivals = new Latencies();
  #phase: Second["phase"] = "ramp";
  #failure: OddswireError | null = null;
  #isStopped = false;
  #last: Sample | null = null;
  /** What waited for those who were behind, the most that was seen. */
  #behindBytesMax = 0;
  #countedAt = 0;
  /** What this second's ticks brought. */
  readonly #second = new Latencies();

  constructor(options: LoadTestOptions, world: LoadTestWorld) {
    this.#options = options;
    this.#world = world;
  }

  async run(): Promise<LoadResult> {
    const { clock, stopped, use, progress } = this.#world;
    const { plans, workload, pids } = this.#options;
    const startedAt = new Date(clock.wall()).toISOString();
    void stopped.then(() => {
      this.#isStopped = true;
    });
    const idle = use(pids, false);
    for (const plan of plans) this.#begin(plan);
    try {
      const began = clock.monotonic();
      await this.#ramp(began);
      const rampSeconds = (clock.monotonic() - began) / 1_000;
      this.#phase = "warm-up";
      await this.#wait(workload.warmUpSeconds * 1_000, began);
      const offsetMs = this.#offset();
      const closesBefore = (await this.#world.counts?.())?.closes ?? null;
      const first = await this.#mark({ kind: "measure", offsetMs }, "measuring");
      this.#phase = "measured";
      await this.#wait(workload.seconds * 1_000, began);
      const last = await this.#mark({ kind: "measured" }, "after");
      const closesAfter = (await this.#world.counts?.())?.closes ?? null;
      progress?.("what is on its way comes in; books are compared");
      const ends = await this.#end();
      const serverCloses = closesBefore && closesAfter && countedSince(closesBefore, closesAfter);
      return this.#result({ startedAt, rampSeconds, offsetMs, idle, first, last, ends, serverCloses });
    } finally {
      progress?.(null);
      for (const { process } of this.#members) process.kill();
    }
  }

  #begin(plan: CrowdPlan): void {
    const listener: CrowdListener = {
      word: (word) => this.#hear(member, word),
      over: (reason) => {
        if (member.end === null) this.#fail("UNEXPECTED_ERROR", `a load process ended before its time (${reason})`);
      },
    };
    const member: Member = { process: this.#world.start(listener), tick: null, end: null };
    this.#members.push(member);
    member.process.order({ kind: "plan", plan });
  }

  #hear(member: Member, word: CrowdWord): void {
    switch (word.kind) {
      case "tick":
        member.tick = word;
        this.#second.merge(word.latencies);
        this.#arrivals.merge(word.arrivals);
        if (word.phase !== "before") this.#latencies.merge(word.latencies);
        return;
      case "refused":
        return this.#refused(word.why);
      case "ended":
        member.end = word;
    }
  }

  #refused(why: string): void {
    if (this.#phase !== "ramp") return; // counted as a close, as others are here
    const [, code = ""] = /^([A-Z_]+):/.exec(why) ?? [];
    const hint = why.startsWith("MAX_CONNECTION_LIMIT_EXCEEDED")
      ? TOO_MANY
      : /CERT|certificate/.test(why)
        ? NO_TRUST
        : "";
    this.#fail(code in FAULTS ? (code as FaultCode) : "CONNECTION_FAILED", `a user was refused (${why})${hint}`);
  }

  #fail(code: OddswireError["code"], message: string): void {
    this.#failure ??= new OddswireError(code, message);
  }

  /** Until everybody is here, or they have had all the time there is. */
  async #ramp(began: number): Promise<void> {
    const { clock } = this.#world;
    const { users, ramp } = this.#options.workload;
    const until = began + (users / ramp.perSecond + RAMP_SECONDS_MORE) * 1_000;
    while (this.#here() < users && clock.monotonic() < until && !this.#isStopped) await this.#wait(100, began);
    if (this.#here() === 0) {
      throw this.#failure ?? new OddswireError("CONNECTION_FAILED", `nobody got in at ${this.#options.url}`);
    }
  }

  /** Looks around each second. Throws where something went wrong. */
  async #wait(ms: number, began: number): Promise<void> {
    const { clock } = this.#world;
    for (const until = clock.monotonic() + ms; clock.monotonic() < until && !this.#isStopped; ) {
      await new Promise<void>((resolve) => void clock.after(Math.min(100, until - clock.monotonic()), resolve));
      if (this.#failure !== null) throw this.#failure;
      if (this.#last === null || clock.monotonic() - this.#last.at >= TICK_MS) this.#look(began);
    }
  }

  #look(began: number): void {
    const now = this.#sample(this.#world.use(this.#options.pids, false));
    const before = this.#last;
    this.#last = now;
    if (before === null) return;
    const seconds = (now.at - before.at) / 1_000;
    const rate = (value: (sample: Sample) => number) => (value(now) - value(before)) / seconds;
    const second: Second = {
      at: rounded((now.at - began) / 1_000),
      phase: this.#phase,
      users: this.#here(),
      messages: Math.round(rate(({ messages }) => messages)),
      changes: Math.round(rate(({ changes }) => changes)),
      bytes: Math.round(rate(({ bytes }) => bytes)),
      p50: this.#second.quantile(0.5),
      p99: this.#second.quantile(0.99),
      max: this.#second.quantile(1),
      serverCpu: now.server && before.server ? rate((sample) => (sample.server as ServerUse).cpu) : null,
      clientCpu: rate(({ cpu }) => cpu),
      serverRss: now.server?.rss ?? null,
    };
    this.#second.clear();
    this.#seconds.push(second);
    this.#countWaiting(now.at);
    this.#world.progress?.(progressText(second, this.#options.workload));
  }

  /** Now and then while it is measured: an answer that does not come is missed by nobody. */
  #countWaiting(now: number): void {
    if (this.#world.counts === undefined || this.#phase !== "measured" || now - this.#countedAt < COUNTS_MS) return;
    this.#countedAt = now;
    void this.#world.counts().then(
      ({ behindBytes }) => {
        this.#behindBytesMax = Math.max(this.#behindBytesMax, behindBytes);
      },
      () => {},
    );
  }

  /** Half a connect is what the quickest message took, as far as anybody can know whose clock is another. */
  #offset(): number {
    if (this.#options.clockKind === "shared") return 0;
    const least = (value: (tick: CrowdTick) => number | null) =>
      Math.min(...this.#members.map(({ tick }) => (tick && value(tick)) ?? Number.POSITIVE_INFINITY));
    const [quickest, connect] = [least((tick) => tick.quickestMs), least((tick) => tick.connectMs)];
    return Number.isFinite(quickest) ? quickest - connect / 2 : 0;
  }

  /** Where counting begins, or ends: everybody says now how it is. */
  async #mark(order: CrowdOrder, phase: CrowdTick["phase"]): Promise<Sample> {
    for (const { process } of this.#members) process.order(order);
    await this.#until(({ tick }) => tick?.phase === phase);
    return this.#sample(this.#world.use(this.#options.pids, true));
  }

  async #end(): Promise<CrowdEnd[]> {
    for (const { process } of this.#members) process.order({ kind: "end" });
    await this.#until(({ end }) => end !== null);
    return this.#members.map(({ end }) => end as CrowdEnd);
  }

  async #until(holds: (member: Member) => boolean): Promise<void> {
    const { clock } = this.#world;
    const until = clock.monotonic() + ANSWER_MS_MAX;
    while (!this.#members.every(holds)) {
      if (this.#failure !== null) throw this.#failure;
      if (clock.monotonic() > until) throw new OddswireError("TIMEOUT", "a load process does not answer");
      await new Promise<void>((resolve) => void clock.after(5, resolve));
    }
  }

  #sample(server: ServerUse | null): Sample {
    const sum = (value: (tick: CrowdTick) => number) =>
      this.#members.reduce((total, { tick }) => total + (tick === null ? 0 : value(tick)), 0);
    return {
      at: this.#world.clock.monotonic(),
      messages: sum(({ messages }) => messages),
      changes: sum(({ changes }) => changes),
      bytes: sum(({ bytes }) => bytes),
      cpu: sum(({ cpu }) => cpu),
      cpus: this.#members.map(({ tick }) => tick?.cpu ?? 0),
      live: this.#live(),
      laggardsLive: this.#laggardsLive(),
      server,
    };
  }

  #live(): number {
    return this.#members.reduce((sum, { tick }) => sum + (tick?.live ?? 0), 0);
  }

  #here(): number {
    return this.#live() + this.#laggardsLive();
  }

  #laggardsLive(): number {
    return this.#members.reduce((sum, { tick }) => sum + (tick?.laggardsLive ?? 0), 0);
  }

  #result(run: Run): LoadResult {
    const { url, venue, workload, thresholds, plans, clockKind } = this.#options;
    const { first, last, ends } = run;
    const seconds = (last.at - first.at) / 1_000;
    const rate = (value: (sample: Sample) => number) => (value(last) - value(first)) / seconds;
    const total = (value: (end: CrowdEnd) => number) => ends.reduce((sum, end) => sum + value(end), 0);
    const ticks = this.#members.map(({ tick }) => tick as CrowdTick);
    const seats = plans.flatMap(({ seats }) => seats);
    const verdicts = ends.flatMap(({ verdict }) => (verdict === null ? [] : [verdict]));
    const verdict = (name: "due" | "got" | "lost" | "strays" | "merged") =>
      verdicts.reduce((sum, one) => sum + one[name], 0);
    const counted = (name: "images" | "resumes" | "stale" | "odd") => ticks.reduce((sum, tick) => sum + tick[name], 0);
    const due = verdicts.length === 0 ? null : verdict("due") / seconds;
    const stormMs = ends.map((end) => end.stormMs);
    const partial = {
      url,
      door: venue.door,
      serverVersion: venue.version,
      startedAt: run.startedAt,
      workload,
      markets: venue.marketIds.length,
      processes: plans.length,
      seconds,
      users: {
        ordinary: seats.filter(({ kind }) => kind === "ordinary").length,
        live: last.live,
        laggards: seats.filter(({ kind }) => kind !== "ordinary").length,
        rampSeconds: run.rampSeconds,
      },
      latency: summary(this.#latencies),
      arrival: summary(this.#arrivals),
      clock: { kind: clockKind, offsetMs: run.offsetMs },
      perSecond: {
        messages: rate(({ messages }) => messages),
        changes: rate(({ changes }) => changes),
        bytes: rate(({ bytes }) => bytes),
      },
      offered: workload.offered ?? due,
      verdict:
        verdicts.length === 0
          ? null
          : {
              due: verdict("due"),
              got: verdict("got"),
              lost: verdict("lost"),
              strays: verdict("strays"),
              merged: verdict("merged"),
            },
      books: {
        checked: total((end) => end.booksChecked),
        wrong: total((end) => end.booksWrong),
        unchecked: total((end) => end.booksUnchecked),
      },
      images: counted("images"),
      resumes: counted("resumes"),
      stale: counted("stale"),
      odd: counted("odd"),
      closes: joined(ends.map(({ closes }) => closes)),
      laggards: Object.fromEntries(
        LAGGARD_KINDS.map((kind) => [kind, laggardsOf(kind, ends)] as const).filter(([, { users }]) => users > 0),
      ),
      churned: total(({ churned }) => churned),
      storm:
        workload.storm === null
          ? null
          : {
              backMs: stormMs.includes(null) ? null : Math.max(...(stormMs as number[])),
              others: summary(merged(ends.map(({ stormLatencies }) => stormLatencies))),
            },
      client: {
        busiest: Math.max(...last.cpus.map((cpu, i) => (cpu - (first.cpus[i] as number)) / seconds)),
        cores: rate(({ cpu }) => cpu),
        rss: ticks.reduce((sum, { rss }) => sum + rss, 0),
      },
      server: serverUse(this.#options.pids, run, seconds, last.live + last.laggardsLive),
      serverCloses: run.serverCloses,
      behindBytesMax: run.serverCloses === null ? null : this.#behindBytesMax,
      samples: [
        ...verdicts.flatMap(({ samples }) => samples),
        ...ends.flatMap(({ wrong }) => wrong.map((id) => `${id}: a reader's book is not a newcomer's`)),
      ].slice(0, SAMPLES_MAX),
      series: this.#seconds,
      histogram: [...this.#latencies.filled()].map(([ms, count]) => [rounded(ms), count] as const),
    };
    const checks = checksOf(partial, thresholds);
    return { ...partial, checks, passed: checks.every(({ passed }) => passed) };
  }
}

/** Everything counted so far. */
interface Sample {
  readonly at: number;
  readonly messages: number;
  readonly changes: number;
  readonly bytes: number;
  readonly cpu: number;
  /** A process each. */
  readonly cpus: readonly number[];
  readonly live: number;
  readonly laggardsLive: number;
  readonly server: ServerUse | null;
}

interface Run {
  readonly startedAt: string;
  readonly rampSeconds: number;
  readonly offsetMs: number;
  /** Of the server before anybody came. */
  readonly idle: ServerUse | null;
  readonly first: Sample;
  readonly last: Sample;
  readonly serverCloses: Readonly<Record<string, number>> | null;
  readonly ends: readonly CrowdEnd[];
}

function serverUse(pids: readonly number[], run: Run, seconds: number, users: number): LoadResult["server"] {
  const { idle, first, last } = run;
  if (pids.length === 0 || idle === null || first.server === null || last.server === null) return null;
  const cores = (last.server.cpu - first.server.cpu) / seconds;
  const { rss, pss } = last.server;
  return {
    pids,
    cores,
    rss,
    pss,
    rssBefore: first.server.rss,
    rssPerUser: users === 0 ? 0 : (rss - idle.rss) / users,
    cpuPerUserMicros: users === 0 ? 0 : (cores / users) * 1e6,
  };
}

function laggardsOf(kind: LaggardKind, ends: readonly CrowdEnd[]): LaggardsResult {
  const all = ends.map(({ laggards }) => laggards[kind]);
  const sum = (name: "users" | "here" | "caughtUp" | "merged") => all.reduce((total, one) => total + one[name], 0);
  const closes = joined(all.map(({ closes }) => closes));
  return {
    users: sum("users"),
    here: sum("here"),
    caughtUp: sum("caughtUp"),
    merged: sum("merged"),
    told: toldOf(closes),
    closes,
  };
}

function merged(all: readonly LatenciesJson[]): Latencies {
  const sum = new Latencies();
  for (const one of all) sum.merge(one);
  return sum;
}

function joined(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const one of all) for (const [name, count] of Object.entries(one)) sum[name] = (sum[name] ?? 0) + count;
  return sum;
}

function progressText(second: Second, workload: Workload): string {
  const { phase, users, messages, p50, p99, serverCpu, clientCpu } = second;
  const cpu = `${serverCpu === null ? "" : `server ${serverCpu.toFixed(2)} cores, `}load ${clientCpu.toFixed(2)}`;
  const latency = p50 === null ? "" : `, p50 ${p50.toFixed(1)} ms, p99 ${(p99 as number).toFixed(1)}`;
  return `${workload.name} ${phase} ${second.at.toFixed(0)} s: ${users.toLocaleString("en")} users, ${messages.toLocaleString("en")} messages/s${latency}, ${cpu}`;
}
