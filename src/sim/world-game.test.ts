import { expect, test } from "bun:test";
import { seededRandom } from "../base/random.ts";
import { cricketFixture } from "./cricket.ts";
import { footballFixture } from "./football.ts";
import { racingFixture } from "./racing.ts";
import { tennisFixture } from "./tennis.ts";
import type { Fixture } from "./world-game.ts";
import { tickOf } from "./world-prices.ts";

const SEEDS = Array.from({ length: 10 }, (_, seed) => seed);
/** Longer than any game lasts. */
const STEPS_MAX = 3_000;

for (const [sport, fixtureOf] of Object.entries({ footballFixture, tennisFixture, racingFixture, cricketFixture })) {
  test(`${sport}: chances add up to the winners all along, and at the end they are the results`, () => {
    for (const seed of SEEDS) {
      const fixture = fixtureOf(seededRandom(seed));
      const { game } = fixture;
      addUp(fixture, seed);
      for (let steps = 0; !game.over; steps++) {
        expect(steps, `seed ${seed}`).toBeLessThan(STEPS_MAX);
        game.play(1_000);
        if (steps % 10 === 0) addUp(fixture, seed);
      }
      for (const market of fixture.markets) {
        expect(game.decided(market), `seed ${seed} ${market.type}`).toBe(true);
        expect(game.results(market).filter(Boolean).length, `seed ${seed} ${market.type}`).toBe(market.winners);
      }
    }
  });

  test(`${sport}: whatever is forced to happen, the stage moves on and chances still add up`, () => {
    for (const seed of SEEDS) {
      const fixture = fixtureOf(seededRandom(seed));
      for (let n = 0; n < 5; n++) {
        const { stage } = fixture.game;
        fixture.game.force();
        expect(fixture.game.stage, `seed ${seed}`).toBeGreaterThan(stage);
        addUp(fixture, seed);
      }
    }
  });

  test(`${sport}: no market has two runners of one id and handicap`, () => {
    for (const seed of SEEDS)
      for (const { runners } of fixtureOf(seededRandom(seed)).markets)
        expect(new Set(runners.map(({ id, hc }) => `${id}/${hc ?? 0}`)).size).toBe(runners.length);
  });
}

test("a horse that does not run has no chance and does not win", () => {
  const fixture = racingFixture(seededRandom(3));
  const [win] = fixture.markets;
  fixture.game.withdraw?.(win!.runners[0]!.id);
  expect(fixture.game.chances(win!)[0]).toBe(0);
  while (!fixture.game.over) fixture.game.play(1_000);
  expect(fixture.game.results(win!)[0]).toBe(false);
});

test("a chance stands between the ticks around its price", () => {
  expect(tickOf(1 / 1.01)).toBeCloseTo(0, 6);
  expect(tickOf(1 / 2)).toBeCloseTo(99, 6);
  expect(tickOf(1 / 2.01)).toBeCloseTo(99.5, 6);
  expect(tickOf(1)).toBe(-1);
  expect(tickOf(0)).toBe(350);
});

function addUp({ game, markets }: Fixture, seed: number): void {
  for (const market of markets) {
    const chances = game.chances(market);
    const sum = chances.reduce((total, chance) => total + chance, 0);
    expect(Math.abs(sum - market.winners), `seed ${seed} ${market.type} ${chances}`).toBeLessThan(1e-4);
    expect(chances.every((chance) => chance >= 0 && chance <= 1 + 1e-9)).toBe(true);
  }
}
