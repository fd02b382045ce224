import { expect, test } from "bun:test";
import { bunDial } from "../src/edge/sockets.ts";
import { Visitor } from "../src/sim/exchange-visitor.ts";
import { until } from "./stage.ts";
import { HOST, houses, LOGIN, type WorkerHouse } from "./worker-house.ts";

const USERS = 30;

const openHouse = houses();

/** A plain ESA client that comes back at once, with its clk, wherever it is let in. */
class User {
  visitor: Visitor;
  /** How each of its visits began. */
  readonly begins: (string | undefined)[] = [];
  readonly #at: { readonly host: string; readonly port: number };
  readonly #session: string;
  #ended = false;

  constructor(port: number, session: string) {
    this.#at = { host: HOST, port };
    this.#session = session;
    this.visitor = this.#visit();
  }

  /** To be called now and then. */
  look(): void {
    if (this.#ended || this.visitor.closed === null) return;
    this.#note();
    this.visitor = this.#visit(this.visitor);
  }

  leave(): void {
    this.#ended = true;
    this.#note();
    this.visitor.leave();
  }

  #note(): void {
    this.begins.push(this.visitor.messages.find(({ op }) => op === "mcm")?.ct);
  }

  #visit(before?: Visitor): Visitor {
    const visitor = new Visitor(bunDial, this.#at, before);
    visitor.authenticate("any", this.#session);
    visitor.subscribe({ segmentationEnabled: true, heartbeatMs: 500 });
    return visitor;
  }
}

async function allRight(house: WorkerHouse, users: readonly User[]): Promise<number> {
  const began = performance.now();
  await until(() => {
    for (const user of users) user.look();
    return users.every(({ visitor }) => house.wrong(visitor).length === 0);
  }, "every user's every book is the exchange's");
  return performance.now() - began;
}

test("a gateway of several workers outlives the death of each, and its users notice no more than they must", async () => {
  const house = openHouse();
  const gateway = await house.open();
  await gateway.ready();
  const { http, lines, pids } = gateway;
  const info = await gateway.info<{ esa: { port: number } }>();
  // One worker logs users in; the token is good at all of them.
  const body = new URLSearchParams(LOGIN);
  const answer = await fetch(`${http}api/login`, { method: "POST", headers: { "X-Application": "any" }, body });
  const { token } = (await answer.json()) as { token: string };
  const users = Array.from({ length: USERS }, () => new User(info.esa.port, token));
  await allRight(house, users);
  expect(house.exchange.counters.connections).toBe(1);

  // A worker that serves users: those on others notice nothing, its own come back by what changed.
  const visitors = users.map(({ visitor }) => visitor);
  process.kill(pids["edge-2"] as number, "SIGKILL");
  await until(() => users.some(({ visitor }) => visitor.closed !== null), "its users lose their connection");
  console.log(`   every book right ${(await allRight(house, users)).toFixed(0)} ms after a worker's death`);
  const moved = users.filter(({ visitor }, n) => visitor !== visitors[n]);
  expect(moved.length).toBeGreaterThan(0);
  expect(moved.length).toBeLessThan(USERS);
  for (const { visitor } of moved) {
    expect(visitor.messages.filter(({ ct }) => ct === "SUB_IMAGE" || ct === "RESUB_DELTA").map(({ ct }) => ct)).toEqual(
      ["RESUB_DELTA"],
    );
  }
  const served = () => lines.filter(({ msg, worker }) => msg === "serves" && worker === "edge-2").length;
  await until(() => served() === 2, "another has taken its place");

  // The one that holds the upstream: nobody is let go, all hear that prices are stale, and then everything anew.
  const heard = users.map(({ visitor }) => visitor.messages.length);
  process.kill(pids.ingest as number, "SIGKILL");
  const later = (n: number) => (users[n] as User).visitor.messages.slice(heard[n]);
  await until(() => users.every((_, n) => later(n).some(({ status }) => status === 503)), "all hear 503");
  await until(() => users.every((_, n) => later(n).some(({ ct }) => ct === "SUB_IMAGE")), "all are sent images");
  await allRight(house, users);
  expect(users.map(({ visitor }) => visitor.closed)).toEqual(users.map(() => null));
  await until(() => users.every(({ visitor }) => visitor.last.status === undefined), "all hear that all is well");
  expect(house.exchange.counters.connections).toBe(1);

  expect(await gateway.stop()).toBe(0);
  await until(() => users.every(({ visitor }) => visitor.closed !== null), "everybody was told to come back");
  for (const user of users) user.leave();
  for (const { visitor } of users) expect(visitor.last).toMatchObject({ op: "status", errorCode: "CONNECTION_FAILED" });
}, 60_000);

test("a worker whose supervisor is killed ends too", async () => {
  const { pids, child } = await openHouse().open();
  const isAlive = (pid: number) => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  child.kill("SIGKILL");
  await until(() => !Object.values(pids).some(isAlive), "all workers are gone");
}, 30_000);
