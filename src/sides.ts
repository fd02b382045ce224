import { newEpoch, streamOptions } from "./app.ts";
import type { Clock } from "./base/clock.ts";
import type { Log } from "./base/log.ts";
import { systemRandom } from "./base/random.ts";
import type { Dial } from "./base/socket.ts";
import type { Config } from "./config.ts";
import { bunDial } from "./edge/sockets.ts";
import type { SideStreams } from "./edge/visit.ts";
import { OrderClient } from "./exchange/orders.ts";
import { type Session, shared, staticSession } from "./exchange/session.ts";
import { SportClient } from "./exchange/sports.ts";
import type { StreamOptions } from "./exchange/stream.ts";
import { OrderDesk } from "./orders/desk.ts";
import { SportDesk } from "./sports/desk.ts";
import { SPORTS, type Sport } from "./wire/sports.ts";

/** Where the streams beside the market stream come from. */
export interface SideUpstream {
  readonly dial: Dial;
  readonly session: Session;
  /** How it is spoken to, for one connection of that name. */
  options(name: "orders" | Sport): StreamOptions;
  /** So long a silence of sports is a dead connection; null: as its heartbeats say. */
  readonly silenceMs: number | null;
}

/** From the exchange itself, with the login of the others; sports have a host of their own there. */
export function exchangeSides({ exchange, sports }: Config, session: Session): SideUpstream {
  const isBetfair = /(^|\.)betfair\.com$/.test(exchange.host);
  const host = sports.host ?? (isBetfair ? "sports-data-stream-api.betfair.com" : exchange.host);
  const { port = exchange.port } = sports;
  const options = (name: "orders" | Sport) => ({
    ...streamOptions(exchange, name),
    ...(name !== "orders" && { host, port }),
  });
  return { dial: bunDial, session: shared(session), options, silenceMs: sports.silenceMs ?? null };
}

/** Waits before a process of the same gateway is tried again. */
const RETRY = { firstMs: 100, maxMs: 1_000 };

/** From the process that holds the upstream, which speaks as the exchange does, at a socket of this machine's file system. */
export function relayedSides({ exchange }: Config, path: string): SideUpstream {
  const dial: Dial = (_, handler) => bunDial({ host: "relay", port: 0, path }, handler);
  const options = (name: "orders" | Sport): StreamOptions => {
    const { settings, ...rest } = streamOptions(exchange, name);
    return { ...rest, tls: "off", settings: { ...settings, waits: { ...settings.waits, retry: RETRY } } };
  };
  return { dial, session: staticSession("relay"), options, silenceMs: null };
}

/** The account's streams beside the market stream that are enabled: a connection for each, and the desk where it is handed out. */
export class Sides {
  readonly orders: { readonly client: OrderClient; readonly desk: OrderDesk } | null;
  readonly sports: readonly { readonly sport: Sport; readonly client: SportClient; readonly desk: SportDesk }[];

  constructor(config: Config, { dial, session, options, silenceMs }: SideUpstream, clock: Clock, log: Log) {
    const { cache, delivery, orders, sports } = config;
    const { segmentBytesMax, flushBytesMax: messageBytesMax } = delivery;
    const world = { dial, session, clock, random: systemRandom, log };
    this.orders = orders.enabled
      ? {
          client: new OrderClient(options("orders"), world),
          desk: new OrderDesk({ epoch: newEpoch(), clock, ...cache, segmentBytesMax, messageBytesMax }),
        }
      : null;
    const epoch = newEpoch();
    this.sports = (["race", "cricket"] as const)
      .filter((sport) => sports[sport])
      .map((sport) => ({
        sport,
        client: new SportClient({ ...options(sport), sport, silenceMs }, world),
        desk: new SportDesk({ sport, epoch, clock, messageBytesMax }),
      }));
  }

  /** By the op that asks for them. */
  get streams(): SideStreams {
    return {
      ...(this.orders && { orderSubscription: this.orders.desk }),
      ...Object.fromEntries(this.sports.map(({ sport, desk }) => [SPORTS[sport].subscription, desk])),
    };
  }

  /** By stream: order, race, cricket. */
  get clients(): Readonly<Record<string, OrderClient | SportClient>> {
    return {
      ...(this.orders && { order: this.orders.client }),
      ...Object.fromEntries(this.sports.map(({ sport, client }) => [sport, client])),
    };
  }

  get desks(): Readonly<Record<string, OrderDesk | SportDesk>> {
    return {
      ...(this.orders && { order: this.orders.desk }),
      ...Object.fromEntries(this.sports.map(({ sport, desk }) => [sport, desk])),
    };
  }

  start(): void {
    this.orders?.client.start(this.orders.desk);
    for (const { client, desk } of this.sports) client.start(desk);
  }

  /** Nothing more comes in; who is told goes on being told what there is. */
  stop(): void {
    for (const client of Object.values(this.clients)) client.stop();
  }

  /** Nothing more goes out. */
  close(): void {
    for (const desk of Object.values(this.desks)) desk.stop();
  }
}
