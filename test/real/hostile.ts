import { createServer, type Server, type TLSSocket } from "node:tls";
import type { Certificate } from "../../src/sim/certificate.ts";
import type { MarketChange, RunnerChange } from "../../src/sim/naive.ts";

/** What a server can do that a client of the exchange suffers from; `honest` is the same server without any of it. */
export const MANNERS = [
  "honest",
  "greetingWithMore",
  "lateLineFeed",
  "loneLineFeed",
  "rawUtf8",
  "oldId",
  "oldPublishTime",
  "noPublishTime",
  "quietRefusal",
  "invalidClock",
  "imageWithoutImg",
  "keyInDefinitionRunner",
  "keyInNewRunner",
  "noHeartbeats",
  "heartbeatsWithoutClk",
  "deafToFields",
  "purgedThenChanged",
] as const;
export type Manner = (typeof MANNERS)[number];

const MARKET = "1.100";
const OTHER = "1.200";
const RUNNER = 11;
const HEARTBEAT_MS = 300;
/** Long enough for a client to have taken the image in. */
const LATER_MS = 150;
const NINE_HOURS_MS = 9 * 3_600_000;

/**
 * A small exchange with one fault, so that a test can see that a trap is one: what Oddswire does not do, done to the real client.
 * Whoever asks with a clk is counted in `resumes`.
 */
export class HostileExchange {
  manner: Manner = "honest";
  connections = 0;
  resumes = 0;
  readonly #server: Server;
  readonly #sockets = new Set<TLSSocket>();

  constructor(at: { readonly host: string; readonly port: number }, tls: Certificate) {
    this.#server = createServer(tls, (socket) => this.#welcome(socket)).listen(at.port, at.host);
  }

  /** Resolves once it listens. */
  ready(): Promise<void> {
    return new Promise((resolve) => (this.#server.listening ? resolve() : this.#server.once("listening", resolve)));
  }

  /** Behaves so from now on, to those who come from now on. */
  behave(manner: Manner): void {
    Object.assign(this, { manner, connections: 0, resumes: 0 });
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #welcome(socket: TLSSocket): void {
    this.connections++;
    this.#sockets.add(socket);
    const visit = new HostileVisit(socket, this.manner, () => this.resumes++);
    socket.on("data", (bytes) => visit.received(bytes.toString()));
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#sockets.delete(socket);
      visit.over();
    });
    visit.greet();
  }
}

class HostileVisit {
  readonly #socket: TLSSocket;
  readonly #manner: Manner;
  readonly #resumed: () => void;
  readonly #timers: Timer[] = [];
  #rest = "";
  #firstId: number | null = null;
  #id = 0;
  #clk = 0;

  constructor(socket: TLSSocket, manner: Manner, resumed: () => void) {
    this.#socket = socket;
    this.#manner = manner;
    this.#resumed = resumed;
  }

  greet(): void {
    const greeting = line({ op: "connection", connectionId: "002-hostile-1" });
    const more = line({ op: "status", statusCode: "SUCCESS", connectionClosed: false });
    this.#socket.write(this.#manner === "greetingWithMore" ? greeting + more : greeting);
  }

  received(text: string): void {
    const lines = (this.#rest + text).split("\r\n");
    this.#rest = lines.pop() as string;
    for (const each of lines) this.#asked(JSON.parse(each));
  }

  over(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }

  #asked(request: { op: string; id: number; clk?: string | null }): void {
    if (request.op !== "marketSubscription") return this.#say({ ...SUCCESS, id: request.id, connectionsAvailable: 9 });
    if (request.clk) this.#resumed();
    const refusal = this.#refusal(request.clk ?? null);
    if (refusal !== null) {
      this.#say({ op: "status", statusCode: "FAILURE", id: request.id, ...refusal });
      if (refusal.connectionClosed) this.#socket.end();
      return;
    }
    this.#firstId ??= request.id;
    this.#id = this.#manner === "oldId" ? this.#firstId : request.id;
    this.#say({ ...SUCCESS, id: request.id });
    this.#image();
    this.#later(() => this.#misbehave());
    if (!["noHeartbeats", "lateLineFeed", "loneLineFeed"].includes(this.#manner)) this.#beat();
  }

  #refusal(clk: string | null): { errorCode: string; errorMessage: string; connectionClosed: boolean } | null {
    if (this.#manner === "quietRefusal")
      return { errorCode: "SUBSCRIPTION_LIMIT_EXCEEDED", errorMessage: "too many markets", connectionClosed: false };
    if (this.#manner === "invalidClock" && clk !== null)
      return { errorCode: "INVALID_CLOCK", errorMessage: "clk is not valid", connectionClosed: true };
    return null;
  }

  #image(): void {
    const deaf: Partial<RunnerChange> = this.#manner === "deafToFields" ? { atb: [[1.01, 99]] } : {};
    const runners: RunnerChange[] = [
      { ...rc(), batb: [[0, 3, 10]], ...(this.#manner === "imageWithoutImg" && PRICES), ...deaf },
    ];
    const markets = [market(MARKET, runners)];
    if (this.#manner === "purgedThenChanged") markets[0] = market(MARKET, runners, { status: "CLOSED" });
    this.#change({ ct: "SUB_IMAGE", initialClk: "i", mc: markets });
  }

  /** The one thing it does wrong. */
  #misbehave(): void {
    const change = { id: MARKET, rc: [{ id: RUNNER, ltp: 3 }] };
    switch (this.#manner) {
      case "lateLineFeed":
        this.#write(this.#message({ mc: [change] }).slice(0, -1));
        this.#later(() => this.#write("\n"));
        return this.#later(() => this.#change({ mc: [change] }), 5 * LATER_MS);
      case "loneLineFeed": {
        const padded = (letters: number) => this.#message({ mc: [{ ...change, pad: "x".repeat(letters) }] });
        this.#write(padded((READ_BYTES * 2 + 1 - padded(0).length) % READ_BYTES));
        return this.#later(() => this.#change({ mc: [change] }), 5 * LATER_MS);
      }
      case "rawUtf8":
        return this.#change({ mc: [market(MARKET, [rc()], { eventName: `${TWO_BYTES}x${TWO_BYTES}` })] });
      case "oldPublishTime":
        return this.#change({ pt: Date.now() - 2_000, mc: [change] });
      case "noPublishTime":
        return this.#change({ pt: undefined, mc: [change] });
      case "imageWithoutImg":
        return this.#change({ ct: "SUB_IMAGE", mc: [{ id: MARKET, rc: [{ ...rc(), atb: [[2.9, 5]] }] }] });
      case "keyInDefinitionRunner":
        return this.#change({ mc: [market(MARKET, [rc()], {}, { colour: "red" })] });
      case "keyInNewRunner":
        return this.#change({ mc: [{ id: MARKET, rc: [{ id: 99, ltp: 2, colour: "red" }] }] });
      case "purgedThenChanged":
        this.#change({ pt: Date.now() + NINE_HOURS_MS, mc: [market(OTHER, [rc()])] });
        return this.#later(() => this.#change({ pt: Date.now() + NINE_HOURS_MS, mc: [change] }));
      default:
        return this.#change({ mc: [change] });
    }
  }

  #beat(): void {
    this.#later(() => {
      const clk = this.#manner === "heartbeatsWithoutClk" ? undefined : `c${++this.#clk}`;
      this.#say({ op: "mcm", id: this.#id, ct: "HEARTBEAT", pt: Date.now(), clk });
      this.#beat();
    }, HEARTBEAT_MS);
  }

  #change(fields: object): void {
    this.#write(this.#message(fields));
  }

  #message(fields: object): string {
    return line({ op: "mcm", id: this.#id, clk: `c${++this.#clk}`, pt: Date.now(), ...fields });
  }

  #say(message: object): void {
    this.#write(line(message));
  }

  #write(text: string): void {
    if (this.#socket.writable) this.#socket.write(text);
  }

  #later(act: () => void, ms = LATER_MS): void {
    this.#timers.push(setTimeout(act, ms));
  }
}

/** What betfairlightweight reads at a time. */
const READ_BYTES = 1024;
/** The "x" between two of these sees to it that a cut at every 1,024th byte cuts one of their characters. */
const TWO_BYTES = "é".repeat(1_100);
const SUCCESS = { op: "status", statusCode: "SUCCESS", connectionClosed: false };
const PRICES: Partial<RunnerChange> = {
  atb: [
    [3, 10],
    [2.9, 5],
  ],
};

function rc(): RunnerChange {
  return { id: RUNNER, ltp: 2.5, tv: 10 };
}

/** A market change with all that betfairlightweight insists on. */
export function market(
  id: string,
  runners: readonly RunnerChange[],
  definition: object = {},
  runner: object = {},
): MarketChange {
  const marketDefinition = { ...DEFINITION, runners: [{ ...DEFINITION.runners[0], ...runner }], ...definition };
  return { id, img: true, tv: 10, marketDefinition, rc: runners };
}

/** All that betfairlightweight insists on, and no more. */
const DEFINITION = {
  betDelay: 0,
  bettingType: "ODDS",
  bspMarket: false,
  bspReconciled: false,
  complete: true,
  crossMatching: true,
  discountAllowed: true,
  eventId: "31",
  eventTypeId: "1",
  inPlay: false,
  marketBaseRate: 5,
  marketTime: "2030-01-01T12:00:00.000Z",
  numberOfActiveRunners: 1,
  numberOfWinners: 1,
  persistenceEnabled: true,
  regulators: ["MR_INT"],
  runnersVoidable: false,
  status: "OPEN",
  timezone: "GMT",
  turnInPlayEnabled: true,
  version: 1,
  runners: [{ id: RUNNER, sortPriority: 1, status: "ACTIVE" }],
};

function line(message: object): string {
  return `${JSON.stringify(message)}\r\n`;
}
