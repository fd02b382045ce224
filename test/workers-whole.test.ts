import { afterEach, expect, test } from "bun:test";
import { bunDial } from "../src/edge/sockets.ts";
import { Visitor } from "../src/sim/exchange-visitor.ts";
import { promtool } from "./parts.ts";
import { until } from "./stage.ts";
import { HOST, WORKERS, type WorkerGateway, WorkerHouse } from "./worker-house.ts";

/** What an operator has of one process is to be had of several. */
const judge = promtool();
const EDGES = Array.from({ length: WORKERS }, (_, n) => `edge-${n + 1}`);

const houses: WorkerHouse[] = [];
afterEach(() => {
  for (const house of houses.splice(0)) house.close();
});

function openHouse(): WorkerHouse {
  const house = new WorkerHouse();
  houses.push(house);
  return house;
}

async function scrape({ metrics }: WorkerGateway, accept = "text/plain"): Promise<string> {
  return (await fetch(metrics as string, { headers: { Accept: accept } })).text();
}

async function eventually(holds: () => Promise<boolean>, msMax = 10_000): Promise<void> {
  for (const until = performance.now() + msMax; !(await holds()); await Bun.sleep(10))
    if (performance.now() > until) throw new Error(`not within ${msMax} ms: ${holds}`);
}

function figure(text: string, name: string): number | null {
  const line = text.split("\n").find((line) => line.startsWith(`${name} `));
  return line === undefined ? null : Number(line.slice(name.length));
}

test("one scrape tells of all workers, of those too that do not answer, and of the file of books", async () => {
  const house = openHouse();
  const snapshot = { file: house.path("books") };
  const gateway = await house.open({ metrics: { host: HOST, port: 0 }, snapshot });
  await gateway.ready();
  await eventually(async () => figure(await scrape(gateway), 'oddswire_snapshot_writes_total{worker="ingest"}') === 1);
  const text = await scrape(gateway);
  for (const worker of ["ingest", ...EDGES]) {
    expect(figure(text, `oddswire_worker_up{worker="${worker}"}`)).toBe(1);
    expect(figure(text, `oddswire_markets{worker="${worker}"}`)).toBe(60);
    expect(figure(text, `process_resident_memory_bytes{worker="${worker}"}`)).toBeGreaterThan(1e7);
  }
  expect(figure(text, 'oddswire_bus_followers{worker="ingest"}')).toBe(WORKERS);
  expect(figure(text, 'oddswire_users{worker="edge-3",state="in_step"}')).toBe(0);
  expect(figure(text, 'oddswire_users{worker="ingest",state="in_step"}')).toBeNull();
  expect(figure(text, 'oddswire_snapshot_bytes{worker="ingest"}')).toBeGreaterThan(1e4);
  expect(figure(text, 'oddswire_snapshot_age_seconds{worker="ingest"}')).toBeLessThan(30);
  expect(figure(text, 'oddswire_snapshot_failing{worker="ingest"}')).toBe(0);
  const families = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
  expect(new Set(families).size).toBe(families.length);
  expect((await scrape(gateway, "application/openmetrics-text")).endsWith("\n# EOF\n")).toBe(true);
  if (judge.kind === "present") {
    const { stdout, stderr } = Bun.spawnSync([judge.path, "check", "metrics"], { stdin: Buffer.from(text) });
    expect([stdout.toString(), stderr.toString()]).toEqual(["", ""]);
  }

  process.kill(gateway.pids["edge-2"] as number, "SIGSTOP");
  const began = performance.now();
  const without = await scrape(gateway);
  process.kill(gateway.pids["edge-2"] as number, "SIGCONT");
  expect(performance.now() - began).toBeLessThan(3_000);
  expect(EDGES.map((worker) => figure(without, `oddswire_worker_up{worker="${worker}"}`))).toEqual([1, 0, 1]);
  expect(figure(without, 'oddswire_markets{worker="edge-2"}')).toBeNull();
  expect(figure(without, 'oddswire_markets{worker="edge-3"}')).toBe(60);
}, 30_000);

test("a visitor's limit of connections is one over all workers, and what a dead worker's users had is free again", async () => {
  const [limit, token] = [6, "a-token-that-stands"];
  const gateway = await openHouse().open({ visitors: [{ name: "ann", token, connectionsMax: limit }] });
  const { esa } = await gateway.info<{ esa: { port: number } }>();
  const visit = () => {
    const visitor = new Visitor(bunDial, { host: HOST, port: esa.port });
    visitor.authenticate("any", token);
    visitor.subscribe({ heartbeatMs: 500 });
    return visitor;
  };
  const isIn = ({ messages }: Visitor) =>
    messages.some(({ connectionsAvailable }) => connectionsAvailable !== undefined);
  const refused = ({ messages }: Visitor) =>
    messages.filter(({ errorCode }) => errorCode === "MAX_CONNECTION_LIMIT_EXCEEDED").length;
  const visitors = Array.from({ length: limit }, visit);
  await until(() => visitors.every(isIn), "as many as may are in");
  const more = Array.from({ length: 2 * limit }, visit);
  await until(() => more.every((visitor) => visitor.closed !== null), "the others are not");
  expect(more.map(refused)).toEqual(more.map(() => 1));

  const serving = () => gateway.lines.filter(({ msg, worker }) => msg === "serves" && worker !== "ingest").length;
  for (const edge of EDGES) process.kill(gateway.pids[edge] as number, "SIGKILL");
  await until(() => serving() === 2 * WORKERS, "others have taken their places");
  const back = Array.from({ length: limit }, visit);
  await until(() => back.every(isIn), "as many are in again");
  const last = visit();
  await until(() => last.closed !== null, "and no more");
  expect(refused(last)).toBe(1);
  for (const visitor of [...visitors, ...back]) visitor.leave();
}, 30_000);
