import * as z from "zod";
import { OddswireError } from "./base/errors.ts";
import { readText } from "./base/file.ts";
import { nearest } from "./base/nearest.ts";
import { apart } from "./exchange/demand.ts";
import { FIELD, type FieldName } from "./market/types.ts";
import { PASSWORD_HASH } from "./tenancy/passwords.ts";
import { SESSIONS_DEFAULTS } from "./tenancy/sessions.ts";

const port = (help: string) => z.int().min(0).max(65_535).describe(help);
const LISTEN_PORT = "Port to listen on; 0: any free one.";
const ms = () =>
  z
    .int()
    .min(0)
    .max(86_400_000 * 7);
const bytes = () =>
  z
    .int()
    .min(1024)
    .max(2 ** 32);
const LISTEN_HOST = "Address to listen on; 0.0.0.0 for all.";
const host = (help: string) => z.string().min(1).describe(help);
/** A server's own certificate. */
const CERTIFICATE = {
  certFile: z.string().describe("PEM certificate chain."),
  keyFile: z.string().describe("PEM key."),
};

const FIELD_NAMES = Object.keys(FIELD) as [FieldName, ...FieldName[]];

const Filter = z.strictObject({
  marketIds: z.array(z.string()).optional().describe("Market ids, such as 1.241629436."),
  eventTypeIds: z.array(z.string()).optional().describe("Sports: 1 football, 2 tennis, 4 cricket, 7 horse racing."),
  eventIds: z.array(z.string()).optional().describe("Events."),
  marketTypes: z.array(z.string()).optional().describe("Market types, such as MATCH_ODDS."),
  countryCodes: z.array(z.string()).optional().describe("ISO country codes."),
  bettingTypes: z
    .array(z.string())
    .optional()
    .describe("ODDS, LINE, RANGE, ASIAN_HANDICAP_DOUBLE_LINE, ASIAN_HANDICAP_SINGLE_LINE."),
  venues: z.array(z.string()).optional().describe("Venues of races."),
  raceTypes: z.array(z.string()).optional().describe("Race types, such as Flat."),
  bspMarket: z.boolean().optional().describe("Only markets with (true) or without (false) a starting price."),
  turnInPlayEnabled: z.boolean().optional().describe("Only markets that will (true) or will not (false) turn in play."),
});

const Exchange = z.strictObject({
  host: host("The exchange's stream host, such as stream-api.betfair.com."),
  port: port("Its port.").default(443),
  tls: z.boolean().default(true).describe("TLS with certificate verification. Plain TCP only where this says false."),
  caFile: z.string().optional().describe("PEM file of certificates to trust instead of the system's."),
  appKey: z.string().min(1).describe("Your application key at the exchange."),
  session: z
    .string()
    .optional()
    .describe("A session token, where something else logs in. Otherwise give username and password."),
  username: z.string().optional().describe("Your account's name, to log in with."),
  password: z.string().optional().describe("Your account's password. Better from the environment than from a file."),
  certFile: z
    .string()
    .optional()
    .describe("PEM client certificate: logs in at the certificate endpoint, as unattended programs should."),
  keyFile: z.string().optional().describe("PEM key of the client certificate."),
  loginHost: z
    .string()
    .default("https://identitysso.betfair.com")
    .describe("Identity service for login and keepAlive; national exchanges have their own."),
  certLoginHost: z
    .string()
    .default("https://identitysso-cert.betfair.com")
    .describe("Identity service for login by certificate."),
  tokenLifetimeMs: ms()
    .min(1000)
    .default(12 * 3_600_000)
    .describe("How long a token lives without keepAlive: 12 h, in Italy 20 min. Renewed at half of it."),
  apiHost: z
    .string()
    .optional()
    .describe(
      "The exchange's API, where names come from; https://api.betfair.com where host is one of betfair.com, otherwise none, and ids for names.",
    ),
  filter: Filter.default({}).describe("The markets to carry; empty means all that the account may see."),
  shards: z
    .array(Filter)
    .max(10)
    .default([])
    .describe(
      "Filters, no two with a market in common: one more connection each, for the markets of `filter` that pass it.",
    ),
  demand: z
    .strictObject({
      enabled: z.boolean().default(false).describe("Carry only markets that somebody subscribes to."),
      connections: z
        .int()
        .min(1)
        .max(10)
        .default(2)
        .describe("Connections to spread them over; of the account's, which are ten."),
      marketsPerConnectionMax: z
        .int()
        .min(1)
        .max(20_000)
        .default(200)
        .describe("Markets that the exchange lets one subscription have."),
      graceMs: ms().default(30_000).describe("How long a market is carried on after the last who wanted it has gone."),
    })
    .prefault({})
    .describe("Only what is wanted."),
  fields: z.array(z.enum(FIELD_NAMES)).default(FIELD_NAMES).describe("The fields to carry."),
  ladderLevels: z.int().min(1).max(10).default(10).describe("Depth of level ladders."),
  conflateMs: ms().max(120_000).default(0).describe("How long the exchange may hold changes back to merge them."),
  retryFirstMs: ms()
    .min(10)
    .default(1000)
    .describe("The longest first wait before connecting again; it doubles from try to try."),
  retryMaxMs: ms().min(10).default(60_000).describe("The longest such wait."),
  heartbeatMs: ms()
    .min(500)
    .max(5000)
    .default(5000)
    .describe("Heartbeat interval asked for; twice this of silence counts as dead."),
});

const Doors = z.strictObject({
  http: z
    .strictObject({ host: host(LISTEN_HOST).default("127.0.0.1"), port: port(LISTEN_PORT).default(8080) })
    .prefault({})
    .describe("Page, REST and health."),
  websocket: z
    .strictObject({ host: host(LISTEN_HOST).default("127.0.0.1"), port: port(LISTEN_PORT).default(8081) })
    .prefault({})
    .describe("WebSocket, on a port of its own."),
  sse: z
    .strictObject({
      host: host(LISTEN_HOST).default("127.0.0.1"),
      port: port(LISTEN_PORT),
      origins: z
        .array(z.string().regex(/^https?:\/\/[^/]+$/, "not an origin such as https://app.example"))
        .default([])
        .describe("Origins of pages, such as https://app.example, that may open streams with their visitors' cookie."),
    })
    .optional()
    .describe("Server-sent events, on a port of its own."),
  esa: z
    .strictObject({ host: host(LISTEN_HOST).default("127.0.0.1"), port: port(LISTEN_PORT) })
    .optional()
    .describe("The exchange's own protocol on plain TCP."),
  esaTls: z
    .strictObject({
      host: host(LISTEN_HOST).default("127.0.0.1"),
      port: port(LISTEN_PORT),
      ...CERTIFICATE,
    })
    .optional()
    .describe("The exchange's own protocol on TLS."),
  https: z
    .strictObject({ host: host(LISTEN_HOST).default("127.0.0.1"), port: port(LISTEN_PORT), ...CERTIFICATE })
    .optional()
    .describe("What the HTTP door serves, on TLS."),
  certLogin: z
    .strictObject({
      host: host(LISTEN_HOST).default("127.0.0.1"),
      port: port(LISTEN_PORT),
      ...CERTIFICATE,
      clientCaFile: z
        .string()
        .describe("PEM certificates of the authorities whose client certificates are good for a certificate login."),
    })
    .optional()
    .describe("HTTPS that asks for a client certificate; where it is open, a certificate login needs one."),
  connectionsMax: z
    .int()
    .min(1)
    .default(19_000)
    .describe(
      "Connections at all doors together, with workers at all doors of each worker; below a process's limit of open files.",
    ),
  bettingCallsPerSecondMax: z
    .int()
    .min(1)
    .default(100)
    .describe("Calls of the betting API (listMarketBook and the like) by one visitor in a second."),
});

const Visitor = z.strictObject({
  token: z.string().min(8).optional().describe("A session token that stands: this visitor needs no login."),
  username: z.string().min(1).max(256).optional().describe("The name that this visitor logs in with."),
  password: z.string().min(8).max(1024).optional().describe("Its password. Better a passwordHash."),
  passwordHash: z
    .string()
    .regex(PASSWORD_HASH, "not a hash as `oddswire password` makes it")
    .optional()
    .describe("Its password's hash, made by `oddswire password`."),
  certName: z
    .string()
    .min(1)
    .optional()
    .describe(
      "The common name that its certificate must carry in a certificate login; absent: any that is signed will do.",
    ),
  name: z.string().min(1).describe("Who it is, for logs and limits."),
  tenant: z.string().min(1).default("default").describe("Whose user it is."),
  connectionsMax: z.int().min(1).default(1000).describe("Connections at a time, whichever worker they are at."),
  subscriptionsMax: z.int().min(1).max(1000).default(20).describe("Subscriptions at a time on one WebSocket."),
  marketsMax: z.int().min(1).default(100_000).describe("Markets in one subscription."),
  bytesPerSecondMax: z
    .int()
    .min(1024)
    .optional()
    .describe(
      "Bytes of prices a second to one connection; who would get more is told less often, but of suspensions at once. Absent: no limit.",
    ),
  orders: z
    .union([z.literal("account"), z.strictObject({ refPrefix: z.string().min(1) })])
    .optional()
    .describe(
      'Whose orders it may see: `{"refPrefix": "alpha-"}` those whose customerStrategyRef begins so, "account" all; absent: none.',
    ),
  sports: z
    .array(z.enum(["race", "cricket"]))
    .default([])
    .describe("Which sports data it may see: race, cricket."),
});

/** Everything that can be set, in one place: type, bounds, default, and what it is for. */
const Config = z.strictObject({
  role: z
    .enum(["all", "ingest"])
    .default("all")
    .describe(
      "all: exchange and users in one process. ingest: holds the exchange's stream and the books, serves no users.",
    ),
  workers: z
    .int()
    .min(0)
    .max(64)
    .default(0)
    .describe(
      "Processes that serve users, all at the same ports, beside one that holds the upstream; 0: one process does everything. One for each core that users may have.",
    ),
  exchange: Exchange.describe("The one upstream."),
  doors: Doors.prefault({}).describe("Where users come in."),
  appKeys: z.array(z.string()).default([]).describe("Application keys that users may authenticate with; empty: any."),
  visitors: z.array(Visitor).default([]).describe("Who may come in."),
  sessions: z
    .strictObject({
      lifetimeMs: ms()
        .min(1000)
        .default(SESSIONS_DEFAULTS.lifetimeMs)
        .describe("How long the token of a login lives without keepAlive."),
      secret: z
        .string()
        .min(32)
        .optional()
        .describe(
          "Seals the tokens of logins, so that they outlive a restart and are good at every process with the same secret. Absent: they end with the process.",
        ),
      tokensMax: z
        .int()
        .min(1)
        .max(1_000_000)
        .default(SESSIONS_DEFAULTS.tokensMax)
        .describe("Tokens of logins at a time; one more, and the oldest goes."),
      tokensPerUserMax: z
        .int()
        .min(1)
        .max(1_000_000)
        .default(SESSIONS_DEFAULTS.tokensPerUserMax)
        .describe("The same for each user."),
      loginsPerMinuteMax: z
        .int()
        .min(1)
        .max(1_000_000)
        .default(SESSIONS_DEFAULTS.loginsPerMinuteMax)
        .describe("Logins of one user in a minute, and wrong passwords for one from one address; one more is a ban."),
      banMs: ms().default(SESSIONS_DEFAULTS.banMs).describe("How long such a ban lasts."),
    })
    .prefault({})
    .describe("Tokens that a login gives."),
  orders: z
    .strictObject({
      enabled: z
        .boolean()
        .default(false)
        .describe(
          "Carry the account's orders too, for visitors that may see them; one more connection of the account's, which are ten.",
        ),
    })
    .prefault({})
    .describe("The order stream."),
  sports: z
    .strictObject({
      race: z
        .boolean()
        .default(false)
        .describe(
          "Carry race data, for visitors that may see them; one more connection of the account's, which are ten. The account needs the right to it.",
        ),
      cricket: z.boolean().default(false).describe("The same of cricket: one more connection again."),
      host: host("The exchange's host for sports data.")
        .optional()
        .describe(
          "The exchange's host for sports data; sports-data-stream-api.betfair.com where exchange.host is one of betfair.com, otherwise that host.",
        ),
      port: port("Its port; absent: exchange.port.").optional(),
      silenceMs: ms()
        .min(1000)
        .optional()
        .describe(
          "So long a silence there is a dead connection; absent: two of the heartbeats that the exchange says it sends, a minute where it says nothing of any. Raise it for an exchange that sends none.",
        ),
    })
    .prefault({})
    .describe("Sports data: races and cricket."),
  cache: z
    .strictObject({
      retentionMs: ms()
        .default(600_000)
        .describe("How long after a cut a user is told only what changed; later it gets an image."),
      forgetMs: ms().default(3_600_000).describe("How long closed markets are kept; at least retentionMs."),
      arenaBytesMax: bytes()
        .default(2 ** 31)
        .describe("The bound of all books together."),
    })
    .prefault({})
    .describe("The books."),
  catalogue: z
    .strictObject({
      enabled: z.boolean().default(true).describe("Whether names are fetched from the exchange's API at all."),
      refreshMs: ms()
        .min(10_000)
        .default(600_000)
        .describe(
          "How old a market's names may get before they are asked for again; new markets are asked for at once.",
        ),
      callsPerSecondMax: z.int().min(1).max(20).default(5).describe("Calls a second, of 50 markets each."),
    })
    .prefault({})
    .describe("Names of markets, events and runners, which the stream does not carry."),
  delivery: z
    .strictObject({
      segmentBytesMax: bytes()
        .default(65_536)
        .describe("The longest message to users who take segments; a market is never cut."),
      flushBytesMax: bytes()
        .default(1_048_576)
        .describe("A user with more than this in one flush is caught up in segments instead."),
      behindMsMax: ms()
        .min(1000)
        .default(30_000)
        .describe("How long a user may be behind before it is closed with SLOW."),
    })
    .prefault({})
    .describe("How users are told."),
  metrics: z
    .strictObject({
      host: host(LISTEN_HOST).default("127.0.0.1"),
      port: port(`${LISTEN_PORT} With workers it tells of all processes.`),
      memoryBytesMax: bytes()
        .optional()
        .describe(
          "What the load of memory is told against; absent: what the control group allows, or the machine has.",
        ),
    })
    .optional()
    .describe("Metrics for Prometheus at /metrics, on a port of their own."),
  snapshot: z
    .strictObject({
      file: z
        .string()
        .min(1)
        .describe(
          "Where the books are kept for a restart: a file that is this gateway's alone, some kilobytes for each market and three times that while it is written.",
        ),
      everyMs: ms().min(1000).default(60_000).describe("How often it is written; it also is at a stop."),
    })
    .optional()
    .describe("The books as a file: after a restart they are there at once, and users come back by what changed."),
  log: z
    .strictObject({
      level: z
        .enum(["debug", "info", "warn", "error", "silent"])
        .default("info")
        .describe("The least important line that is written."),
    })
    .prefault({})
    .describe("Logs, JSON lines on standard error."),
});

export type Config = z.infer<typeof Config>;
export type ConfigInput = z.input<typeof Config>;

export const ENV_PREFIX = "ODDSWIRE";

/** One thing that can be set, for people: `oddswire check --help` and docs/CONFIG.md are made of these. */
export interface Option {
  /** "exchange.host" */
  readonly path: string;
  /** "ODDSWIRE_EXCHANGE_HOST"; null for lists, which only the file can hold. */
  readonly env: string | null;
  readonly type: string;
  readonly default: string | null;
  readonly required: boolean;
  readonly help: string;
}

interface JsonSchema {
  readonly type?: string;
  readonly properties?: Record<string, JsonSchema>;
  readonly items?: JsonSchema;
  readonly enum?: readonly string[];
  readonly required?: readonly string[];
  readonly default?: unknown;
  readonly description?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly const?: string;
  readonly anyOf?: readonly JsonSchema[];
}

/** Everything that can be set, in the schema's order. */
export function options(): Option[] {
  return optionsOf(z.toJSONSchema(Config, { io: "input" }) as JsonSchema, []);
}

function optionsOf(schema: JsonSchema, path: readonly string[]): Option[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const here = [...path, name];
    if (property.properties !== undefined) return optionsOf(property, here);
    if (property.items?.properties !== undefined) return optionsOf(property.items, [...path, `${name}[]`]);
    return [
      {
        path: here.join("."),
        env: property.type === "array" || here.some((part) => part.endsWith("[]")) ? null : envName(here),
        type: typeName(property),
        default: property.default === undefined ? null : JSON.stringify(property.default),
        required: (schema.required ?? []).includes(name),
        help: property.description ?? "",
      },
    ];
  });
}

function envName(path: readonly string[]): string {
  return [ENV_PREFIX, ...path].map((part) => part.replace(/([a-z])([A-Z])/g, "$1_$2").toUpperCase()).join("_");
}

function typeName({ type, enum: words, items, minimum, maximum, anyOf, const: word }: JsonSchema): string {
  if (anyOf !== undefined) return anyOf.map(typeName).join(" | ");
  if (word !== undefined) return word;
  if (words !== undefined) return words.join(" | ");
  if (type === "array") return `list of ${items?.enum === undefined ? (items?.type ?? "any") : "field names"}`;
  if (type === "integer") return `${minimum ?? 0} to ${maximum === undefined || maximum > 2 ** 52 ? "any" : maximum}`;
  return type ?? "any";
}

/** Checks a configuration and fills in what it leaves out. Throws INVALID_CONFIG naming every mistake and where it is. */
export function parseConfig(input: unknown, env: Readonly<Record<string, string | undefined>> = {}): Config {
  const result = Config.safeParse(withEnv(input, env));
  if (!result.success) throw new OddswireError("INVALID_CONFIG", result.error.issues.flatMap(mistakes).join("\n"));
  const found = contradictions(result.data);
  if (found.length > 0) throw new OddswireError("INVALID_CONFIG", found.join("\n"));
  return result.data;
}

/** Reads and checks a configuration file (JSON). Throws FILE_NOT_FOUND or INVALID_CONFIG. */
export function readConfig(path: string, env: Readonly<Record<string, string | undefined>>): Config {
  const text = readText(path);
  let input: unknown;
  try {
    input = JSON.parse(text);
  } catch (error) {
    throw new OddswireError("INVALID_CONFIG", `${path} is not JSON: ${(error as Error).message}`);
  }
  return parseConfig(input, env);
}

/** What the environment sets wins over the file. */
function withEnv(input: unknown, env: Readonly<Record<string, string | undefined>>): unknown {
  if (typeof input !== "object" || input === null || Array.isArray(input)) return input;
  const merged = structuredClone(input) as Record<string, unknown>;
  for (const option of options()) {
    const value = option.env === null ? undefined : env[option.env];
    if (value !== undefined) setAt(merged, option.path.split("."), typedValue(value, option.type));
  }
  return merged;
}

function setAt(target: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [name, ...rest] = path as [string, ...string[]];
  if (rest.length === 0) target[name] = value;
  else setAt((target[name] ??= {}) as Record<string, unknown>, rest, value);
}

function typedValue(text: string, type: string): unknown {
  if (type === "boolean") return text === "true" ? true : text === "false" ? false : text;
  if (/^-?\d+ to /.test(type)) return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
  return text;
}

function mistakes(issue: z.core.$ZodIssue): string[] {
  const at = issue.path.length === 0 ? "the configuration" : issue.path.join(".");
  if (issue.message.endsWith("received undefined")) return [`${at}: must be given`];
  if (issue.code !== "unrecognized_keys") return [`${at}: ${issue.message}`];
  return issue.keys.map((key) => {
    const path = [...issue.path, key].join(".");
    const near = nearestOption(
      path,
      options().map((option) => option.path),
    );
    return `${path}: there is no such option${near === null ? "" : `; did you mean ${near}?`}`;
  });
}

/** The known path that a typo most likely meant. */
function nearestOption(path: string, known: readonly string[]): string | null {
  const plain = path.replace(/\.\d+\./g, "[].");
  const candidates = known.flatMap((option) => option.split(".").map((_, i, parts) => parts.slice(0, i + 1).join(".")));
  return nearest(plain, [...new Set(candidates)]);
}

/** Connections that the exchange lets an account have at once. */
const CONNECTIONS_MAX = 10;

/** What no single value can show to be wrong. */
function contradictions(config: Config): string[] {
  const { role, exchange, cache, doors, visitors, orders } = config;
  const found: string[] = [];
  if (cache.forgetMs < cache.retentionMs) {
    found.push(
      `cache.forgetMs (${cache.forgetMs}) must be at least cache.retentionMs (${cache.retentionMs}): who resumes must hear that a market closed`,
    );
  }
  if (exchange.session === undefined && (exchange.username === undefined || exchange.password === undefined)) {
    found.push(
      `exchange: give username and password, or a session; ${ENV_PREFIX}_EXCHANGE_PASSWORD keeps it out of the file`,
    );
  }
  if ((exchange.certFile === undefined) !== (exchange.keyFile === undefined))
    found.push("exchange: certFile and keyFile belong together");
  found.push(...shardMistakes(exchange));
  if (config.workers > 0 && role === "ingest") found.push("workers: role ingest serves no users, so workers 0");
  const { shards, demand } = exchange;
  const connections = (demand.enabled ? demand.connections : Math.max(1, shards.length)) + (orders.enabled ? 1 : 0);
  if (connections > CONNECTIONS_MAX)
    found.push(`exchange: that is ${connections} connections, and an account may have ${CONNECTIONS_MAX}`);
  if (config.snapshot !== undefined && demand.enabled)
    found.push(
      "snapshot: with exchange.demand nobody knows after a restart what will be wanted; leave one of them out",
    );
  if (role === "ingest" && demand.enabled)
    found.push("exchange.demand: an ingest has no users, so nobody would want a market, and none would be carried");
  return [...found, ...visitorContradictions(visitors, doors.certLogin !== undefined)];
}

function visitorContradictions(visitors: Config["visitors"], withCertificates: boolean): string[] {
  const found = visitors.flatMap(({ name, token, username, password, passwordHash, certName }) => {
    const passwords = [password, passwordHash].filter((one) => one !== undefined).length;
    if (username === undefined && token === undefined) return [`visitors: ${name} needs a token, or a username`];
    if ((username === undefined) !== (passwords === 0) || passwords > 1)
      return [`visitors: ${name}: username goes with one of password and passwordHash`];
    if (certName === undefined || (withCertificates && username !== undefined)) return [];
    return [`visitors: ${name}: certName goes with a username, and with doors.certLogin`];
  });
  for (const key of ["token", "username"] as const) {
    const said = visitors.flatMap((visitor) => visitor[key] ?? []);
    if (new Set(said).size !== said.length) found.push(`visitors: two have the same ${key}`);
  }
  found.push(...sharedOrders(visitors));
  return found;
}

/** Two streams that both speak for a market would tell its story twice. */
function shardMistakes({ filter, shards, demand }: Config["exchange"]): string[] {
  if (shards.length > 0 && demand.enabled) return ["exchange: shards and demand.enabled exclude each other"];
  const empty = shards.findIndex((shard) => apart(filter, shard));
  if (empty >= 0) return [`exchange.shards: ${empty + 1} has no market in common with exchange.filter`];
  return shards.flatMap((shard, n) =>
    shards
      .slice(n + 1)
      .flatMap((other, m) =>
        apart(shard, other)
          ? []
          : [
              `exchange.shards: ${n + 1} and ${n + m + 2} may have a market in common; give both values of the same field, none twice`,
            ],
      ),
  );
}

/** A reference that begins with both prefixes would be told to both. */
function sharedOrders(visitors: Config["visitors"]): string[] {
  const owners = visitors.flatMap(({ tenant, name, orders }) =>
    orders === undefined || orders === "account" ? [] : [{ who: `${tenant}/${name}`, prefix: orders.refPrefix }],
  );
  return owners.flatMap((one, i) =>
    owners
      .slice(i + 1)
      .filter((other) => one.who !== other.who)
      .filter(({ prefix }) => prefix.startsWith(one.prefix) || one.prefix.startsWith(prefix))
      .map(
        (other) =>
          `visitors: ${one.who} and ${other.who} would see each other's orders: refPrefix "${one.prefix}" and "${other.prefix}" overlap`,
      ),
  );
}
