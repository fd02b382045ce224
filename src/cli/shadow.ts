import process from "node:process";
import { stderrLog } from "../app.ts";
import { systemClock } from "../base/clock.ts";
import { OddswireError } from "../base/errors.ts";
import { readText } from "../base/file.ts";
import { systemRandom } from "../base/random.ts";
import { bunDial } from "../edge/sockets.ts";
import { bunPost, EXCHANGE_DEFAULTS } from "../exchange/client.ts";
import { type Credentials, IDENTITY_HOSTS } from "../exchange/identity.ts";
import { IdentitySession, SESSION_DEFAULTS, type Session, staticSession } from "../exchange/session.ts";
import { FIELD, type FieldName } from "../market/types.ts";
import { runShadow, SHADOW_DEFAULTS, Shadow, type ShadowSide } from "../ops/shadow.ts";
import { reportText, type ShadowReport } from "../ops/shadow-report.ts";
import { parseRequest, type SubscribeRequest } from "../wire/requests.ts";
import { type Call, type Command, LOG_OPTION, logLevel, UsageError } from "./command.ts";
import { writeText } from "./files.ts";
import { progressLine } from "./progress.ts";
import { untilStopped } from "./signals.ts";

const DAYS_MAX = 366;
const MS_MAX = 600_000;

export const shadow: Command = {
  name: "shadow",
  summary:
    "compares prices read directly from the exchange with the same through Oddswire, live, before you move a fleet over",
  options: {
    through: { value: "HOST:PORT", help: "Oddswire's ESA door. Needed." },
    session: {
      value: "TOKEN",
      help: "Session token there; better as ODDSWIRE_SHADOW_SESSION, which no list of processes shows.",
    },
    username: {
      value: "NAME",
      help: "Instead of a token: logs in at --login, with the password in ODDSWIRE_SHADOW_PASSWORD.",
    },
    login: { value: "URL", help: "Where Oddswire's identity service is, such as http://127.0.0.1:8080." },
    "through-app-key": { value: "KEY", help: "Application key there, where it is another than --app-key." },
    direct: {
      value: "HOST:PORT",
      help: "The exchange. Costs one of the account's connections for as long as it runs, beside Oddswire's own.",
      default: "stream-api.betfair.com:443",
    },
    "direct-session": { value: "TOKEN", help: "Session token there; better as ODDSWIRE_SHADOW_DIRECT_SESSION." },
    "direct-username": {
      value: "NAME",
      help: "Instead of a token: logs in, with the password in ODDSWIRE_SHADOW_DIRECT_PASSWORD.",
    },
    "direct-cert-file": { value: "FILE", help: "PEM client certificate: logs in by certificate." },
    "direct-key-file": { value: "FILE", help: "Its PEM key." },
    "direct-login": {
      value: "URL",
      help: `The exchange's identity service (default ${origin(IDENTITY_HOSTS.login)}, or its certificate login).`,
    },
    "app-key": { value: "KEY", help: "Application key at the exchange. Needed." },
    filter: { value: "JSON", help: "The marketFilter of both subscriptions.", default: "{}" },
    fields: {
      value: "LIST",
      help: "Fields, separated by commas, such as EX_ALL_OFFERS,EX_MARKET_DEF; by default all.",
    },
    levels: { value: "N", help: "ladderLevels, 1 to 10.", default: "10" },
    conflate: {
      value: "MS",
      help: "conflateMs asked of Oddswire; the exchange is always read unconflated.",
      default: "0",
    },
    minutes: { value: "N", help: "How long to compare; by default until Ctrl-C." },
    "late-ms": {
      value: "MS",
      help: "A change that comes so much later than the direct one (and conflateMs) is late.",
      default: String(SHADOW_DEFAULTS.lateMs),
    },
    "stale-ms": {
      value: "MS",
      help: "A market that stands still so long after the direct one moved is stale.",
      default: String(SHADOW_DEFAULTS.staleMs),
    },
    "grace-ms": {
      value: "MS",
      help: "A market that only one side has for so long is missing, or extra.",
      default: String(SHADOW_DEFAULTS.graceMs),
    },
    report: { value: "FILE", help: "Writes the report there as JSON, too." },
    json: { help: "Prints the report as JSON." },
    calibrate: {
      help: "Lets --through be the exchange itself: what two direct connections differ by is nothing to hold against Oddswire.",
    },
    plain: { help: "Both sides without TLS; --direct-plain and --through-plain for one." },
    "direct-plain": { help: "The exchange without TLS, as a simulated one may be." },
    "through-plain": { help: "Oddswire without TLS." },
    ca: { value: "FILE", help: "PEM certificates to trust instead of the system's, on both sides." },
    log: { ...LOG_OPTION, default: "silent" },
  },
  examples: [
    "oddswire shadow --through 10.0.0.5:8082 --through-plain --app-key KEY --direct-username NAME --minutes 60",
    `oddswire shadow --through oddswire.internal:443 --app-key KEY --filter '{"eventTypeIds":["1"]}' --report shadow.json`,
    "oddswire shadow --direct 127.0.0.1:25100 --through 127.0.0.1:8082 --plain --app-key demo-app-key --minutes 1",
  ],
  async run(call) {
    const { filter, ladderLevels, conflateMs, names } = subscription(call);
    const ms = (name: string) => call.number(name, 1, MS_MAX) as number;
    const log = stderrLog(logLevel(call));
    const world = { clock: systemClock, random: systemRandom, dial: bunDial, log };
    const options = {
      ...EXCHANGE_DEFAULTS,
      ...sides(call, log),
      filter,
      fields: names,
      ladderLevels,
      conflateMs,
      lateMs: ms("late-ms"),
      staleMs: ms("stale-ms"),
      graceMs: ms("grace-ms"),
    };
    const minutes = call.number("minutes", 0.01, DAYS_MAX * 24 * 60, "any");
    const progress = progressLine();
    const printer = { note: console.error, ...(progress && { progress }) };
    const comparedMs = minutes === undefined ? null : minutes * 60_000;
    const { report, missing } = await runShadow(
      new Shadow(options, world),
      comparedMs,
      untilStopped(),
      systemClock,
      printer,
    );
    const file = call.text("report");
    if (file !== undefined) writeText(file, `${JSON.stringify(report, null, 2)}\n`);
    console.log(call.flag("json") ? JSON.stringify(report) : reportText(report));
    return exitCode(report, missing);
  },
};

/** A run that could not compare says nothing good, so it is no success. */
function exitCode({ findings, marketsCompared }: ShadowReport, missing: string | null): number {
  if (missing !== null) throw new OddswireError("CONNECTION_FAILED", `a side was not there at the end; ${missing}`);
  if (marketsCompared === 0)
    throw new OddswireError("NOT_READY", "no market was compared: look at --filter, and let it run for longer");
  return findings.total === 0 ? 0 : 1;
}

/** What both sides are asked for, checked as a door checks it. Throws UsageError. */
function subscription(call: Call): SubscribeRequest & { readonly names: readonly FieldName[] } {
  const names = (call.text("fields") ?? "").split(",").filter((name) => name !== "");
  const conflateMs = call.number("conflate", 0, 120_000);
  const ladderLevels = call.number("levels", 1, 10);
  const data = JSON.stringify({ fields: names, ladderLevels });
  const filter = jsonOf(call, "filter");
  const text = `{"op":"marketSubscription","id":1,"conflateMs":${conflateMs},"marketDataFilter":${data},"marketFilter":${JSON.stringify(filter)}}`;
  const request = parseRequest(text, true);
  if (request.kind === "marketSubscription") {
    // A door passes names over that it does not know; here a typo would compare everything.
    const said = Object.entries(filter ?? {}).find(
      ([name, value]) => value !== null && `${value}` !== "" && !Object.hasOwn(request.request.filter, name),
    );
    if (said !== undefined) throw new UsageError(`--filter: a marketFilter has no ${said[0]}`);
    return { ...request.request, names: names as FieldName[] };
  }
  const message = request.kind === "invalid" ? request.message : request.kind;
  const known = message.includes("field") ? `; there are ${Object.keys(FIELD).join(", ")}` : "";
  throw new UsageError(`${message}${known}`);
}

function jsonOf(call: Call, name: string): object | null {
  try {
    return JSON.parse(call.text(name) as string);
  } catch {
    throw new UsageError(`--${name} is not JSON: ${call.text(name)}`);
  }
}

function sides(call: Call, log: ReturnType<typeof stderrLog>): { direct: ShadowSide; through: ShadowSide } {
  const caFile = call.text("ca");
  const ca = caFile === undefined ? undefined : readText(caFile);
  const side = (name: "direct" | "through", appKey: string): ShadowSide => ({
    ...address(call, name),
    tls: call.flag("plain") || call.flag(`${name}-plain`) ? "off" : { ...(ca !== undefined && { ca }) },
    appKey,
    session: session(call, name === "direct" ? "direct-" : "", appKey, ca, log),
  });
  const appKey = call.text("app-key");
  if (appKey === undefined) throw new UsageError("--app-key KEY is needed");
  const both = { through: side("through", call.text("through-app-key") ?? appKey), direct: side("direct", appKey) };
  const isSame = both.through.host === both.direct.host && both.through.port === both.direct.port;
  if (isSame && !call.flag("calibrate"))
    throw new UsageError(
      "--direct and --through are the same address; to see what two direct connections differ by, say --calibrate",
    );
  return both;
}

/** The last colon parts them, as an IPv6 address has more: "[::1]:8082". */
function address(call: Call, name: string): { host: string; port: number } {
  const given = call.text(name);
  if (given === undefined) throw new UsageError(`--${name} HOST:PORT is needed`);
  const [, host, port] = /^\[?(.+?)\]?:(\d{1,5})$/.exec(given) ?? [];
  if (host === undefined || Number(port) > 65_535) throw new UsageError(`--${name} takes HOST:PORT, not "${given}"`);
  return { host, port: Number(port) };
}

/** A token as it is given, or one from a login. `prefix`: of the side's options. Throws UsageError when there is neither. */
function session(
  call: Call,
  prefix: "direct-" | "",
  appKey: string,
  ca: string | undefined,
  log: ReturnType<typeof stderrLog>,
): Session {
  const env = (what: string) => process.env[`ODDSWIRE_SHADOW_${prefix.replace("-", "_").toUpperCase()}${what}`];
  const username = call.text(`${prefix}username`);
  const token = call.text(`${prefix}session`) ?? env("SESSION");
  if (username === undefined) {
    if (token !== undefined) return staticSession(token);
    throw new UsageError(`give --${prefix}session TOKEN or --${prefix}username NAME`);
  }
  const password = env("PASSWORD");
  if (password === undefined)
    throw new UsageError(
      `--${prefix}username needs its password in ODDSWIRE_SHADOW_${prefix === "" ? "" : "DIRECT_"}PASSWORD`,
    );
  const credentials = credentialsOf(call, prefix, username, password);
  const at = call.text(`${prefix}login`);
  if (at === undefined && prefix === "")
    throw new UsageError("--username needs --login URL, Oddswire's identity service");
  const hosts = at === undefined ? IDENTITY_HOSTS : { login: `${origin(at)}/api`, certLogin: `${origin(at)}/api` };
  return new IdentitySession(
    { ...SESSION_DEFAULTS, appKey, credentials, hosts },
    { post: bunPost(ca), clock: systemClock, random: systemRandom, log },
  );
}

function credentialsOf(call: Call, prefix: "direct-" | "", username: string, password: string): Credentials {
  const [certFile, keyFile] = prefix === "" ? [] : [call.text("direct-cert-file"), call.text("direct-key-file")];
  if (certFile === undefined && keyFile === undefined) return { kind: "interactive", username, password };
  if (certFile === undefined || keyFile === undefined)
    throw new UsageError("--direct-cert-file and --direct-key-file go together");
  return { kind: "certificate", username, password, cert: readText(certFile), key: readText(keyFile) };
}

function origin(url: string): string {
  if (!URL.canParse(url)) throw new UsageError(`"${url}" is not a URL`);
  return new URL(url).origin;
}
