import type { Registry as RegistryType } from "prom-client";
import Counter from "prom-client/lib/counter.js";
import Gauge from "prom-client/lib/gauge.js";
import Histogram from "prom-client/lib/histogram.js";
import Registry from "prom-client/lib/registry.js";
import type { Clock } from "../base/clock.ts";
import type { HttpHandler } from "../edge/http.ts";
import { bunServe, bunServePath, type HttpServer } from "../edge/server.ts";
import { type Colleague, gathered } from "./metrics-gather.ts";
import {
  LOOP_LAG,
  METRICS,
  type MetricDefinition,
  type MetricsSources,
  type Sample,
  type Scrape,
} from "./metrics-list.ts";
import { LoopLag, memoryLimit, processFigures } from "./metrics-process.ts";

export interface MetricsOptions {
  /** How much memory the process may take; absent: what its control group or the machine allows. */
  readonly memoryBytesMax?: number | undefined;
}

/** What a scraper may be given: the form of old, or OpenMetrics where it asks for it. */
const CONTENT_TYPES = {
  text: "text/plain; version=0.0.4; charset=utf-8",
  openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
} as const;

/**
 * What the person on call sees, in the words of Prometheus. Rooms count with plain fields and know nothing of this; they are read when somebody asks, and only then.
 * Measured by itself is one thing, how late the event loop is.
 */
export class Metrics {
  readonly registry: RegistryType = new Registry();
  readonly lag: LoopLag;
  readonly #clock: Clock;
  readonly #memoryLimitBytes: number;
  readonly #sources: MetricsSources;
  #scrape: Scrape;

  constructor(sources: MetricsSources, clock: Clock, { memoryBytesMax }: MetricsOptions = {}) {
    this.#sources = sources;
    this.#clock = clock;
    this.#memoryLimitBytes = memoryBytesMax ?? memoryLimit();
    this.#scrape = this.#look();
    for (const definition of METRICS) this.#register(definition);
    const { name, help } = LOOP_LAG;
    const histogram = new Histogram({ name, help, buckets: [...LOOP_LAG.buckets], registers: [this.registry] });
    this.lag = new LoopLag(clock, (seconds) => histogram.observe(seconds));
    this.lag.start();
  }

  stop(): void {
    this.lag.stop();
  }

  text(): Promise<string> {
    this.#scrape = this.#look();
    return this.registry.metrics();
  }

  #look(): Scrape {
    return {
      ...this.#sources,
      now: this.#clock.monotonic(),
      process: processFigures(),
      memoryLimitBytes: this.#memoryLimitBytes,
    };
  }

  #register({ name, type, help, labels, read }: MetricDefinition): void {
    const options = { name, help, labelNames: [...labels], registers: [this.registry] };
    const named = (values: readonly string[]) =>
      Object.fromEntries(labels.map((label, n) => [label, values[n] as string]));
    const samples = (): readonly Sample[] => read(this.#scrape);
    if (type === "counter")
      new Counter({
        ...options,
        collect() {
          this.reset();
          if (labels.length === 0) this.remove(); // what a process has not is no 0
          for (const [values, value] of samples()) this.inc(named(values), value);
        },
      });
    else
      new Gauge({
        ...options,
        collect() {
          this.reset();
          if (labels.length === 0) this.remove(); // what a process has not is no 0
          for (const [values, value] of samples()) this.set(named(values), value);
        },
      });
  }
}

/** prom-client's own would take `_total` off its counters' names for good, and the next scrape in the form of old would miss it. */
function openMetricsForm(text: string): string {
  const lines = text.split("\n").filter((line) => line !== "");
  const counters = new Set(lines.flatMap((line) => /^# TYPE (\S+)_total counter$/.exec(line)?.[1] ?? []));
  const about = (line: string) =>
    line.replace(/^(# (?:HELP|TYPE) )(\S+)_total /, (whole, start, name) =>
      counters.has(name) ? `${start}${name} ` : whole,
    );
  return `${[...lines.map(about), "# EOF"].join("\n")}\n`;
}

/** `GET /metrics`, and nothing else. */
export function metricsHandler(text: () => Promise<string>): HttpHandler {
  return async (request) => {
    if (new URL(request.url).pathname !== "/metrics") return new Response("ask for /metrics\n", { status: 404 });
    if (request.method !== "GET" && request.method !== "HEAD")
      return new Response(null, { status: 405, headers: { Allow: "GET, HEAD" } });
    const open = request.headers.get("accept")?.includes("application/openmetrics-text") ?? false;
    const body = open ? openMetricsForm(await text()) : await text();
    return new Response(body, {
      headers: { "Content-Type": open ? CONTENT_TYPES.openMetrics : CONTENT_TYPES.text, "Cache-Control": "no-store" },
    });
  };
}

/** One of several processes that are one gateway: it tells one of them, which tells of all. */
export type MetricsRole =
  /** Answers whoever collects, at a socket in the file system. */
  | { readonly kind: "told"; readonly path: string }
  /** Answers scrapers, with what the others said. */
  | { readonly kind: "teller"; readonly name: string; readonly others: readonly Colleague[] };

/** Opens the door for scrapers, a port of its own that need not be reachable for users. Throws PORT_IN_USE. */
export function openMetrics(
  at: { readonly host: string; readonly port: number } & MetricsOptions,
  sources: MetricsSources,
  clock: Clock,
  role?: MetricsRole,
): HttpServer {
  const metrics = new Metrics(sources, clock, at);
  const own = () => metrics.text();
  try {
    const server =
      role?.kind === "told"
        ? bunServePath(role.path, metricsHandler(own))
        : bunServe(at, metricsHandler(role === undefined ? own : () => gathered(role.name, own, role.others)));
    return {
      port: server.port,
      stop() {
        metrics.stop();
        server.stop();
      },
    };
  } catch (error) {
    metrics.stop();
    throw error;
  }
}
