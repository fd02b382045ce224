import { silentLog } from "../src/base/log.ts";
import { seededRandom } from "../src/base/random.ts";
import { EXCHANGE_DEFAULTS } from "../src/exchange/client.ts";
import { staticSession } from "../src/exchange/session.ts";
import { LADDER_LEVELS_MAX } from "../src/market/types.ts";
import { SHADOW_DEFAULTS, Shadow } from "../src/ops/shadow.ts";
import type { FindingKind } from "../src/ops/shadow-pair.ts";
import type { ShadowReport } from "../src/ops/shadow-report.ts";
import { VirtualClock } from "../src/sim/clock.ts";
import { Derby } from "../src/sim/derby.ts";
import { ESA_AT, EXCHANGE_AT, House, userToken } from "../src/sim/house.ts";
import { VirtualNetwork } from "../src/sim/network.ts";
import { type Spoil, Spoiler } from "../src/sim/spoiler.ts";

export interface DerbyPlan {
  readonly seed: number;
  readonly conflateMs?: number;
  readonly changesPerSecond?: number;
}

const STEP_MS = 200;
const HOUR_MS = 3_600_000;
const CHANGES_PER_SECOND = 40;
/** Longer than what is late, shorter than what is stale. */
const DELAY_MS = 6_000;
/** Longer than anything takes to be found. */
const WATCHED_MS = 35_000;
/** From the start until books are followed: images, and the time that aligning takes. */
export const ALIGNED_MS = 5_000;

/** A football derby at the simulated exchange, a gateway, and shadow mode beside both, on virtual time; a spoiler sits between gateway and shadow. */
export class ShadowStage {
  readonly clock = new VirtualClock();
  readonly network: VirtualNetwork;
  readonly house: House;
  readonly derby: Derby;
  readonly spoiler = new Spoiler(this.clock);
  readonly shadow: Shadow;

  constructor({ seed, conflateMs = 0, changesPerSecond = CHANGES_PER_SECOND }: DerbyPlan) {
    const { clock } = this;
    this.network = new VirtualNetwork(clock, seededRandom(seed), { latencyMs: 2, jitterMs: 3 });
    this.house = new House(clock, this.network, seed + 1, HOUSE);
    const publish = this.house.exchange.publish.bind(this.house.exchange);
    this.derby = new Derby(changesPerSecond, { clock, random: seededRandom(seed + 2), publish });
    const dials = {
      exchange: this.network.dialAs("direct"),
      house: this.spoiler.spoil(this.network.dialAs("through")),
    };
    const side = { tls: "off", appKey: "app-key" } as const;
    this.shadow = new Shadow(
      {
        direct: { ...side, ...EXCHANGE_AT, session: staticSession(this.house.identity.issue("ada")) },
        through: { ...side, ...ESA_AT, session: staticSession(userToken(0)) },
        filter: {},
        fields: [],
        ladderLevels: LADDER_LEVELS_MAX,
        conflateMs,
        lineBytesMax: EXCHANGE_DEFAULTS.lineBytesMax,
        settings: EXCHANGE_DEFAULTS.settings,
        ...SHADOW_DEFAULTS,
      },
      {
        clock,
        random: seededRandom(seed + 3),
        log: silentLog,
        dial: (to, handler) => dials[to.host as "exchange" | "house"](to, handler),
      },
    );
  }

  /** Lets the derby begin, and the gateway come up. */
  async open(): Promise<void> {
    this.derby.start();
    await this.pass(1_000);
  }

  /** One of the match's markets: 0 the match odds. */
  market(place: number): string {
    return this.derby.markets[place % this.derby.markets.length]?.id as string;
  }

  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= STEP_MS) {
      this.clock.advance(Math.min(STEP_MS, left));
      await this.house.settle();
    }
  }

  close(): ShadowReport {
    const report = this.shadow.report();
    this.derby.stop();
    this.shadow.stop();
    this.house.stop();
    return report;
  }
}

/** So many minutes with nothing planted. */
export async function cleanDerby(minutes: number, plan: DerbyPlan): Promise<ShadowReport> {
  const stage = new ShadowStage(plan);
  await stage.open();
  stage.shadow.start();
  await stage.pass(minutes * 60_000);
  return stage.close();
}

/** What is planted on the line between gateway and shadow, and what it must be found as. */
export const FAULTS: readonly { readonly spoil: Spoil["kind"]; readonly kind: FindingKind }[] = [
  { spoil: "drop", kind: "dropped" },
  { spoil: "delay", kind: "late" },
  { spoil: "size", kind: "wrong" },
  { spoil: "price", kind: "wrong" },
  { spoil: "freeze", kind: "stale" },
  { spoil: "remove", kind: "missing" },
];

/** A derby in which one thing happens to one market, while it is watched or, for what is about images, before. */
export async function faultyDerby(
  kind: Spoil["kind"],
  plan: DerbyPlan,
): Promise<{ report: ShadowReport; market: string }> {
  const stage = new ShadowStage(plan);
  await stage.open();
  const market = stage.market(plan.seed);
  const spoil: Spoil = kind === "delay" ? { kind, market, ms: DELAY_MS } : { kind, market };
  const isOfImages = kind === "remove" || kind === "double";
  if (isOfImages) stage.spoiler.plant(spoil);
  stage.shadow.start();
  await stage.pass(ALIGNED_MS + 100 * (plan.seed % 100));
  if (!isOfImages) stage.spoiler.plant(spoil);
  await stage.pass(WATCHED_MS);
  return { report: stage.close(), market };
}

const HOUSE = {
  upstream: { latencyMs: 3, jitterMs: 5 },
  exchangeSegmentBytes: 100_000,
  exchangeLogMessages: 20_000,
  exchangeForgetMs: 600_000,
  tokenLifetimeMs: 12 * HOUR_MS,
  retentionMs: 600_000,
  forgetMs: HOUR_MS,
  segmentBytesMax: 65_536,
  flushBytesMax: 1_048_576,
  behindMsMax: 30_000,
  // As many as a gateway has: an image of a market passes states over, and makes good what was lost.
  deletionsMax: 131_072,
};
