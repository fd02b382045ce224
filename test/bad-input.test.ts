import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Connection, connect } from "../client/connection.ts";
import type { Subscription } from "../client/subscription.ts";
import { webSocketWire } from "../client/wire.ts";
import { systemClock } from "../src/base/clock.ts";
import { FAULTS } from "../src/base/errors.ts";
import type { Socket } from "../src/base/socket.ts";
import { bunDial, bunListen } from "../src/edge/sockets.ts";
import { cameThrough } from "../src/sim/came-through.ts";
import { firstDifference, type MarketChange, NaiveBook } from "../src/sim/naive.ts";
import { oddswire } from "./command.ts";
import { freePort } from "./ports.ts";
import { HASTE, type OpenStage, openStage, SESSION, until } from "./stage.ts";

const MB = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), "oddswire-bad-"));

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

let stage: OpenStage;
let neighbour: Connection;
let watched: Subscription;
const truth = new NaiveBook("1.5");

beforeAll(async () => {
  stage = await openStage(1);
  publish();
  await until(() => stage.gateway.isReady, "ready");
  neighbour = connect({ wire: webSocketWire(stage.websocketUrl), session: SESSION, random: HASTE, clock: systemClock });
  watched = neighbour.subscribe({ heartbeatMs: 500 });
  await until(() => watched.state.kind === "live", "the neighbour is live");
});

afterAll(async () => {
  neighbour.close();
  await stage.close();
});

let published = 0;
function publish(): void {
  const runners = [{ id: 7, sortPriority: 1, status: "ACTIVE" }];
  const first = published === 0 ? { img: true, marketDefinition: { status: "OPEN", version: 1, runners } } : {};
  const change = {
    id: "1.5",
    ...first,
    rc: [{ id: 7, ltp: ++published, atb: [[2, published]] }],
  } as unknown as MarketChange;
  truth.apply(change);
  stage.exchange.publish(Date.now(), [change]);
}

/** The user beside them all goes on as if nothing had happened. */
async function neighbourIsWell(): Promise<void> {
  publish();
  await until(
    () => firstDifference(cameThrough("1.5", watched.books.get("1.5")), truth.state()) === null,
    "the neighbour's book is right",
  );
  expect(neighbour.reconnects).toBe(0);
  expect(watched.counters.images).toBe(1);
}

/** What the ESA door says to these bytes, after a good authentication where asked for; ends when the door closes or `enough` is said. */
async function esaSays(
  bytes: string | Uint8Array,
  { authenticated = true, enough = /(?!)/ } = {},
): Promise<Record<string, unknown>[]> {
  let text = "";
  let isOver = false;
  let rest = Buffer.from(bytes as string);
  const push = (socket: Socket) => {
    rest = rest.subarray(Math.max(0, socket.write(rest)));
  };
  const socket = bunDial(stage.esaAddress, {
    data(socket, chunk) {
      text += Buffer.from(chunk).toString();
      if (text.includes("connectionId") && !text.includes("connectionsAvailable") && authenticated) {
        socket.write(Buffer.from(`{"op":"authentication","id":1,"appKey":"k","session":"${SESSION}"}\r\n`));
      } else if (rest.length > 0) push(socket);
    },
    drain: push,
    close: () => (isOver = true),
  });
  await until(() => isOver || enough.test(text), `an answer to ${bytes.slice(0, 60)}; so far ${text.slice(-200)}`);
  socket.destroy();
  return text
    .trim()
    .split("\r\n")
    .map((line) => JSON.parse(line));
}

/** The close code and the last status that the WebSocket door gives for this message. */
async function websocketSays(message: string): Promise<{ code: number; status: Record<string, unknown> }> {
  const socket = new WebSocket(stage.websocketUrl);
  let status: Record<string, unknown> = {};
  let code = 0;
  socket.onmessage = ({ data }) => {
    const said = JSON.parse(data as string);
    if (said.op === "connection") socket.send(`{"op":"authentication","id":1,"session":"${SESSION}"}`);
    else if (said.connectionsAvailable !== undefined) socket.send(message);
    else if (said.op === "status") status = said;
  };
  socket.onclose = (event) => (code = event.code);
  await until(() => code !== 0, `the door closes after ${message.slice(0, 60)}`);
  return { code, status };
}

describe("a bad message at the ESA door gets a clear error, and the neighbour sees nothing", () => {
  const cases: [string, string | Uint8Array, string][] = [
    ["a line of 20 MB", `{"op":"heartbeat","x":"${"a".repeat(20 * MB)}"}\r\n`, "INVALID_INPUT"],
    ["20 MB without an end", "a".repeat(20 * MB), "INVALID_INPUT"],
    ["invalid JSON", '{"op":\r\n', "INVALID_INPUT"],
    ["not an object", "[1]\r\n", "INVALID_INPUT"],
    ["binary junk", new Uint8Array([0, 255, 254, 13, 10]), "INVALID_INPUT"],
    ["an unknown op", '{"op":"dance","id":2}\r\n', "INVALID_INPUT"],
    ["a wrong type", '{"op":"marketSubscription","id":2,"marketFilter":{"marketIds":5}}\r\n', "INVALID_INPUT"],
    ["a wrong id", '{"op":"heartbeat","id":"x"}\r\n', "INVALID_INPUT"],
    [
      "prototype pollution",
      '{"op":"marketSubscription","id":2,"__proto__":{"x":1},"marketFilter":"__proto__"}\r\n',
      "INVALID_INPUT",
    ],
    ["orders", '{"op":"orderSubscription","id":2}\r\n', "NOT_AUTHORIZED"],
  ];
  for (const [name, bytes, errorCode] of cases) {
    test(name, async () => {
      const last = (await esaSays(bytes)).at(-1);
      expect(last).toMatchObject({ op: "status", statusCode: "FAILURE", errorCode, connectionClosed: true });
      expect(String(last?.errorMessage).length).toBeGreaterThan(5);
      expect(String(last?.errorMessage)).not.toContain("    at ");
      await neighbourIsWell();
    });
  }

  test("a wrong token", async () => {
    const last = (await esaSays('{"op":"authentication","id":9,"session":"wrong"}\r\n', { authenticated: false })).at(
      -1,
    );
    expect(last).toMatchObject({ id: 9, errorCode: "INVALID_SESSION_INFORMATION", connectionClosed: true });
    await neighbourIsWell();
  });

  test("an unknown market is no error: its subscription is there for when it appears", async () => {
    const said = await esaSays('{"op":"marketSubscription","id":3,"marketFilter":{"marketIds":["1.404"]}}\r\n', {
      enough: /SUB_IMAGE/,
    });
    expect(said.at(-1)).toMatchObject({ op: "mcm", id: 3, ct: "SUB_IMAGE", mc: [] });
    await neighbourIsWell();
  });
});

describe("a bad message at the WebSocket door", () => {
  test("of 20 MB is refused by its length", async () => {
    expect((await websocketSays(`{"op":"heartbeat","x":"${"a".repeat(20 * MB)}"}`)).code).toBe(
      FAULTS.MESSAGE_TOO_LARGE.close,
    );
    await neighbourIsWell();
  });

  test("that is not JSON ends with a code that says not to come back like this", async () => {
    const { code, status } = await websocketSays("{");
    expect(code).toBe(FAULTS.INVALID_INPUT.close);
    expect(status.errorCode).toBe("INVALID_INPUT");
    await neighbourIsWell();
  });
});

test("an unknown market over REST is 404 with a code", async () => {
  const headers = { Authorization: `Bearer ${SESSION}` };
  const response = await fetch(`${stage.gateway.httpUrl}v1/markets/1.404`, { headers });
  expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([404, "MARKET_NOT_FOUND"]);
});

test("garbage from the exchange is never applied: the connection is dropped and resumed", async () => {
  const { source } = stage.gateway;
  const { connects, images } = source;
  for (const connection of stage.exchange.connections)
    connection.write('{"op":"mcm","mc":[{"id":"1.5","rc":[{"id":7,"ltp":666},nonsense]}]}\r\n');
  await until(() => source.connects > connects && source.sourceState === "live", "resumed");
  expect([source.invalidLines, source.images]).toEqual([1, images]);
  await neighbourIsWell();
});

describe("the command line says what is wrong and what to do, in one line", () => {
  const recording = '{"op":"mcm","clk":"0","pt":1,"mc":[{"id":"1.5","rc":[{"id":7,"ltp":2}]}]}\n';
  const bz2 = Buffer.from(Bun.spawnSync(["bzip2", "-c"], { stdin: Buffer.from(recording.repeat(2000)) }).stdout);
  const least = { exchange: { host: "127.0.0.1", port: 9, appKey: "k", session: "s" } };
  const cases: [string, string[], RegExp, number][] = [
    ["a missing recording", ["demo", "--recording", join(folder, "nope")], /FILE_NOT_FOUND.*nope/, 1],
    ["half a .bz2", ["verify", file("half.bz2", bz2.subarray(0, bz2.length >> 1))], /INVALID_RECORDING/, 1],
    ["a missing configuration", ["serve", "--config", join(folder, "nope.json")], /FILE_NOT_FOUND.*nope\.json/, 1],
    [
      "a configuration with a typo",
      ["serve", "--config", file("typo.json", JSON.stringify({ ...least, dors: {} }))],
      /INVALID_CONFIG.*dors.*did you mean doors/,
      1,
    ],
    ["a configuration that is not JSON", ["check", "--config", file("bad.json", "{")], /INVALID_CONFIG.*not JSON/, 1],
    ["an option that there is not", ["demo", "--colour"], /--colour.*--help/, 2],
    ["a number that is none", ["demo", "--markets", "many"], /--markets.*10 to 20000/, 2],
    ["a command that there is not", ["dance"], /no command "dance"/, 2],
  ];
  for (const [name, args, words, exitCode] of cases) {
    test(name, async () => {
      const { code, stdout, stderr } = await oddswire(args, { msMax: 20_000 });
      expect(stdout + stderr).toMatch(words);
      expect(stderr).not.toContain("    at ");
      expect(code).toBe(exitCode);
    }, 30_000);
  }

  test("a port that another program has", async () => {
    const port = await freePort();
    const taken = bunListen({ host: "127.0.0.1", port }, () => null);
    const config = file("port.json", JSON.stringify({ ...least, doors: { http: { port }, websocket: { port: 0 } } }));
    const { code, stderr } = await oddswire(["serve", "--config", config], { msMax: 20_000 });
    taken.stop();
    expect(stderr).toMatch(new RegExp(`PORT_IN_USE.*${port}`));
    expect(stderr).not.toContain("    at ");
    expect(code).toBe(1);
  }, 30_000);
});
