import { pick, type Random } from "../base/random.ts";
import type { MarketChange } from "./naive.ts";
import type { Fixture } from "./world-game.ts";
import type { WorldMarket } from "./world-market.ts";

/** How long things take, milliseconds, at least; at most twice that. */
const OFF_MS = 2_000;
const STOP_MS = 3_000;
const SETTLING_MS = 3_000;
/** The game goes on in steps of this. */
const PLAY_MS = 1_000;
/** Non-runners are withdrawn this long before the off, in one race of three. */
const WITHDRAWAL_BEFORE_MS = 20_000;
const WITHDRAWAL_CHANCE = 1 / 3;
const EARLY_RESULT_MS = 3_000;

type Phase =
  | { readonly kind: "before" }
  | { readonly kind: "off"; readonly until: number }
  | { readonly kind: "playing"; readonly playedTo: number }
  | { readonly kind: "stopped"; readonly until: number; readonly back: "before" | "playing" }
  | { readonly kind: "ended"; readonly until: number }
  | { readonly kind: "settled" };

/**
 * An event and its markets, from the first bet to the settlement:
 *
 *     before ──off──> suspended ──> playing <──incident──> stopped (suspended, decided markets settle)
 *                                      └──over──> suspended ──> settled (closed)
 *
 * Times are the monotonic clock's, but for what is written into definitions.
 */
export class WorldEvent {
  readonly markets: readonly WorldMarket[];
  readonly #fixture: Fixture;
  readonly #startsAt: number;
  readonly #random: Random;
  readonly #withdraws: boolean;
  #phase: Phase = { kind: "before" };
  #withdrawn = false;

  constructor(fixture: Fixture, markets: readonly WorldMarket[], startsAt: number, random: Random) {
    this.#fixture = fixture;
    this.markets = markets;
    this.#startsAt = startsAt;
    this.#random = random;
    this.#withdraws = fixture.game.withdraw !== undefined && random.next() < WITHDRAWAL_CHANCE;
  }

  get settled(): boolean {
    return this.#phase.kind === "settled";
  }

  /** Is on already when the world begins: played for so long (at most half of it), nobody told. */
  playFor(ms: number, now: number, wall: number): void {
    const { game } = this.#fixture;
    for (let played = 0; played < Math.min(ms, game.lastsMs / 2); played += PLAY_MS) game.play(PLAY_MS);
    for (const market of this.markets) {
      if (!market.spec.turnInPlay || game.decided(market.spec)) market.close(wall);
      else market.open(true);
    }
    this.#phase = { kind: "playing", playedTo: now };
  }

  /** What happens up to `now`. `wall`: the same moment, milliseconds since the Unix epoch. */
  step(now: number, wall: number): MarketChange[] {
    const phase = this.#phase;
    switch (phase.kind) {
      case "before":
        return now >= this.#startsAt ? this.#off(now) : this.#before(now, wall);
      case "off":
        return now < phase.until ? [] : this.#play(now, wall);
      case "playing":
        return now < phase.playedTo + PLAY_MS ? [] : this.#playOn(now - phase.playedTo, now);
      case "stopped":
        return now < phase.until ? [] : this.#goOn(phase.back, now, wall);
      case "ended":
        return now < phase.until ? [] : this.#settle(wall);
      case "settled":
        return [];
    }
  }

  /** Makes something happen that suspends its markets, if it can. */
  interrupt(now: number): MarketChange[] {
    if (this.#phase.kind === "playing") return this.#stop(this.#fixture.game.force().reason, now);
    if (this.#phase.kind !== "before" || now + 2 * STOP_MS > this.#startsAt) return [];
    this.#phase = { kind: "stopped", until: now + this.#about(STOP_MS), back: "before" };
    return this.#open().map((market) => market.suspend(null, false));
  }

  #before(now: number, wall: number): MarketChange[] {
    if (this.#withdraws && !this.#withdrawn && now >= this.#startsAt - WITHDRAWAL_BEFORE_MS)
      return this.#withdraw(wall);
    return this.markets.flatMap((market) => this.#early(market, now, wall) ?? []);
  }

  /** A market that is decided before the event begins. */
  #early(market: WorldMarket, now: number, wall: number): MarketChange | null {
    const { endsBeforeMs } = market.spec;
    if (endsBeforeMs === undefined || market.status === "CLOSED") return null;
    const endsAt = this.#startsAt - endsBeforeMs;
    if (now >= endsAt && market.status === "OPEN") return market.suspend(null, true);
    return now >= endsAt + EARLY_RESULT_MS ? market.close(wall) : null;
  }

  #withdraw(wall: number): MarketChange[] {
    this.#withdrawn = true;
    const runners = this.markets[0]?.runners.filter(({ status }) => status === "ACTIVE") ?? [];
    if (runners.length < 5) return [];
    const { id } = pick(this.#random, runners).spec;
    this.#fixture.game.withdraw?.(id);
    return this.markets.flatMap((market) => market.remove(id, wall) ?? []);
  }

  #off(now: number): MarketChange[] {
    this.#phase = { kind: "off", until: now + this.#about(OFF_MS) };
    return this.#open().map((market) => market.suspend(null, false));
  }

  #play(now: number, wall: number): MarketChange[] {
    this.#phase = { kind: "playing", playedTo: now };
    return this.#unsettled().map((market) => (market.spec.turnInPlay ? market.open(true) : market.close(wall)));
  }

  #playOn(ms: number, now: number): MarketChange[] {
    const { game } = this.#fixture;
    const incident = game.play(ms);
    if (game.over) {
      this.#phase = { kind: "ended", until: now + this.#about(SETTLING_MS) };
      return this.#open().map((market) => market.suspend(null, true));
    }
    if (incident !== null) return this.#stop(incident.reason, now);
    this.#phase = { kind: "playing", playedTo: now };
    return [];
  }

  #stop(reason: string | null, now: number): MarketChange[] {
    this.#phase = { kind: "stopped", until: now + this.#about(STOP_MS), back: "playing" };
    return this.#open().map((market) => market.suspend(reason, true));
  }

  #goOn(back: "before" | "playing", now: number, wall: number): MarketChange[] {
    this.#phase = back === "before" ? { kind: "before" } : { kind: "playing", playedTo: now };
    const { game } = this.#fixture;
    return this.#unsettled().map((market) =>
      back === "playing" && game.decided(market.spec) ? market.close(wall) : market.open(back === "playing"),
    );
  }

  #settle(wall: number): MarketChange[] {
    this.#phase = { kind: "settled" };
    return this.#unsettled().map((market) => market.close(wall));
  }

  #open(): WorldMarket[] {
    return this.markets.filter(({ status }) => status === "OPEN");
  }

  #unsettled(): WorldMarket[] {
    return this.markets.filter(({ status }) => status !== "CLOSED");
  }

  #about(ms: number): number {
    return ms * (1 + this.#random.next());
  }
}
