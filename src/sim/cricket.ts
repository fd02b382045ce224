import { pick, type Random } from "../base/random.ts";
import { certainties, type Fixture, type Game, type Incident, type MarketSpec, runnersNamed } from "./world-game.ts";

/** Three hours of cricket take a quarter of an hour here. */
const MATCH_MS = 900_000;
const WICKETS = 14;
const TOSS_BEFORE_MS = 30_000;
/** One match in so many is tied. */
const TIES = 100;

const TOURNAMENTS = [
  {
    countryCode: "IN",
    timezone: "Asia/Kolkata",
    teams: [
      "Chennai Super Kings",
      "Delhi Capitals",
      "Gujarat Titans",
      "Kolkata Knight Riders",
      "Lucknow Super Giants",
    ].concat([
      "Mumbai Indians",
      "Punjab Kings",
      "Rajasthan Royals",
      "Royal Challengers Bengaluru",
      "Sunrisers Hyderabad",
    ]),
  },
  {
    countryCode: "AU",
    timezone: "Australia/Sydney",
    teams: ["Adelaide Strikers", "Brisbane Heat", "Hobart Hurricanes", "Melbourne Renegades", "Melbourne Stars"].concat(
      ["Perth Scorchers", "Sydney Sixers", "Sydney Thunder"],
    ),
  },
  {
    countryCode: "GB",
    timezone: "Europe/London",
    teams: ["England", "Australia", "India", "New Zealand", "Pakistan", "South Africa", "Sri Lanka", "West Indies"],
  },
] as const;

export function cricketFixture(random: Random): Fixture {
  const { countryCode, timezone, teams } = pick(random, TOURNAMENTS);
  const first = pick(random, teams);
  const second = pick(
    random,
    teams.filter((team) => team !== first),
  );
  const market = (type: string, name: string, ...runners: string[]): MarketSpec => ({
    type,
    name,
    runners: runnersNamed(...runners),
    winners: 1,
    turnInPlay: true,
    bsp: false,
  });
  const toss = market("TO_WIN_THE_TOSS", "To Win the Toss", first, second);
  return {
    name: `${first} v ${second}`,
    eventTypeId: "4",
    countryCode,
    timezone,
    markets: [
      market("MATCH_ODDS", "Match Odds", first, second),
      { ...toss, turnInPlay: false, endsBeforeMs: TOSS_BEFORE_MS },
      market("TIED_MATCH", "Tied Match", "Yes", "No"),
      market("COMPLETED_MATCH", "Completed Match", "Yes", "No"),
    ],
    game: new CricketGame(random),
  };
}

/** How far one side is ahead wanders, and jumps at a wicket; the nearer the end, the more it says. */
export class CricketGame implements Game {
  readonly betDelay = 5;
  readonly lastsMs = MATCH_MS;
  stage = 0;
  readonly #random: Random;
  readonly #toss: 0 | 1;
  readonly #tied: boolean;
  #ahead: number;
  #leftMs = MATCH_MS;

  constructor(random: Random) {
    this.#random = random;
    this.#toss = random.next() < 0.5 ? 0 : 1;
    this.#tied = random.next() < 1 / TIES;
    this.#ahead = random.next() * 2 - 1;
  }

  get over(): boolean {
    return this.#leftMs <= 0;
  }

  play(ms: number): Incident | null {
    this.stage++;
    this.#leftMs -= ms;
    this.#ahead += ((this.#random.next() - 0.5) * ms) / 10_000;
    if (this.over || this.#random.next() > (WICKETS * ms) / MATCH_MS) return null;
    return this.force();
  }

  /** A wicket falls: the first side bats in the first half. */
  force(): Incident {
    this.stage++;
    const firstBats = this.#leftMs > MATCH_MS / 2;
    this.#ahead += (firstBats ? -1 : 1) * (0.1 + 0.4 * this.#random.next());
    return { reason: "Wicket" };
  }

  chances(market: MarketSpec): number[] {
    const first = this.#first(market.type);
    return [first, 1 - first];
  }

  decided(market: MarketSpec): boolean {
    return this.over || market.type === "TO_WIN_THE_TOSS";
  }

  /** A coin has no odds that change: what the toss was comes out only here. */
  results(market: MarketSpec): boolean[] {
    if (market.type === "TO_WIN_THE_TOSS") return [this.#toss === 0, this.#toss === 1];
    return certainties(this.chances(market));
  }

  /** The chance of a market's first runner. */
  #first(type: string): number {
    const left = Math.max(0, this.#leftMs) / MATCH_MS;
    switch (type) {
      case "TO_WIN_THE_TOSS":
        return 0.5;
      case "TIED_MATCH":
        return this.over ? Number(this.#tied) : left / TIES;
      case "COMPLETED_MATCH":
        return this.over ? 1 : 0.97;
      default:
        return this.over ? Number(this.#ahead > 0) : 1 / (1 + Math.exp(-this.#ahead / (0.05 + 0.95 * left)));
    }
  }
}
