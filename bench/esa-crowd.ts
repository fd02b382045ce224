/**
 * Many plain ESA clients over TLS in one process, for `npm run bench -- esa`. Started with a JSON of `CrowdOptions`; says `ready` once all have their images,
 * answers each line `mark` on standard input with a `CrowdMark`, and `end` with a `CrowdEnd`.
 *
 * All clients ask the same, so all must be sent the same: each message's market changes are held by their hash against what the others got under that clk. A few clients
 * keep whole books; at the end each of them takes a fresh image, and its book must be that.
 */
import { createInterface } from "node:readline";
import type { Socket } from "bun";
import { NaiveBook } from "../src/sim/naive.ts";

export interface CrowdOptions {
  readonly port: number;
  readonly ca: string;
  readonly clients: number;
  readonly appKey: string;
  readonly session: string;
  /** What each subscribes to: one list of market ids a client, in turn; null: all there are. */
  readonly marketIds: readonly (readonly string[])[] | null;
  readonly fields: readonly string[];
  /** How many keep books. */
  readonly readers: number;
}

export interface CrowdMark {
  /** Change messages and market changes received, by everybody together. */
  readonly messages: number;
  readonly changes: number;
  readonly bytes: number;
  /** The process's own user and system time, seconds. */
  readonly cpu: number;
  /** From the exchange's publish time to the client, milliseconds: how many of 0, 1, 2 … since the last mark. */
  readonly latency: readonly number[];
}

export interface CrowdEnd {
  readonly booksChecked: number;
  readonly wrongBooks: number;
  /** Messages that were not what the others got, and connections lost. */
  readonly strays: number;
  readonly lost: number;
}

type Change = Parameters<NaiveBook["apply"]>[0];

interface Message {
  readonly ct?: string;
  readonly clk?: string;
  readonly pt: number;
  readonly segmentType?: string;
  readonly mc?: readonly Change[];
}

const LATENCY_MS_MAX = 10_000;
/** Connections being made at a time. */
const DIALS_MAX = 50;
/** Hashes that are kept for late readers, of the last messages. */
const HASHES_MAX = 4_096;
/** How long a newcomer and a reader may take to be told up to the same clk. */
const CHECK_MS_MAX = 10_000;
const MC = Buffer.from('"mc":[');
const CLK = Buffer.from('"clk":"');
const PT = Buffer.from('"pt":');

const crowd = { messages: 0, changes: 0, bytes: 0, strays: 0, lost: 0, latency: [] as number[] };
const options = JSON.parse(process.argv[2] as string) as CrowdOptions;

async function main(): Promise<void> {
  const clients: Client[] = [];
  for (let n = 0; n < options.clients; n += DIALS_MAX) {
    const batch = Array.from({ length: Math.min(DIALS_MAX, options.clients - n) }, (_, i) => new Client(n + i));
    clients.push(...batch);
    await Promise.all(batch.map((client) => client.live));
  }
  console.log("ready");
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "mark") console.log(JSON.stringify(mark()));
    if (line === "end") {
      console.log(JSON.stringify(await check(clients.slice(0, options.readers))));
      process.exit(0);
    }
  }
}

function mark(): CrowdMark {
  const { user, system } = process.cpuUsage();
  const { messages, changes, bytes, latency } = crowd;
  crowd.latency = [];
  return { messages, changes, bytes, cpu: (user + system) / 1e6, latency: Array.from(latency, (count) => count ?? 0) };
}

/** Each reader's books against those of somebody who has just come, when both are told up to the same clk. */
async function check(readers: readonly Client[]): Promise<CrowdEnd> {
  let [booksChecked, wrongBooks] = [0, 0];
  for (const reader of readers) {
    const fresh = new Client(reader.number);
    await fresh.live;
    for (const until = performance.now() + CHECK_MS_MAX; reader.clk !== fresh.clk && performance.now() < until; )
      await Bun.sleep(1);
    for (const [id, book] of fresh.books) {
      booksChecked++;
      const held = reader.books.get(id)?.state();
      if (reader.clk !== fresh.clk || JSON.stringify(held) !== JSON.stringify(book.state())) wrongBooks++;
    }
    if (fresh.books.size !== reader.books.size) wrongBooks++;
    fresh.leave();
  }
  const { strays, lost } = crowd;
  return { booksChecked, wrongBooks, strays, lost };
}

/** One client. Reads what it must by searching the bytes; a reader parses everything. */
class Client {
  readonly number: number;
  readonly live: Promise<void>;
  readonly books = new Map<string, NaiveBook>();
  clk = "";
  readonly #reads: boolean;
  #socket: Socket<Client> | null = null;
  #rest: Buffer | null = null;
  #isLive = false;
  #gone = false;
  #segments: Change[] = [];
  #nowLive: () => void = () => {};

  constructor(number: number) {
    this.number = number;
    this.#reads = number < options.readers;
    this.live = new Promise((resolve) => {
      this.#nowLive = resolve;
    });
    const { port, ca } = options;
    void Bun.connect<Client>({
      hostname: "127.0.0.1",
      port,
      tls: { ca },
      data: this,
      socket: HANDLERS,
    });
  }

  leave(): void {
    this.#gone = true;
    this.#socket?.end();
  }

  opened(socket: Socket<Client>): void {
    this.#socket = socket;
  }

  closed(): void {
    if (!this.#gone) crowd.lost++;
    this.#gone = true;
  }

  data(piece: Buffer): void {
    crowd.bytes += piece.length;
    const bytes = this.#rest === null ? piece : Buffer.concat([this.#rest, piece]);
    let start = 0;
    for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, start)) {
      this.#line(bytes.subarray(start, end - 1));
      start = end + 1;
    }
    // The bytes are Bun's own after this call.
    this.#rest = start < bytes.length ? Buffer.from(bytes.subarray(start)) : null;
  }

  #line(line: Buffer): void {
    if (this.#isLive) return this.#change(line);
    const message = JSON.parse(line.toString("latin1")) as { op: string; id?: number; statusCode?: string };
    if (message.statusCode === "FAILURE") throw new Error(line.toString("latin1"));
    if (message.op === "connection")
      this.#send({ op: "authentication", id: 1, appKey: options.appKey, session: options.session });
    else if (message.op === "status" && message.id === 1) this.#subscribe();
    else if (message.op === "mcm") this.#image(message as unknown as Message);
  }

  #subscribe(): void {
    const { marketIds, fields } = options;
    const marketFilter = marketIds === null ? {} : { marketIds: marketIds[this.number % marketIds.length] };
    this.#send({
      op: "marketSubscription",
      id: 2,
      marketFilter,
      marketDataFilter: { fields },
      segmentationEnabled: true,
    });
  }

  #image(message: Message): void {
    if (this.#reads) this.#read(message);
    if (message.segmentType === "SEG_START" || message.segmentType === "SEG") return;
    this.clk = message.clk as string;
    this.#isLive = true;
    this.#nowLive();
  }

  #change(line: Buffer): void {
    const from = line.indexOf(MC);
    this.clk = textAfter(line, CLK) ?? this.clk;
    if (from === -1) return;
    crowd.messages++;
    count(Date.now() - Number(numberAfter(line, PT)));
    crowd.changes += compared(
      `${options.marketIds === null ? 0 : this.number % options.marketIds.length} ${this.clk}`,
      line.subarray(from),
    );
    if (this.#reads) this.#read(JSON.parse(line.toString("latin1")) as Message);
  }

  #read(message: Message): void {
    this.#segments.push(...(message.mc ?? []));
    if (message.segmentType === "SEG_START" || message.segmentType === "SEG") return;
    for (const change of this.#segments.splice(0)) {
      let book = this.books.get(change.id);
      if (book === undefined) this.books.set(change.id, (book = new NaiveBook(change.id)));
      book.apply(change);
    }
  }

  #send(message: object): void {
    this.#socket?.write(`${JSON.stringify(message)}\r\n`);
  }
}

const HANDLERS = {
  binaryType: "buffer" as const,
  open: (socket: Socket<Client>) => socket.data.opened(socket),
  data: (socket: Socket<Client>, bytes: Buffer) => socket.data.data(bytes),
  close: (socket: Socket<Client>) => socket.data.closed(),
  error: (_socket: Socket<Client>, error: Error) => {
    throw error;
  },
};

/** What the others got under this clk, by hash, and how many market changes that was. */
const known = new Map<string, { readonly hash: number | bigint; readonly changes: number }>();

/** How many market changes a message holds; a stray where others got another under the same clk. */
function compared(key: string, mc: Buffer): number {
  const hash = Bun.hash(mc);
  const before = known.get(key);
  if (before !== undefined) {
    if (before.hash !== hash) crowd.strays++;
    return before.changes;
  }
  const { mc: changes } = JSON.parse(`{${mc.toString("latin1")}`) as { mc: unknown[] };
  known.set(key, { hash, changes: changes.length });
  if (known.size > HASHES_MAX) known.delete(known.keys().next().value as string);
  return changes.length;
}

function count(ms: number): void {
  const at = Math.min(LATENCY_MS_MAX, Math.max(0, ms));
  crowd.latency[at] = (crowd.latency[at] ?? 0) + 1;
}

function textAfter(line: Buffer, key: Buffer): string | null {
  const at = line.indexOf(key);
  return at === -1 ? null : line.toString("latin1", at + key.length, line.indexOf(34, at + key.length));
}

function numberAfter(line: Buffer, key: Buffer): number {
  const at = line.indexOf(key) + key.length;
  return Number.parseInt(line.toString("latin1", at, at + 13), 10);
}

await main();
