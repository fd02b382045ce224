import { readFileSync } from "node:fs";
import { systemClock } from "../src/base/clock.ts";
import { silentLog } from "../src/base/log.ts";
import { seededRandom } from "../src/base/random.ts";
import type { Listener } from "../src/base/socket.ts";
import { bunListen } from "../src/edge/sockets.ts";
import { Books } from "../src/load/books.ts";
import { SimExchange } from "../src/sim/exchange.ts";
import { type MarketChange, NaiveBook, type PriceSize, type RunnerChange } from "../src/sim/naive.ts";
import { EventDay, type EventDayOptions } from "../src/sim/world-w1.ts";

export const APP_KEY = "bench-app-key";
export const EXCHANGE_SESSION = "bench-exchange-session";
/** Offers that change on each side of a runner. */
const OFFERS = 2;
/** All sizes have five figures, the last of them no 0, so that each flush has as many bytes as the one before; and one after the other differs. */
const SIZES = 899;
const SIZE_STEP = 37;

/**
 * The simulated exchange with the markets of a workload, which publishes when it is told to: of each market a change, of the same offers each time.
 * Plain TCP and in the process of the bench: nothing of it is measured.
 */
export class Feed {
  readonly marketIds: readonly string[];
  readonly #exchange: SimExchange;
  readonly #listener: Listener;
  readonly #images: readonly MarketChange[];
  readonly #runners: number;
  #flushes = 0;

  /** `runners`: how many of each market change. */
  constructor(options: EventDayOptions, runners: number) {
    this.#exchange = new SimExchange({
      clock: systemClock,
      random: seededRandom(2),
      log: silentLog,
      sessions: { accountOf: (token) => (token === EXCHANGE_SESSION ? "bench" : null) },
      appKeys: [APP_KEY],
    });
    const day = new EventDay(options, { clock: systemClock, random: seededRandom(1), publish() {} });
    this.#images = day.markets.map((market) => offered(market.image()));
    this.#runners = runners;
    this.marketIds = this.#images.map(({ id }) => id);
    this.#listener = this.#exchange.listen(bunListen, { host: "127.0.0.1", port: 0 });
    this.#exchange.publish(now(), this.#images);
  }

  get port(): number {
    return this.#listener.port;
  }

  flush(): void {
    this.#flushes++;
    this.#exchange.publish(
      now(),
      this.#images.map((image) => this.#change(image)),
    );
  }

  /** Markets of which the books of somebody who was told these messages, one a line, are not what the exchange shows now. */
  wrongBooks(file: string): string[] {
    const [told, shown] = [new Books((id) => new NaiveBook(id), false), new Books((id) => new NaiveBook(id), true)];
    for (const line of readFileSync(file, "utf8").split("\n")) if (line !== "") told.read(line);
    shown.read(JSON.stringify({ ct: "SUB_IMAGE", mc: this.marketIds.map((id) => this.#exchange.image(id)) }));
    return told.differences(shown);
  }

  stop(): void {
    this.#exchange.stop();
  }

  #change({ id, rc }: MarketChange): MarketChange {
    return { id, rc: (rc ?? []).slice(0, this.#runners).map((runner, i) => this.#offers(runner, i)) };
  }

  #offers({ id, atb, atl }: RunnerChange, i: number): RunnerChange {
    const [back, lay] = [(atb ?? []).slice(-OFFERS), (atl ?? []).slice(0, OFFERS)];
    const sized = ([price]: PriceSize, n: number): PriceSize => [price, this.#size(i * 2 * OFFERS + n)];
    return { id, atb: back.map(sized), atl: lay.map((offer, n) => sized(offer, OFFERS + n)) };
  }

  #size(n: number): number {
    return 100 + ((this.#flushes * SIZE_STEP + n * n) % SIZES) + (11 + n) / 100;
  }
}

/** Without what is traded: the users of these workloads do not ask for it. */
function offered({ id, img, marketDefinition, rc }: MarketChange): MarketChange {
  return { id, img, marketDefinition, rc: rc?.map(({ id, ltp, atb, atl }) => ({ id, ltp, atb, atl })) };
}

function now(): number {
  return Math.trunc(systemClock.wall());
}
