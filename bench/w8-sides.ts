import { writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort } from "../src/edge/sockets.ts";
import { Oddswire, Process } from "./process.ts";
import { APP_KEY, EXCHANGE_SESSION, type Feed } from "./w8-feed.ts";
import type { Peer } from "./w8-peers.ts";

const SESSION = "bench-session-token";
const HOST = "127.0.0.1";

/** How messages look to the users (floor/users.c). */
export type Dialect = "plain" | "esa" | "socketio" | "nats";

/** A server that is up. */
export interface Served {
  readonly process: Process;
  readonly port: number;
  readonly path: string;
  readonly dialect: Dialect;
  /** What each user says first, a frame a line. */
  readonly hello: string;
  /** Messages in a flush. */
  readonly messages: number;
  /** One more flush to everybody. */
  publish(): void;
  /** Of a user who was told what is in this file, a message a line: how many books it has, and which of them are wrong. Null: there are none. */
  readonly books: ((file: string) => { readonly checked: number; readonly wrong: readonly string[] }) | null;
  stop(): Promise<void>;
}

/** Somebody who serves the users of W8. */
export type Side = (folder: string) => Promise<Served>;

/** The gateway as anybody runs it, one process, for users with all markets of the feed. */
export function oddswireSide(makeFeed: () => Feed, fields: readonly string[], usersMax: number): Side {
  return async (folder) => {
    const feed = makeFeed();
    const file = join(folder, "oddswire.json");
    writeFileSync(file, JSON.stringify(gatewayConfig(feed.port, usersMax)));
    const process = new Oddswire(["serve", "--config", file]);
    const stop = async () => {
      await process.stop();
      feed.stop();
    };
    try {
      const { http, websocket } = JSON.parse(await process.line(/"msg":"started"/)) as Record<string, string>;
      while (!(await isReady(http as string))) await Bun.sleep(50);
      const { port, pathname: path } = new URL(websocket as string);
      const hello = [
        { op: "authentication", id: 1, appKey: APP_KEY, session: SESSION },
        {
          op: "marketSubscription",
          id: 2,
          marketFilter: { marketIds: feed.marketIds },
          marketDataFilter: { fields },
          conflateMs: 0,
          heartbeatMs: 5_000,
          segmentationEnabled: true,
        },
      ];
      return {
        process,
        port: Number(port),
        path,
        dialect: "esa",
        hello: hello.map((request) => `${JSON.stringify(request)}\n`).join(""),
        messages: 1,
        publish: () => feed.flush(),
        books: (told) => ({ checked: feed.marketIds.length, wrong: feed.wrongBooks(told) }),
        stop,
      };
    } catch (error) {
      await stop();
      throw error;
    }
  };
}

function gatewayConfig(port: number, connectionsMax: number): object {
  return {
    exchange: { host: HOST, port, tls: false, appKey: APP_KEY, session: EXCHANGE_SESSION },
    doors: { http: { port: 0 }, websocket: { port: 0 } },
    visitors: [{ token: SESSION, name: "bench", connectionsMax }],
    catalogue: { enabled: false },
  };
}

async function isReady(http: string): Promise<boolean> {
  const info = (await (await fetch(`${http}v1/info`)).json()) as { feed: { ready: boolean } };
  return info.feed.ready;
}

/** No gateway: this message, framed, to everybody. */
export function floorSide(binary: string, message: Buffer): Side {
  return async (folder) => {
    const file = join(folder, "frame");
    writeFileSync(file, framed(message));
    const port = freePort(HOST);
    return served(new Process(String(port), [file], binary), { port, path: "/", dialect: "plain", messages: 1 });
  };
}

function framed(message: Buffer): Buffer {
  const head = message.length < 126 ? [0x81, message.length] : [0x81, 126, message.length >> 8, message.length & 255];
  return Buffer.concat([Buffer.from(head), message]);
}

/** A peer that is installed, with these messages a flush. */
export function peerSide(peer: Peer, at: string, messages: readonly string[]): Side {
  if (peer.name === "nats-server") return natsSide(at, messages);
  return async (folder) => {
    const file = join(folder, "messages.json");
    writeFileSync(file, JSON.stringify(messages));
    const port = freePort(HOST);
    const script = fileURLToPath(new URL(`peers/${peer.script}`, import.meta.url));
    const dialect = peer.name === "socket.io" ? "socketio" : "plain";
    const path = peer.name === "socket.io" ? "/socket.io/?EIO=4&transport=websocket" : "/";
    const process = new Process(script, [at, String(port), file], "node");
    return served(process, {
      port,
      path,
      dialect,
      hello: peer.name === "socket.io" ? "40\n" : "",
      messages: messages.length,
    });
  };
}

/** nats-server with its users on WebSockets; who publishes comes by its own protocol. */
function natsSide(binary: string, messages: readonly string[]): Side {
  return async (folder) => {
    const file = join(folder, "nats.conf");
    const [port, websocket] = [freePort(HOST), freePort(HOST)];
    writeFileSync(
      file,
      `listen: "${HOST}:${port}"\nmax_connections: 64K\nping_interval: "1h"\nwebsocket { listen: "${HOST}:${websocket}", no_tls: true }\n`,
    );
    const process = new Process("--config", [file], binary);
    await process.line(/Server is ready/);
    const publisher = connect(port, HOST);
    const said = `CONNECT {"verbose":false}\r\n`;
    publisher.write(said);
    publisher.on("error", () => {});
    const flush = messages.map((message) => `PUB prices ${message.length}\r\n${message}\r\n`).join("");
    return {
      process,
      port: websocket,
      path: "/",
      dialect: "nats",
      hello: `${said}SUB prices 1\r\nPING\r\n`,
      messages: messages.length,
      publish: () => void publisher.write(flush),
      books: null,
      stop: () => over(publisher, process),
    };
  };
}

async function over(publisher: Socket, process: Process): Promise<void> {
  publisher.destroy();
  await process.stop();
}

/** A server that takes a line for a flush. */
async function served(
  process: Process,
  what: Pick<Served, "port" | "path" | "dialect" | "messages"> & { readonly hello?: string },
): Promise<Served> {
  await process.line(/^listening$/);
  return {
    hello: "",
    ...what,
    process,
    publish: () => process.say("flush"),
    books: null,
    stop: () => process.stop(),
  };
}
