import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Process } from "./process.ts";
import type { Served, Side } from "./w8-sides.ts";

const WARM_UP_SECONDS = 2;
/** A round is so many turns of each: what else the machine does meets them alike. */
const TURNS = 4;
const FLOOR = fileURLToPath(new URL("floor/", import.meta.url));

/** The C programs: what the floor is, and who the users are. */
export interface Programs {
  readonly floor: string;
  readonly users: string;
}

/** What one of the race did in a round. */
export interface Round {
  /** To everybody. */
  readonly flushes: number;
  /** Seconds that passed, and of the CPU, of the server and of its users. */
  readonly seconds: number;
  readonly cpu: number;
  readonly usersCpu: number;
}

/** How one of the race came out. */
export interface Outcome {
  readonly users: number;
  readonly rounds: readonly Round[];
  /** Messages that were not what the first user got, and books of the first user that are not the exchange's. */
  readonly wrong: number;
  /** Null where there are none. */
  readonly booksChecked: number | null;
  readonly bytesPerFlush: number;
}

/** Compiles the C programs into a folder. */
export function compiled(folder: string): Programs {
  const program = (name: string): string => {
    const path = join(folder, name);
    try {
      execFileSync("gcc", ["-O2", "-o", path, `${FLOOR}${name}.c`], { stdio: ["ignore", "ignore", "pipe"] });
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOENT") throw error;
      throw new Error("the floor is a C program: install gcc and the C library's headers (Debian: gcc libc6-dev)");
    }
    return path;
  };
  return { floor: program("floor"), users: program("users") };
}

/** All of them at once, each with so many users of its own; one is busy at a time, for `seconds` / `TURNS` each in turn. */
export async function race(
  sides: readonly Side[],
  { users, rounds, seconds }: { readonly users: number; readonly rounds: number; readonly seconds: number },
  programs: Programs,
  folder: string,
): Promise<Outcome[]> {
  const entrants: Entrant[] = [];
  try {
    for (const side of sides) entrants.push(await Entrant.enter(side, users, programs, folder));
    for (const entrant of entrants) await entrant.run(WARM_UP_SECONDS);
    const done = entrants.map((): Round[] => []);
    for (let round = 0; round < rounds; round++) {
      const turns = entrants.map((): Round[] => []);
      for (let turn = 0; turn < TURNS; turn++)
        for (const [i, entrant] of entrants.entries()) turns[i]?.push(await entrant.run(seconds / TURNS));
      for (const [i, all] of turns.entries()) done[i]?.push(all.reduce(sum));
    }
    const outcomes: Outcome[] = [];
    for (const [i, entrant] of entrants.entries())
      outcomes.push({ users, rounds: done[i] as Round[], ...(await entrant.end()) });
    return outcomes;
  } finally {
    for (const entrant of entrants) await entrant.stop();
  }
}

/** A few users and flushes, and the last message: what such messages look like. */
export async function sample(side: Side, programs: Programs, folder: string): Promise<Buffer> {
  const entrant = await Entrant.enter(side, SAMPLE.users, programs, folder);
  try {
    for (let i = 0; i < SAMPLE.flushes; i++) await entrant.flush();
    await entrant.end();
    return entrant.lastMessage;
  } finally {
    await entrant.stop();
  }
}

const SAMPLE = { users: 10, flushes: 5 } as const;

/** A server and its users. */
class Entrant {
  readonly #served: Served;
  readonly #users: Process;
  readonly #kept: string;

  static async enter(side: Side, users: number, programs: Programs, folder: string): Promise<Entrant> {
    const own = mkdtempSync(join(folder, "side-"));
    const entrant = new Entrant(await side(own), users, programs, own);
    try {
      await entrant.#users.line(/^ready$/);
      return entrant;
    } catch (error) {
      await entrant.stop();
      throw error;
    }
  }

  private constructor(served: Served, users: number, programs: Programs, folder: string) {
    const [hello, kept] = [join(folder, "hello"), join(folder, "kept")];
    writeFileSync(hello, served.hello);
    const { port, path, dialect, messages } = served;
    this.#served = served;
    this.#kept = kept;
    this.#users = new Process(
      String(port),
      [path, String(users), String(messages), dialect, hello, kept],
      programs.users,
    );
  }

  /** To everybody; resolves when it has arrived there. */
  async flush(): Promise<void> {
    const arrived = this.#users.line(/^done/, this.#users.lines.length);
    this.#served.publish();
    await arrived;
  }

  /** A flush after another, each when the one before has arrived: so each is one write a user, as with two at once it might not be. */
  async run(seconds: number): Promise<Round> {
    const from = this.#mark();
    let flushes = 0;
    for (const until = from.seconds + seconds; performance.now() / 1_000 < until; flushes++) await this.flush();
    const to = this.#mark();
    return {
      flushes,
      seconds: to.seconds - from.seconds,
      cpu: to.cpu - from.cpu,
      usersCpu: to.usersCpu - from.usersCpu,
    };
  }

  async end(): Promise<Omit<Outcome, "users" | "rounds">> {
    const told = JSON.parse(await this.#users.ask("end")) as Record<"messages" | "bytes" | "wrong", number>;
    const books = this.#served.books?.(this.#kept) ?? null;
    return {
      wrong: told.wrong + (books?.wrong.length ?? 0),
      booksChecked: books?.checked ?? null,
      bytesPerFlush: (told.bytes / told.messages) * this.#served.messages,
    };
  }

  /** Of the first user, after the end. */
  get lastMessage(): Buffer {
    return Buffer.from(readFileSync(this.#kept, "latin1").trimEnd().split("\n").at(-1) as string, "latin1");
  }

  async stop(): Promise<void> {
    await this.#users.stop();
    await this.#served.stop();
  }

  #mark(): Omit<Round, "flushes"> {
    const [cpu, usersCpu] = [this.#served.process.cpuSeconds(), this.#users.cpuSeconds()];
    return { seconds: performance.now() / 1_000, cpu, usersCpu };
  }
}

function sum(a: Round, b: Round): Round {
  return {
    flushes: a.flushes + b.flushes,
    seconds: a.seconds + b.seconds,
    cpu: a.cpu + b.cpu,
    usersCpu: a.usersCpu + b.usersCpu,
  };
}
