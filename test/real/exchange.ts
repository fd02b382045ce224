/**
 * The exchange's side of the namespace, a process of its own: the simulated exchange with its identity service and REST under the exchange's own names,
 * a hostile one beside it, and a relay before Oddswire's ESA door that can be cut. Asked on standard input as `Companion` asks.
 */
import { createServer, connect as dialTcp, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { seededRandom } from "../../src/base/random.ts";
import { bunServe } from "../../src/edge/server.ts";
import { bunListen } from "../../src/edge/sockets.ts";
import { BestOffers } from "../../src/sim/best-offers.ts";
import { SimBetting } from "../../src/sim/betting.ts";
import { type MarketNames, marketMethods } from "../../src/sim/betting-markets.ts";
import type { Certificate } from "../../src/sim/certificate.ts";
import { VirtualClock } from "../../src/sim/clock.ts";
import { SimExchange } from "../../src/sim/exchange.ts";
import { SimIdentity } from "../../src/sim/identity.ts";
import type { MarketChange } from "../../src/sim/naive.ts";
import { orderMethods } from "../../src/sim/order-methods.ts";
import { recordingMessages } from "../../src/sim/recording.ts";
import { World } from "../../src/sim/world.ts";
import { HostileExchange, type Manner } from "./hostile.ts";
import type { Held, Played } from "./street.ts";

/** What the street says when it starts this. */
export interface ExchangePlan {
  readonly certificate: Certificate;
  readonly appKey: string;
  readonly accounts: readonly { readonly username: string; readonly password: string }[];
  readonly streamHost: string;
  readonly httpsHost: string;
  readonly hostileHost: string;
  /** Forwards its port 443 to that of `relayTo`. */
  readonly relayHost: string;
  readonly relayTo: string;
}

/** A request of the test's. */
type Request =
  | { readonly do: "recording"; readonly file: string }
  | ({ readonly do: "world" } & WorldRequest)
  | { readonly do: "play"; readonly messages: number }
  | { readonly do: "publish"; readonly changes: readonly MarketChange[]; readonly laterMs?: number }
  | { readonly do: "image"; readonly market: string }
  | { readonly do: "cut"; readonly who: "clients" | "all" }
  | { readonly do: "behave"; readonly manner: Manner }
  | { readonly do: "fetch"; readonly url: string }
  | { readonly do: "counts" };

const TLS_PORT = 443;
/** Of a generated world's time, between two messages. */
const WORLD_STEP_MS = 50;

const NOTHING_PLAYED: Played = { messages: 0, changes: 0, messagesEver: 0, changesEver: 0 };

class Town {
  readonly #exchange: SimExchange;
  readonly #hostile: HostileExchange;
  readonly #relay: Relay;
  #messages: (readonly MarketChange[])[] = [];
  #names: ReadonlyMap<string, MarketNames> = new Map();
  #played = NOTHING_PLAYED;

  constructor(plan: ExchangePlan) {
    const { certificate, appKey, accounts } = plan;
    const world = { clock: systemClock, random: seededRandom(1) };
    const identity = new SimIdentity({ ...world, accounts, appKeys: [appKey] });
    const limits = { marketsMax: Number.POSITIVE_INFINITY, connectionsMax: 1_000 };
    this.#exchange = new SimExchange({ ...world, log: silentLog, sessions: identity, appKeys: [appKey], limits });
    this.#exchange.listen(bunListen, { host: plan.streamHost, port: TLS_PORT, tls: certificate });
    const exchange = this.#exchange;
    const shelf = {
      ids: () => exchange.marketIds(),
      image: (id: string) => exchange.image(id),
      namesOf: (id: string) => this.#names.get(id) ?? null,
    };
    const methods = [marketMethods(shelf), orderMethods(exchange.orders)];
    const betting = new SimBetting({ clock: systemClock, sessions: identity, appKeys: [appKey], methods });
    bunServe({ host: plan.httpsHost, port: TLS_PORT, tls: certificate }, (request) =>
      betting.matches(request) ? betting.handle(request) : identity.handle(request),
    );
    this.#hostile = new HostileExchange({ host: plan.hostileHost, port: TLS_PORT }, certificate);
    this.#relay = new Relay(plan.relayHost, plan.relayTo);
  }

  async ready(): Promise<void> {
    await Promise.all([this.#hostile.ready(), this.#relay.ready()]);
  }

  async does(request: Request): Promise<unknown> {
    switch (request.do) {
      case "recording":
        return this.#hold(await recorded(request.file));
      case "world":
        return this.#holdWorld(request);
      case "play":
        return this.#play(request.messages);
      case "publish":
        return this.#exchange.publish(Date.now() + (request.laterMs ?? 0), request.changes);
      case "image":
        return this.#exchange.image(request.market);
      case "cut":
        if (request.who === "all") this.#exchange.cut();
        this.#hostile.cut();
        return this.#relay.cut();
      case "behave":
        return this.#hostile.behave(request.manner);
      case "fetch": {
        const response = await fetch(request.url).catch(() => null);
        return response === null ? null : { status: response.status, text: await response.text() };
      }
      case "counts": {
        const { connections, resumes } = this.#hostile;
        return { ...this.#exchange.counters, hostile: { connections, resumes }, relayed: this.#relay.connections };
      }
    }
  }

  #holdWorld(request: WorldRequest): Held {
    const { messages, names } = worldly(request);
    this.#names = names;
    return this.#hold(messages);
  }

  #hold(messages: (readonly MarketChange[])[]): Held {
    this.#messages = messages;
    this.#played = NOTHING_PLAYED;
    const markets = [...new Set(messages.flatMap((changes) => changes.map(({ id }) => id)))];
    return { messages: messages.length, markets };
  }

  /** The next so many, at the time of now; the time between them is what their readers take. */
  async #play(most: number): Promise<Played> {
    const messages = this.#messages.slice(this.#played.messagesEver, this.#played.messagesEver + most);
    for (const changes of messages) this.#exchange.publish(Date.now(), changes);
    await this.#exchange.settled();
    const changes = messages.reduce((sum, each) => sum + each.length, 0);
    const messagesEver = this.#played.messagesEver + messages.length;
    const changesEver = this.#played.changesEver + changes;
    this.#played = { messages: messages.length, changes, messagesEver, changesEver };
    return this.#played;
  }
}

async function recorded(file: string): Promise<(readonly MarketChange[])[]> {
  const messages: (readonly MarketChange[])[] = [];
  for await (const { message } of recordingMessages(file)) if (message.mc) messages.push(message.mc);
  return messages;
}

interface WorldRequest {
  readonly seed: number;
  readonly markets: number;
  readonly messages: number;
}

/** A generated world's messages, worked out ahead of their time, and what its catalogue calls its markets. */
function worldly(request: WorldRequest): { messages: (readonly MarketChange[])[]; names: Map<string, MarketNames> } {
  const messages: (readonly MarketChange[])[] = [];
  const clock = new VirtualClock(Date.now());
  const best = new BestOffers();
  const publish = (_: number, changes: readonly MarketChange[]) =>
    void (changes.length > 0 && messages.push(changes.map((change) => best.add(change))));
  const names = new Map<string, MarketNames>();
  const world = new World({ markets: request.markets }, { clock, random: seededRandom(request.seed), publish });
  world.start();
  while (messages.length < request.messages) clock.advance(WORLD_STEP_MS);
  world.stop();
  for (const market of world.markets) names.set(market.id, market.names);
  return { messages: messages.slice(0, request.messages), names };
}

/** Stands before a door and passes bytes, until cut. */
class Relay {
  connections = 0;
  readonly #pairs = new Set<Socket>();
  readonly #server;

  constructor(host: string, to: string) {
    this.#server = createServer((near) => this.#pass(near, dialTcp(TLS_PORT, to))).listen(TLS_PORT, host);
  }

  ready(): Promise<void> {
    return new Promise((resolve) => (this.#server.listening ? resolve() : this.#server.once("listening", resolve)));
  }

  cut(): void {
    for (const socket of this.#pairs) socket.destroy();
  }

  #pass(near: Socket, far: Socket): void {
    this.connections++;
    for (const [from, to] of [[near, far] as const, [far, near] as const]) {
      this.#pairs.add(from);
      from.on("data", (bytes) => to.write(bytes));
      from.on("error", () => {});
      from.on("close", () => {
        this.#pairs.delete(from);
        to.destroy();
      });
    }
  }
}

async function main(): Promise<void> {
  const town = new Town(JSON.parse(process.argv[2] as string) as ExchangePlan);
  await town.ready();
  for await (const text of createInterface({ input: process.stdin })) {
    const outcome = await town.does(JSON.parse(text)).then(
      (answer) => ({ answer }),
      (error) => ({ error: String(error) }),
    );
    process.stdout.write(`${JSON.stringify(outcome)}\n`);
  }
}

if (import.meta.main) await main();
