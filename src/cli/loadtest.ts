import { lookup } from "node:dns/promises";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { systemClock } from "../base/clock.ts";
import { OddswireError } from "../base/errors.ts";
import { readText } from "../base/file.ts";
import { DOORS } from "../load/dialect.ts";
import { LoadTest } from "../load/loadtest.ts";
import { countsAt } from "../load/metrics.ts";
import { resultPage } from "../load/page.ts";
import { isLoopback, plansFor } from "../load/plan.ts";
import { startCrowd } from "../load/process.ts";
import { resultText, type Thresholds } from "../load/result.ts";
import { listenersOn, useOf } from "../load/server.ts";
import { canStopAcknowledging, type Target } from "../load/sockets.ts";
import { findVenue } from "../load/venue.ts";
import { contradiction, parseWorkload, WORKLOADS, type Workload } from "../load/workload.ts";
import { type Call, type Command, UsageError } from "./command.ts";
import { writeText } from "./files.ts";
import { progressLine } from "./progress.ts";
import { untilStopped } from "./signals.ts";

const CROWD = fileURLToPath(new URL("./crowd.ts", import.meta.url));
const MS_MAX = 600_000;
const LINE_MS = 10_000;

export const loadtest: Command = {
  name: "loadtest",
  summary: "many users at any Oddswire: latency, rates, and whether everybody was told the right thing",
  operands: "URL",
  options: {
    workload: {
      value: "NAME|FILE",
      help: `One of ${Object.keys(WORKLOADS).join(", ")}, or a JSON file of your own (docs/LOADTEST.md).`,
      default: "W2",
    },
    users: { value: "N", help: "So many users, whatever the workload says." },
    seconds: { value: "N", help: "Measures for so long." },
    "warm-up": { value: "SECONDS", help: "Waits for so long when everybody is here, before it measures." },
    ramp: { value: "N", help: "Users who come each second." },
    churn: { value: "N", help: "Users who leave each second, as others come." },
    storm: { value: "SECONDS", help: "Cuts everybody off so long after the measurement began; all come back." },
    door: { value: "DOOR", help: "websocket, sse or esa, where URL is a page's.", default: "websocket" },
    tls: { help: "The ESA door by TLS." },
    ca: { value: "FILE", help: "PEM certificates to trust instead of the system's." },
    session: {
      value: "TOKEN",
      many: true,
      help: "Session token, by default ODDSWIRE_LOADTEST_SESSION, or a demo's own. Several: users take turns.",
    },
    "app-key": { value: "KEY", help: "Application key, where one is asked for." },
    processes: { value: "N", help: "Load processes; by default one for 15,000 users." },
    clock: {
      value: "KIND",
      help: "shared: server and load read one clock; quickest: latency is counted from the quickest message. By default shared on loopback without conflateMs.",
    },
    pid: {
      value: "PID",
      many: true,
      help: "Server process to watch; by default those of this machine that listen there.",
    },
    metrics: {
      value: "URL",
      many: true,
      help: "The server's /metrics: tells why connections ended by its own count, of laggards too, who never read it, and how many bytes waited for who was behind.",
    },
    seed: { value: "N", help: "Who asks for what, and who leaves.", default: "1" },
    mean: { value: "MS", help: "Fails above this mean latency." },
    p50: { value: "MS", help: "Fails above this median latency." },
    p99: { value: "MS", help: "Fails above this 99th percentile." },
    p999: { value: "MS", help: "Fails above this 99.9th percentile." },
    "min-rate": { value: "SHARE", help: "Fails below this share of the changes that were due.", default: "0.98" },
    "max-wrong": { value: "N", help: "Fails above so many lost or different changes, or wrong books.", default: "0" },
    "max-closes": { value: "N", help: "Fails above so many connections lost.", default: "0" },
    "max-storm": { value: "SECONDS", help: "Fails where it takes longer until all are back from the storm." },
    "max-cpu": { value: "CORES", help: "Fails where the server takes more." },
    "max-memory": { value: "MB", help: "Fails where the server takes more (PSS where it is known)." },
    "max-client-cpu": { value: "SHARE", help: "Void where a load process takes more of its core.", default: "0.9" },
    json: { help: "Prints the result as JSON." },
    html: { value: "FILE", help: "Writes the result there as one page with charts." },
  },
  examples: [
    "oddswire loadtest http://127.0.0.1:8080/ --users 1000 --seconds 10",
    "ODDSWIRE_LOADTEST_SESSION=TOKEN oddswire loadtest https://prices.example.com/ --workload staging.json --p99 150 --html load.html",
    "oddswire loadtest http://127.0.0.1:8080/ --door esa --workload W3 --json",
  ],
  async run(call) {
    const workload = workloadIn(call);
    const url = urlIn(call);
    const caFile = call.text("ca");
    const [sessions, appKey] = [sessionsIn(call), call.text("app-key")];
    const found = await findVenue(
      {
        url,
        door: call.word("door", DOORS) ?? "websocket",
        tls: call.flag("tls"),
        sessions,
        markets: workload.markets,
        ...(caFile !== undefined && { ca: readText(caFile) }),
        ...(appKey !== undefined && { appKey }),
      },
      fetch,
    );
    const venue = { ...found, target: await resolved(found.target) };
    const marketIds = workload.marketsMax === 0 ? venue.marketIds : venue.marketIds.slice(0, workload.marketsMax);
    if (workload.laggards.stopsAcknowledging > 0 && !canStopAcknowledging())
      throw new OddswireError("INVALID_REQUEST", "laggards that stop acknowledging need Linux");
    const { ports: _, version: __, ...where } = venue;
    const processes = call.number("processes", 1, 64) ?? null;
    const seed = call.number("seed", 0, 2 ** 31) as number;
    const isHere = isLoopback(venue.target.host);
    const pids = call.list("pid").length > 0 ? call.list("pid").map(pid) : isHere ? listenersOn(venue.ports) : [];
    const isShared = isHere && workload.conflateMs === 0;
    const metrics = call.list("metrics").map((url) => urlOf(url, /^https?:$/, "a page of metrics (http, https)"));
    const progress = progressLine() ?? nowAndThen();
    const result = await new LoadTest(
      {
        url,
        venue: { ...venue, marketIds },
        plans: plansFor(workload, { ...where, marketIds }, processes, seed),
        workload,
        thresholds: thresholds(call, workload),
        clockKind: call.word("clock", ["shared", "quickest"]) ?? (isShared ? "shared" : "quickest"),
        pids,
      },
      {
        clock: systemClock,
        start: (listener) => startCrowd(CROWD, listener),
        use: useOf,
        stopped: untilStopped(),
        progress,
        ...(metrics.length > 0 && { counts: () => countsAt(metrics, fetch) }),
      },
    ).run();
    const page = call.text("html");
    if (page !== undefined) writeText(page, resultPage(result));
    console.log(call.flag("json") ? JSON.stringify(result) : resultText(result));
    return result.passed ? 0 : 1;
  },
};

/** By its IPv4 address, where it has one: nobody looks a name up a hundred thousand times, and laggards need it. */
async function resolved(target: Target): Promise<Target> {
  const address = await lookup(target.host, { family: 4 }).catch(() => null);
  if (address === null) return target;
  return { ...target, host: address.address, tls: target.tls && { serverName: target.host, ...target.tls } };
}

/** Where there is no terminal, a line now and then. */
function nowAndThen(): (text: string | null) => void {
  let told = 0;
  return (text) => {
    if (text === null || performance.now() - told < LINE_MS) return;
    told = performance.now();
    console.error(text);
  };
}

/** Named or from a file, with what the call says instead. Throws UsageError. */
function workloadIn(call: Call): Workload {
  const name = call.text("workload") as string;
  const known = Object.hasOwn(WORKLOADS, name) ? WORKLOADS[name] : undefined;
  if (known === undefined && /^\w+$/.test(name))
    throw new UsageError(
      `there is no workload ${name}: name one of ${Object.keys(WORKLOADS).join(", ")}, or a JSON file`,
    );
  const base = known ?? parseWorkload(readText(name), name);
  if (typeof base === "string") throw new UsageError(`${name}: ${base}`);
  const perSecond = call.number("ramp", 1, 1_000_000);
  const users = call.number("users", 1, 1_000_000);
  const storm = call.number("storm", 0, 86_400, "any");
  const workload: Workload = {
    ...base,
    ...(users !== undefined && {
      users,
      readers: Math.min(base.readers, users),
      // What was offered was offered to so many.
      offered: base.offered === null ? null : (base.offered * users) / base.users,
    }),
    seconds: call.number("seconds", 1, 604_800, "any") ?? base.seconds,
    warmUpSeconds: call.number("warm-up", 0, 86_400, "any") ?? base.warmUpSeconds,
    churnPerSecond: call.number("churn", 0, 100_000, "any") ?? base.churnPerSecond,
    ...(perSecond !== undefined && { ramp: { ...base.ramp, perSecond } }),
    ...(storm !== undefined && { storm: { share: 1, ...base.storm, atSeconds: storm } }),
  };
  const wrong = contradiction(workload);
  if (wrong !== null) throw new UsageError(wrong);
  return workload;
}

function thresholds(call: Call, workload: Workload): Thresholds {
  const most = (name: string, max: number) => call.number(name, 0, max, "any") ?? null;
  // Who is cut off, or leaves, is not told of everything that was due.
  const minRate = workload.storm === null && workload.churnPerSecond === 0;
  if (!minRate && call.said.includes("min-rate"))
    throw new UsageError("--min-rate says nothing where users are cut off or leave: leave it out");
  return {
    meanMs: most("mean", MS_MAX),
    p50Ms: most("p50", MS_MAX),
    p99Ms: most("p99", MS_MAX),
    p999Ms: most("p999", MS_MAX),
    minRate: minRate ? (call.number("min-rate", 0, 1, "any") as number) : null,
    maxWrong: call.number("max-wrong", 0, 1e9) as number,
    maxCloses: call.number("max-closes", 0, 1e9) as number,
    stormSeconds: most("max-storm", 86_400),
    serverCores: most("max-cpu", 1_024),
    serverMb: most("max-memory", 1e7),
    maxClientCpu: call.number("max-client-cpu", 0, 1e3, "any") as number,
  };
}

function urlIn({ operands }: Call): string {
  const [url, ...rest] = operands;
  if (url === undefined || rest.length > 0)
    throw new UsageError("give the URL of one Oddswire, such as http://127.0.0.1:8080/");
  return urlOf(url, /^(https?|wss?|sses?|esas?):$/, "a page (http, https) or a door (ws, wss, sse, sses, esa, esas)");
}

function urlOf(text: string, protocols: RegExp, what: string): string {
  if (URL.canParse(text) && protocols.test(new URL(text).protocol)) return text;
  throw new UsageError(`"${text}" is no URL of ${what}`);
}

function sessionsIn(call: Call): readonly string[] {
  const given = call.list("session");
  const { ODDSWIRE_LOADTEST_SESSION: fromEnvironment = "" } = process.env;
  return given.length > 0 ? given : fromEnvironment.split(",").filter((token) => token !== "");
}

function pid(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1)
    throw new UsageError(`--pid takes the number of a process, not "${text}"`);
  return number;
}
