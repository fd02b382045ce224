import { pick, type Random } from "../base/random.ts";
import {
  certainties,
  type Fixture,
  type Game,
  type Incident,
  isCertain,
  type MarketSpec,
  runnersNamed,
} from "./world-game.ts";

/** A game of tennis takes four minutes in life and 15 s here. */
const GAME_MS = 15_000;
const GAMES_MIN = 12;

const PLAYERS = [
  "Alvarez",
  "Bergström",
  "Carreno",
  "Dimitrov",
  "Eklund",
  "Fontaine",
  "Garin",
  "Hurkacz",
  "Ivanov",
].concat(
  ["Jarry", "Khachanov", "Lehečka", "Moutet", "Nakashima", "Opelka", "Paul", "Querrey", "Rublev", "Sonego", "Tiafoe"],
  ["Ugo Carabelli", "Vavassori", "Wawrinka", "Xu", "Yildiz", "Zverev"],
);
const TOURNAMENTS = [
  { countryCode: "FR", timezone: "Europe/Paris" },
  { countryCode: "US", timezone: "America/New_York" },
  { countryCode: "AU", timezone: "Australia/Melbourne" },
] as const;

export function tennisFixture(random: Random): Fixture {
  const first = pick(random, PLAYERS);
  const second = pick(
    random,
    PLAYERS.filter((player) => player !== first),
  );
  const market = (type: string, name: string, ...runners: string[]): MarketSpec => ({
    type,
    name,
    runners: runnersNamed(...runners),
    winners: 1,
    turnInPlay: true,
    bsp: false,
  });
  const sets = [`${first} 2-0`, `${first} 2-1`, `${second} 2-0`, `${second} 2-1`];
  return {
    name: `${first} v ${second}`,
    eventTypeId: "2",
    ...pick(random, TOURNAMENTS),
    markets: [
      market("MATCH_ODDS", "Match Odds", first, second),
      market("SET_BETTING", "Set Betting", ...sets),
      market("SET_WINNER", "Set 1 Winner", first, second),
      market("NUMBER_OF_SETS", "Number of Sets", "2 Sets", "3 Sets"),
    ],
    game: new TennisGame(random, 0.4 + random.next() / 5),
  };
}

/** Best of three sets; each game goes to the first player with the same chance, so that everything to come can be counted out. */
export class TennisGame implements Game {
  readonly betDelay = 3;
  readonly lastsMs = GAMES_MIN * GAME_MS;
  stage = 0;
  readonly #random: Random;
  readonly #chance: number;
  /** Sets won, the winner of the first, and games in the set being played. */
  readonly #sets: [number, number] = [0, 0];
  #firstSet: 0 | 1 | null = null;
  #games: [number, number] = [0, 0];
  #playedMs = 0;

  constructor(random: Random, chance: number) {
    this.#random = random;
    this.#chance = chance;
  }

  get over(): boolean {
    return this.#sets.includes(2);
  }

  play(ms: number): Incident | null {
    this.#playedMs += ms;
    if (this.over || this.#playedMs < GAME_MS) return null;
    this.#playedMs -= GAME_MS;
    return this.#won(this.#random.next() < this.#chance ? 0 : 1) ? { reason: null } : null;
  }

  /** A game is decided at once, and play is interrupted. */
  force(): Incident {
    if (!this.over) this.#won(this.#random.next() < this.#chance ? 0 : 1);
    return { reason: null };
  }

  chances(market: MarketSpec): number[] {
    const [twoNil, twoOne, nilTwo, oneTwo] = this.#setScores();
    switch (market.type) {
      case "MATCH_ODDS":
        return [twoNil + twoOne, nilTwo + oneTwo];
      case "SET_BETTING":
        return [twoNil, twoOne, nilTwo, oneTwo];
      case "NUMBER_OF_SETS":
        return [twoNil + nilTwo, twoOne + oneTwo];
      default: {
        const first = this.#firstSet === null ? this.#setChance(this.#games) : 1 - this.#firstSet;
        return [first, 1 - first];
      }
    }
  }

  decided(market: MarketSpec): boolean {
    return this.over || isCertain(this.chances(market));
  }

  results(market: MarketSpec): boolean[] {
    return certainties(this.chances(market));
  }

  /** A game goes to a player; true when it ends a set. */
  #won(player: 0 | 1): boolean {
    this.stage++;
    this.#games[player]++;
    if (!setWon(this.#games[player], this.#games[1 - player] as number)) return false;
    this.#sets[player]++;
    this.#firstSet ??= player;
    this.#games = [0, 0];
    return true;
  }

  #setScores(): [number, number, number, number] {
    const scores: [number, number, number, number] = [0, 0, 0, 0];
    const fresh = this.#setChance([0, 0]);
    const walk = (first: number, second: number, chance: number, set: number) => {
      if (chance === 0) return;
      if (first === 2) scores[second === 0 ? 0 : 1] += chance;
      else if (second === 2) scores[first === 0 ? 2 : 3] += chance;
      else {
        walk(first + 1, second, chance * set, fresh);
        walk(first, second + 1, chance * (1 - set), fresh);
      }
    };
    walk(this.#sets[0], this.#sets[1], 1, this.#setChance(this.#games));
    return scores;
  }

  /** The first player's chance of a set that stands so. */
  #setChance([first, second]: readonly [number, number]): number {
    if (setWon(first, second)) return 1;
    if (setWon(second, first)) return 0;
    return (
      this.#chance * this.#setChance([first + 1, second]) + (1 - this.#chance) * this.#setChance([first, second + 1])
    );
  }
}

/** Six games and two ahead, or seven. */
function setWon(mine: number, others: number): boolean {
  return mine === 7 || (mine === 6 && others <= 4);
}
