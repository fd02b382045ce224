/** One process of `oddswire loadtest`'s crowd: takes orders as JSON lines on standard input, says how it is on standard output. */
import { constants, setPriority } from "node:os";
import process from "node:process";
import { createInterface } from "node:readline";
import { systemClock } from "../base/clock.ts";
import { seededRandom } from "../base/random.ts";
import type { Book } from "../load/books.ts";
import { Crowd, type CrowdPlan, type CrowdWord } from "../load/crowd.ts";
import type { CrowdOrder } from "../load/process.ts";
import { connectLaggard, connectUser, hashOf } from "../load/sockets.ts";
import { type MarketChange, NaiveBook } from "../sim/naive.ts";

const ORIGIN = performance.timeOrigin;
/** As `systemClock`, but that wall time has fractions of a millisecond. */
const clock = { ...systemClock, wall: () => ORIGIN + performance.now() };

let crowd: Crowd | null = null;

// Ctrl-C is for who started it, who then asks for the end.
process.on("SIGINT", () => {});
// Without who started it, it has nothing to do.
process.stdout.on("error", () => process.exit(0));
for await (const line of createInterface({ input: process.stdin })) await follow(JSON.parse(line) as CrowdOrder);
process.exit(0);

async function follow(order: CrowdOrder): Promise<void> {
  switch (order.kind) {
    case "plan":
      crowd = crowdFor(order.plan);
      return crowd.start();
    case "measure":
      return crowd?.measure(order.offsetMs);
    case "measured":
      return crowd?.measured();
    case "end":
      say({ kind: "ended", ...(await (crowd as Crowd).end()) });
  }
}

function crowdFor(plan: CrowdPlan): Crowd {
  // Where all of them storm, they must not take the processor from who measures how the others fare, nor from the server.
  if (plan.seats.every(({ isShaken }) => isShaken)) setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
  return new Crowd(plan, {
    clock,
    random: seededRandom(plan.seed),
    newBook: (id) => new ReaderBook(id),
    hash: hashOf,
    connect: connectUser,
    connectLaggard,
    cpuSeconds() {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    },
    rss: () => process.memoryUsage.rss(),
    say,
  });
}

function say(word: CrowdWord): void {
  process.stdout.write(`${JSON.stringify(word)}\n`);
}

/** The book that judges the book, by the name that the load knows it by. */
class ReaderBook implements Book {
  readonly #book: NaiveBook;

  constructor(id: string) {
    this.#book = new NaiveBook(id);
  }

  apply(change: Parameters<Book["apply"]>[0]): void {
    this.#book.apply(change as MarketChange);
  }

  state(): ReturnType<NaiveBook["state"]> {
    return this.#book.state();
  }
}
