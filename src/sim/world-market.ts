import { type Random, randomInt } from "../base/random.ts";
import type { MarketNames } from "./betting-markets.ts";
import type { MarketChange, MarketDefinition, RunnerChange } from "./naive.ts";
import type { Fixture, Game, MarketSpec } from "./world-game.ts";
import { tickOf } from "./world-prices.ts";
import { type Depth, RunnerEdit, WorldRunner } from "./world-runner.ts";

export type WorldMarketStatus = "OPEN" | "SUSPENDED" | "CLOSED";

/** What a market knows of the event around it. */
export interface MarketPlace {
  readonly id: string;
  readonly eventId: string;
  readonly fixture: Fixture;
  /** Milliseconds since the Unix epoch. */
  readonly startsAt: number;
  readonly depth: Depth;
  /** Whether definitions carry names, as historic files do and the live stream does not. */
  readonly names: boolean;
  readonly random: Random;
  /** The next version number: they grow over all markets. */
  readonly nextVersion: () => number;
}

/** How far the market's opinion may wander from the chances, in log-odds, and how strongly it is drawn back. */
const LEAN_STEP = 0.06;
const LEAN_KEPT = 0.97;
const TRADED_BEFORE = 15;

/** One market: its definition, its runners, and what people do in it. Every method that changes it gives the `mc` entry that says so. */
export class WorldMarket {
  readonly id: string;
  readonly spec: MarketSpec;
  readonly runners: readonly WorldRunner[];
  status: WorldMarketStatus = "OPEN";
  inPlay = false;
  readonly #place: MarketPlace;
  /** What the market thinks of each runner beyond the chances, in log-odds. */
  readonly #lean: number[];
  #chances: { readonly stage: number; readonly values: readonly number[] } | null = null;
  #bspReconciled = false;
  #suspendReason: string | null = null;
  #settledTime: string | null = null;
  #version: number;

  constructor(spec: MarketSpec, place: MarketPlace) {
    this.id = place.id;
    this.spec = spec;
    this.#place = place;
    this.runners = spec.runners.map((runner) => new WorldRunner(runner, place.depth));
    this.#lean = spec.runners.map(() => 0);
    this.#version = place.nextVersion();
    this.#fill();
  }

  get #game(): Game {
    return this.#place.fixture.game;
  }

  /** What the catalogue calls it, whether definitions do or not. */
  get names(): MarketNames {
    const { name, runners } = this.spec;
    return {
      market: name,
      event: this.#place.fixture.name,
      runners: new Map(runners.map((runner) => [runner.id, runner.name])),
    };
  }

  /** The whole book. */
  image(): MarketChange {
    return {
      id: this.id,
      img: true,
      tv: this.#traded() / 100,
      marketDefinition: this.#definition(),
      rc: this.runners.map((runner) => runner.image()),
    };
  }

  /** Somebody does something; null when it changed nothing. */
  trade(): MarketChange | null {
    if (this.status !== "OPEN") return null;
    const { random } = this.#place;
    // What happened on the field is in everybody's prices before anybody trades on.
    if (this.#game.stage !== this.#chances?.stage || random.next() < 0.25) return this.#said(this.#drift());
    const first = randomInt(random, this.runners.length);
    const edits = [this.#act(first)];
    if (random.next() < 0.3) edits.push(this.#act((first + 1) % this.runners.length));
    return this.#said(edits);
  }

  /** No bets for now; `cleared` when what is offered lapses, as it does after a goal. */
  suspend(reason: string | null, cleared: boolean): MarketChange {
    this.status = "SUSPENDED";
    this.#suspendReason = reason;
    const edits = cleared ? this.runners.map((runner) => edited(runner, (edit) => runner.clear(edit))) : [];
    return this.#redefined(edits);
  }

  /** Bets again, at prices that know what happened. `inPlay`: from here on, the event is on. */
  open(inPlay: boolean): MarketChange {
    this.status = "OPEN";
    this.#suspendReason = null;
    if (inPlay && !this.inPlay) this.#off();
    return this.#redefined(this.#quoteAll(Math.ceil(this.#place.depth.levels / 2)));
  }

  /** It is settled. `wall`: milliseconds since the Unix epoch. */
  close(wall: number): MarketChange {
    this.status = "CLOSED";
    this.#suspendReason = null;
    this.#settledTime = iso(wall);
    const results = this.#game.results(this.spec);
    for (const [i, runner] of this.runners.entries())
      if (runner.status === "ACTIVE") runner.status = results[i] ? "WINNER" : "LOSER";
    return this.#redefined(this.runners.map((runner) => edited(runner, (edit) => runner.clear(edit))));
  }

  /** A runner will not run: the chances know it already, and so will the others' prices. */
  remove(id: number, wall: number): MarketChange | null {
    const runner = this.runners.find(({ spec, status }) => spec.id === id && status === "ACTIVE");
    if (runner === undefined) return null;
    const removed = edited(runner, (edit) => runner.remove(iso(wall), edit));
    return { ...this.#redefined([removed, ...this.#quoteAll(1)]), tv: this.#traded() / 100 };
  }

  #fill(): void {
    const { depth, random } = this.#place;
    const fair = this.#fair();
    for (const [i, runner] of this.runners.entries()) {
      runner.history(fair[i] as number, Math.min(TRADED_BEFORE, depth.tradedLevels), random);
      runner.quote(fair[i] as number, depth.levels, random, new RunnerEdit(runner.spec));
    }
  }

  /** One action on the runner at place `i`: a trade, or an offer that changes, or starting prices. */
  #act(i: number): RunnerEdit {
    const { random } = this.#place;
    const runner = this.runners[i] as WorldRunner;
    const dice = random.next();
    return edited(runner, (edit) => {
      if (runner.status !== "ACTIVE") return;
      if (dice < 0.4) {
        runner.trade(random, edit);
        runner.quote(this.#fair()[i] as number, 1, random, edit);
      } else if (dice < 0.95 || !this.spec.bsp || this.inPlay) runner.resize(random, edit);
      else runner.project(random, edit);
    });
  }

  /** Opinion moves: one runner's price one way, all others' the other. */
  #drift(): RunnerEdit[] {
    const { random } = this.#place;
    const moved = randomInt(random, this.runners.length);
    for (let i = 0; i < this.#lean.length; i++) this.#lean[i] = (this.#lean[i] as number) * LEAN_KEPT;
    this.#lean[moved] = (this.#lean[moved] as number) + LEAN_STEP * (2 * random.next() - 1);
    return this.#quoteAll(1);
  }

  #quoteAll(fill: number): RunnerEdit[] {
    const fair = this.#fair();
    return this.runners.map((runner, i) =>
      edited(runner, (edit) => {
        if (runner.status === "ACTIVE") runner.quote(fair[i] as number, fill, this.#place.random, edit);
      }),
    );
  }

  /** The fair price of each runner, as a tick. */
  #fair(): number[] {
    const { stage } = this.#game;
    if (this.#chances?.stage !== stage) this.#chances = { stage, values: this.#game.chances(this.spec) };
    const chances = this.#chances.values;
    const weights = this.runners.map(({ status }, i) =>
      status === "ACTIVE" ? (chances[i] as number) * Math.exp(this.#lean[i] as number) : 0,
    );
    const scale = this.spec.winners / weights.reduce((sum, weight) => sum + weight, 0);
    return weights.map((weight) => tickOf(Math.min(1, weight * scale)));
  }

  #off(): void {
    this.inPlay = true;
    if (!this.spec.bsp) return;
    this.#bspReconciled = true;
    for (const runner of this.runners) runner.reconcile();
  }

  #traded(): number {
    return this.runners.reduce((sum, runner) => sum + runner.traded, 0);
  }

  #said(edits: readonly RunnerEdit[]): MarketChange | null {
    const rc = changesOf(edits);
    if (rc.length === 0) return null;
    return { id: this.id, ...(rc.some(({ tv }) => tv !== undefined) && { tv: this.#traded() / 100 }), rc };
  }

  #redefined(edits: readonly RunnerEdit[]): MarketChange {
    this.#version = this.#place.nextVersion();
    const rc = changesOf(edits);
    return { id: this.id, marketDefinition: this.#definition(), ...(rc.length > 0 && { rc }) };
  }

  /** Every key that betfairlightweight's full mode needs, and no key in runners that it does not know. */
  #definition(): MarketDefinition {
    const { spec } = this;
    const { eventId, fixture, startsAt, names } = this.#place;
    const active = this.status === "CLOSED" ? 0 : this.runners.filter(({ status }) => status === "ACTIVE").length;
    return {
      bspMarket: spec.bsp,
      turnInPlayEnabled: spec.turnInPlay,
      persistenceEnabled: spec.turnInPlay,
      marketBaseRate: 5,
      eventId,
      eventTypeId: fixture.eventTypeId,
      numberOfWinners: spec.winners,
      bettingType: spec.bettingType ?? "ODDS",
      marketType: spec.type,
      marketTime: iso(startsAt),
      suspendTime: iso(startsAt - (spec.endsBeforeMs ?? 0)),
      bspReconciled: this.#bspReconciled,
      complete: true,
      inPlay: this.inPlay,
      crossMatching: this.status === "OPEN",
      runnersVoidable: false,
      numberOfActiveRunners: active,
      betDelay: this.inPlay ? fixture.game.betDelay : 0,
      status: this.status,
      ...(this.#suspendReason !== null && { suspendReason: this.#suspendReason }),
      ...(this.#settledTime !== null && { settledTime: this.#settledTime }),
      runners: this.runners.map((runner, i) => runner.definition(i + 1, names)),
      regulators: ["MR_INT"],
      ...(fixture.venue !== undefined && { venue: fixture.venue }),
      countryCode: fixture.countryCode,
      discountAllowed: true,
      timezone: fixture.timezone,
      openDate: iso(startsAt),
      version: this.#version,
      ...(fixture.raceType !== undefined && { raceType: fixture.raceType }),
      priceLadderDefinition: { type: "CLASSIC" },
      ...(names && { name: spec.name, eventName: fixture.name }),
    };
  }
}

function edited(runner: WorldRunner, change: (edit: RunnerEdit) => void): RunnerEdit {
  const edit = new RunnerEdit(runner.spec);
  change(edit);
  return edit;
}

function changesOf(edits: readonly RunnerEdit[]): RunnerChange[] {
  return edits.flatMap((edit) => edit.change() ?? []);
}

function iso(wall: number): string {
  return new Date(Math.trunc(wall / 1000) * 1000).toISOString();
}
