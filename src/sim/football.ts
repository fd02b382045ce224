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

/** Ninety minutes take nine here. */
const MATCH_MS = 540_000;
/** Goals a match, both sides together, and suspensions that come to nothing (a goal taken back, a penalty missed). */
const GOALS = 2.7;
const SCARES = 3;
const SCORE_MAX = 9;

const LEAGUES: readonly { countryCode: string; timezone: string; teams: readonly string[] }[] = [
  {
    countryCode: "GB",
    timezone: "Europe/London",
    teams: ["Arsenal", "Aston Villa", "Brentford", "Brighton", "Chelsea", "Crystal Palace", "Everton", "Fulham"].concat(
      ["Leeds", "Liverpool", "Man City", "Man Utd", "Newcastle", "Nottm Forest", "Sunderland", "Tottenham", "West Ham"],
    ),
  },
  {
    countryCode: "ES",
    timezone: "Europe/Madrid",
    teams: ["Alavés", "Ath Bilbao", "Atlético Madrid", "Barcelona", "Betis", "Celta Vigo", "Getafe", "Girona"].concat([
      "Osasuna",
      "Real Madrid",
      "Real Sociedad",
      "Sevilla",
      "Valencia",
      "Villarreal",
    ]),
  },
  {
    countryCode: "DE",
    timezone: "Europe/Berlin",
    teams: ["Augsburg", "Bayern München", "Bremen", "Dortmund", "Eintracht Frankfurt", "Freiburg", "Hoffenheim"].concat(
      ["Köln", "Leverkusen", "Mainz", "Mgladbach", "RB Leipzig", "Stuttgart", "Union Berlin", "Wolfsburg"],
    ),
  },
  {
    countryCode: "IT",
    timezone: "Europe/Rome",
    teams: ["AC Milan", "Atalanta", "Bologna", "Cagliari", "Fiorentina", "Genoa", "Inter", "Juventus", "Lazio"].concat([
      "Napoli",
      "Parma",
      "Roma",
      "Torino",
      "Udinese",
      "Verona",
    ]),
  },
];

export function footballFixture(random: Random): Fixture {
  const { countryCode, timezone, teams } = pick(random, LEAGUES);
  const home = pick(random, teams);
  const away = pick(
    random,
    teams.filter((team) => team !== home),
  );
  const edge = random.next() - 0.4;
  return {
    name: `${home} v ${away}`,
    eventTypeId: "1",
    countryCode,
    timezone,
    markets: footballMarkets(home, away),
    game: new FootballGame(random, GOALS * (0.5 + edge / 2), GOALS * (0.5 - edge / 2)),
  };
}

function footballMarkets(home: string, away: string): MarketSpec[] {
  const market = (type: string, name: string, ...runners: string[]): MarketSpec => ({
    type,
    name,
    runners: runnersNamed(...runners),
    winners: 1,
    turnInPlay: true,
    bsp: false,
  });
  const goals = (half: number) =>
    market(`OVER_UNDER_${half}5`, `Over/Under ${half}.5 Goals`, `Under ${half}.5 Goals`, `Over ${half}.5 Goals`);
  return [
    market("MATCH_ODDS", "Match Odds", home, away, "The Draw"),
    goals(2),
    market("BOTH_TEAMS_TO_SCORE", "Both teams to Score?", "Yes", "No"),
    goals(1),
    goals(3),
    market("CORRECT_SCORE", "Correct Score", ...SCORES, ...OTHER_SCORES),
    asianHandicap(home, away),
    goals(0),
  ];
}

const SCORES: readonly string[] = [0, 1, 2, 3].flatMap((home) => [0, 1, 2, 3].map((away) => `${home} - ${away}`));
const OTHER_SCORES = ["Any Other Home Win", "Any Other Away Win", "Any Other Draw"];

/** Two runners, each at several handicaps: told apart by (id, hc). */
function asianHandicap(home: string, away: string): MarketSpec {
  const [homeRunner, awayRunner] = runnersNamed(home, away) as [
    { id: number; name: string },
    { id: number; name: string },
  ];
  const lines = [-1.5, -0.5, 0.5, 1.5];
  return {
    type: "ASIAN_HANDICAP",
    name: "Asian Handicap",
    bettingType: "ASIAN_HANDICAP_DOUBLE_LINE",
    runners: lines.flatMap((hc) => [
      { ...homeRunner, hc },
      { ...awayRunner, hc: -hc },
    ]),
    winners: lines.length,
    turnInPlay: true,
    bsp: false,
  };
}

/** Goals fall by chance, evenly over the match; what is to come follows Poisson, so that all markets of a match agree. */
export class FootballGame implements Game {
  readonly betDelay = 5;
  readonly lastsMs = MATCH_MS;
  stage = 0;
  readonly #random: Random;
  readonly #homeGoals: number;
  readonly #awayGoals: number;
  #home = 0;
  #away = 0;
  #leftMs = MATCH_MS;
  #scores: number[][] | null = null;

  /** The goals each side is expected to score in a match. */
  constructor(random: Random, homeGoals: number, awayGoals: number) {
    this.#random = random;
    this.#homeGoals = homeGoals;
    this.#awayGoals = awayGoals;
  }

  get over(): boolean {
    return this.#leftMs <= 0;
  }

  get score(): readonly [home: number, away: number] {
    return [this.#home, this.#away];
  }

  play(ms: number): Incident | null {
    this.#leftMs -= ms;
    this.#moved();
    if (this.over || this.#random.next() > ((this.#homeGoals + this.#awayGoals + SCARES) * ms) / MATCH_MS) return null;
    return this.force();
  }

  force(): Incident {
    const dice = this.#random.next() * (this.#homeGoals + this.#awayGoals + SCARES);
    this.#moved();
    if (dice >= this.#homeGoals + this.#awayGoals) return { reason: pick(this.#random, ["Goal", "Penalty", "VAR"]) };
    if (dice < this.#homeGoals && this.#home < SCORE_MAX) this.#home++;
    else if (this.#away < SCORE_MAX) this.#away++;
    return { reason: "Goal" };
  }

  chances(market: MarketSpec): number[] {
    return market.runners.map(({ hc }, i) => this.#chance(wins(market.type, i, hc ?? 0)));
  }

  decided(market: MarketSpec): boolean {
    return this.over || isCertain(this.chances(market));
  }

  results(market: MarketSpec): boolean[] {
    return certainties(this.chances(market));
  }

  #moved(): void {
    this.stage++;
    this.#scores = null;
  }

  /** The chance of all final scores that make a runner win. */
  #chance(won: (home: number, away: number) => boolean): number {
    this.#scores ??= this.#finalScores();
    let sum = 0;
    for (const [home, row] of this.#scores.entries())
      for (const [away, chance] of row.entries()) if (won(home, away)) sum += chance;
    return sum;
  }

  #finalScores(): number[][] {
    const left = Math.max(0, this.#leftMs) / MATCH_MS;
    const home = poisson(this.#homeGoals * left, SCORE_MAX - this.#home);
    const away = poisson(this.#awayGoals * left, SCORE_MAX - this.#away);
    const at = (goals: number[], scored: number, final: number) => goals[final - scored] ?? 0;
    return Array.from({ length: SCORE_MAX + 1 }, (_, h) =>
      Array.from({ length: SCORE_MAX + 1 }, (_, a) => at(home, this.#home, h) * at(away, this.#away, a)),
    );
  }
}

/** Which final scores make the runner at place `i` of such a market win. */
function wins(type: string, i: number, hc: number): (home: number, away: number) => boolean {
  switch (type) {
    case "MATCH_ODDS":
      return (home, away) => Math.sign(home - away) === [1, -1, 0][i];
    case "BOTH_TEAMS_TO_SCORE":
      return (home, away) => (home > 0 && away > 0) === (i === 0);
    case "ASIAN_HANDICAP":
      return (home, away) => (i % 2 === 0 ? home - away : away - home) + hc > 0;
    case "CORRECT_SCORE":
      return (home, away) => i === (home > 3 || away > 3 ? otherScore(home, away) : home * 4 + away);
    default: {
      const half = Number(type.slice("OVER_UNDER_".length)) / 10;
      return (home, away) => home + away > half === (i === 1);
    }
  }
}

/** The place of the runner that stands for a score too high to have its own. */
function otherScore(home: number, away: number): number {
  return SCORES.length + (home > away ? 0 : home < away ? 1 : 2);
}

/** The chances of 0, 1, … `max` goals, of which the last holds all beyond. */
function poisson(mean: number, max: number): number[] {
  const chances: number[] = [];
  let chance = Math.exp(-mean);
  let rest = 1;
  for (let goals = 0; goals < max; goals++) {
    chances.push(chance);
    rest -= chance;
    chance *= mean / (goals + 1);
  }
  return [...chances, Math.max(0, rest)];
}
