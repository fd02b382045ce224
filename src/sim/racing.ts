import { pick, type Random, randomInt } from "../base/random.ts";
import { certainties, type Fixture, type Game, type Incident, type MarketSpec, runnersNamed } from "./world-game.ts";

/** A race of two minutes takes one here. */
const RACE_MS = 60_000;

const COURSES = [
  { venue: "Ascot", countryCode: "GB", timezone: "Europe/London" },
  { venue: "Cheltenham", countryCode: "GB", timezone: "Europe/London" },
  { venue: "Lingfield", countryCode: "GB", timezone: "Europe/London" },
  { venue: "Newmarket", countryCode: "GB", timezone: "Europe/London" },
  { venue: "York", countryCode: "GB", timezone: "Europe/London" },
  { venue: "Curragh", countryCode: "IE", timezone: "Europe/Dublin" },
  { venue: "Galway", countryCode: "IE", timezone: "Europe/Dublin" },
  { venue: "Flemington", countryCode: "AU", timezone: "Australia/Melbourne" },
] as const;
const RACES = [
  { raceType: "Flat", name: "5f Hcap" },
  { raceType: "Flat", name: "1m Listed" },
  { raceType: "Flat", name: "7f Nov Stks" },
  { raceType: "Hurdle", name: "2m Mdn Hrd" },
  { raceType: "Chase", name: "3m Hcap Chs" },
] as const;
const FIRST_WORDS = [
  "Amber",
  "Bold",
  "Celtic",
  "Desert",
  "Early",
  "Final",
  "Golden",
  "Hidden",
  "Iron",
  "Jade",
  "Kings",
].concat([
  "Lucky",
  "Midnight",
  "Northern",
  "Ocean",
  "Proud",
  "Quiet",
  "Royal",
  "Silver",
  "Trusty",
  "Velvet",
  "Wild",
  "Young",
]);
const SECOND_WORDS = [
  "Arrow",
  "Breeze",
  "Dancer",
  "Echo",
  "Flame",
  "Gale",
  "Harbour",
  "Island",
  "Jester",
  "Knight",
].concat(["Lady", "Melody", "Nomad", "Orchid", "Piper", "Quest", "Ranger", "Storm", "Tide", "Voyage", "Whisper"]);

export function racingFixture(random: Random): Fixture {
  const { venue, countryCode, timezone } = pick(random, COURSES);
  const { raceType, name } = pick(random, RACES);
  const horses = horseNames(random, 6 + randomInt(random, 9));
  const market = (type: string, marketName: string, winners: number): MarketSpec => ({
    type,
    name: marketName,
    runners: horses.map((runner) => ({ ...runner, adjustmentFactor: adjustment(random, horses.length * winners) })),
    winners,
    turnInPlay: true,
    bsp: true,
  });
  return {
    name: venue,
    eventTypeId: "7",
    countryCode,
    timezone,
    venue,
    raceType,
    markets: [market("WIN", name, 1), market("PLACE", "To Be Placed", horses.length >= 8 ? 3 : 2)],
    game: new RacingGame(
      random,
      horses.map(({ id }) => id),
    ),
  };
}

function horseNames(random: Random, count: number) {
  const names = new Set<string>();
  while (names.size < count) names.add(`${pick(random, FIRST_WORDS)} ${pick(random, SECOND_WORDS)}`);
  return runnersNamed(...names).map(({ id, name }, i) => ({ id, name: `${i + 1}. ${name}` }));
}

function adjustment(random: Random, share: number): number {
  return Math.round((1000 * 200 * random.next()) / share) / 1000;
}

/** Horses have strengths; in the running they change and what separates them counts more and more, until the order is the result. */
export class RacingGame implements Game {
  readonly betDelay = 1;
  readonly lastsMs = RACE_MS;
  stage = 0;
  readonly #random: Random;
  readonly #ids: readonly number[];
  readonly #strengths: number[];
  #leftMs = RACE_MS;

  constructor(random: Random, ids: readonly number[]) {
    this.#random = random;
    this.#ids = ids;
    this.#strengths = ids.map(() => 2 * random.next());
  }

  get over(): boolean {
    return this.#leftMs <= 0;
  }

  play(ms: number): Incident | null {
    this.stage++;
    this.#leftMs -= ms;
    for (let i = 0; i < this.#strengths.length; i++)
      this.#strengths[i] = (this.#strengths[i] as number) + (this.#random.next() - 0.5) / 4;
    return null;
  }

  /** The course is checked after a faller: he is out of it. */
  force(): Incident {
    this.stage++;
    this.#strengths[randomInt(this.#random, this.#strengths.length)] = -10;
    return { reason: null };
  }

  chances({ runners, winners }: MarketSpec): number[] {
    const strengths = runners.map(({ id }) => this.#strengths[this.#ids.indexOf(id)] as number);
    if (this.over) return placed(strengths, winners);
    const heat = 0.05 + (0.95 * this.#leftMs) / RACE_MS;
    const top = Math.max(...strengths);
    const weights = strengths.map((strength) => Math.exp((strength - top) / heat));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return placeChances(
      weights.map((weight) => weight / sum),
      winners,
    );
  }

  decided(): boolean {
    return this.over;
  }

  results(market: MarketSpec): boolean[] {
    return certainties(this.chances(market));
  }

  withdraw(id: number): void {
    this.stage++;
    this.#strengths[this.#ids.indexOf(id)] = Number.NEGATIVE_INFINITY;
  }
}

/** 1 for the strongest, 0 for the others. */
function placed(strengths: readonly number[], winners: number): number[] {
  const last = [...strengths].sort((a, b) => b - a)[winners - 1] as number;
  return strengths.map((strength) => (strength >= last ? 1 : 0));
}

/** From chances to win to chances to be placed: raised evenly (1 - (1 - p)^n) until they add up to the places. */
function placeChances(chances: readonly number[], places: number): number[] {
  if (places === 1) return [...chances];
  const raised = (n: number) => chances.map((chance) => 1 - (1 - chance) ** n);
  let [low, high] = [1, 1_000];
  for (let tries = 0; tries < 30; tries++) {
    const middle = (low + high) / 2;
    if (raised(middle).reduce((sum, chance) => sum + chance, 0) < places) low = middle;
    else high = middle;
  }
  return raised(low);
}
