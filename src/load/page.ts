import {
  bytes,
  closesWords,
  type LoadResult,
  laggardsMemory,
  laggardsWords,
  number,
  type Second,
  verdictWords,
} from "./result.ts";

const WIDTH = 720;
const HEIGHT = 200;
const LEFT = 64;
const BOTTOM = 24;
const TOP = 10;
const TICKS = 4;

interface Curve {
  readonly name: string;
  readonly color: string;
  readonly values: readonly (number | null)[];
}

/** The result as one page that needs nothing but itself: tables, and charts as inline SVG. */
export function resultPage(result: LoadResult): string {
  const { series, workload, url, checks, samples, passed } = result;
  const at = series.map((second) => second.at);
  const begun = series.find(({ phase }) => phase === "measured")?.at ?? null;
  const over = (name: string, unit: string, curves: readonly Curve[]) => timeChart(name, unit, at, curves, begun);
  const of = (name: string, color: string, value: (second: Second) => number | null): Curve => ({
    name,
    color,
    values: series.map(value),
  });
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(`${workload.name}: ${passed ? "passed" : "failed"}`)}</title>
<style>${STYLE}</style>
<main>
<h1>${escaped(workload.name)} <span class="${passed ? "ok" : "bad"}">${passed ? "passed" : escaped(verdictWords(result))}</span></h1>
<p>${escaped(url)}, ${escaped(result.door)} door${result.serverVersion === null ? "" : `, Oddswire ${escaped(result.serverVersion)}`};
${escaped(result.startedAt)}, ${result.seconds.toFixed(0)} s measured, ${result.processes} load process${result.processes === 1 ? "" : "es"}.</p>
${table(
  ["must hold", "is", "limit", ""],
  checks.map(({ name, value, limit, passed }) => [
    name,
    value === null ? "–" : number(value),
    limit,
    passed ? OK : BAD,
  ]),
)}
${samples.length === 0 ? "" : `<h2>What was wrong</h2><ul>${samples.map((sample) => `<li>${escaped(sample)}</li>`).join("")}</ul>`}
${over("Latency", "ms", [of("p50", "var(--a)", ({ p50 }) => p50), of("p99", "var(--b)", ({ p99 }) => p99), of("longest", "var(--c)", ({ max }) => max)])}
${histogram(result.histogram)}
${over("Messages", "a second", [of("messages", "var(--a)", ({ messages }) => messages), of("market changes", "var(--b)", ({ changes }) => changes)])}
${over("Users", "", [of("users", "var(--a)", ({ users }) => users)])}
${over("CPU", "cores", [of("server", "var(--a)", ({ serverCpu }) => serverCpu), of("load", "var(--c)", ({ clientCpu }) => clientCpu)])}
${over("Server's memory", "MB", [of("RSS", "var(--a)", ({ serverRss }) => (serverRss === null ? null : serverRss / 1e6))])}
<h2>Figures</h2>
${table(["", ""], figures(result))}
<details><summary>The whole result as JSON</summary><pre>${escaped(JSON.stringify({ ...result, series: undefined, histogram: undefined }, null, 1))}</pre></details>
</main>
<script type="application/json" id="result">${JSON.stringify(result).replaceAll("<", "\\u003c")}</script>
</html>
`;
}

const OK = '<span class="ok">ok</span>';
const BAD = '<span class="bad">FAIL</span>';

function figures(result: LoadResult): [string, string][] {
  const { users, latency, arrival, perSecond, verdict, books, server, client, storm } = result;
  const memory = laggardsMemory(result);
  return [
    ["users", `${number(users.live)} of ${number(users.ordinary)}, ${number(users.laggards)} laggards`],
    [
      "latency, ms",
      latency === null
        ? "no messages"
        : `p50 ${latency.p50}, p90 ${latency.p90}, p99 ${latency.p99}, p99.9 ${latency.p999}, max ${latency.max}, mean ${latency.mean}`,
    ],
    ["from dialling to the image, ms", arrival === null ? "–" : `p50 ${arrival.p50}, p99 ${arrival.p99}`],
    ["messages", `${number(perSecond.messages)}/s, ${bytes(perSecond.bytes)}/s`],
    [
      "market changes",
      `${number(perSecond.changes)}/s${result.offered === null ? "" : ` of ${number(result.offered)} due`}`,
    ],
    [
      "told to each alike",
      verdict === null
        ? "not compared: changes are merged"
        : `${number(verdict.got)} of ${number(verdict.due)}; ${verdict.lost} lost, ${verdict.strays} differ, ${verdict.merged} merged`,
    ],
    ["books", `${books.checked} checked, ${books.wrong} wrong, ${books.unchecked} unchecked`],
    ["images, resumes", `${number(result.images)}, ${number(result.resumes)}`],
    ...(storm === null
      ? []
      : [
          [
            "storm",
            `${storm.backMs === null ? "not all came back" : `all back after ${(storm.backMs / 1_000).toFixed(1)} s`}${storm.others === null ? "" : `; the others meanwhile p50 ${storm.others.p50} ms, p99 ${storm.others.p99}`}`,
          ] as [string, string],
        ]),
    ...Object.entries(result.closes).map(([why, count]): [string, string] => [
      `closed: ${escaped(why)}`,
      number(count),
    ]),
    ...Object.entries(result.laggards).map(([kind, laggards]): [string, string] => [
      `laggards: ${kind}`,
      `${laggards.users}: ${laggardsWords(laggards)}; ${
        Object.entries(laggards.closes)
          .map(([why, count]) => `${count} closed, ${escaped(why)}`)
          .join("; ") || "none closed"
      }`,
    ]),
    ...(memory === null ? [] : [["memory with laggards", memory.join("; ")] as [string, string]]),
    [
      "server",
      server === null
        ? "not on this machine"
        : `${server.cores.toFixed(3)} cores, ${bytes(server.rss)} RSS${server.pss === null ? "" : `, ${bytes(server.pss)} PSS`}; a user ${server.cpuPerUserMicros.toFixed(1)} µs/s, ${bytes(server.rssPerUser)}`,
    ],
    ...(result.serverCloses === null
      ? []
      : [["closed by the server's count", closesWords(result.serverCloses)] as [string, string]]),
    [
      "load",
      `${client.cores.toFixed(3)} cores, the busiest process ${client.busiest.toFixed(2)}; ${bytes(client.rss)}`,
    ],
  ];
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (tag: string, cells: readonly string[]) =>
    `<tr>${cells.map((cell) => `<${tag}>${cell}</${tag}>`).join("")}</tr>`;
  const top = head.some((cell) => cell !== "") ? line("th", head) : "";
  return `<table>${top}${rows.map((row) => line("td", row)).join("")}</table>`;
}

/** Curves over the seconds of the run; a line where the measurement began. */
function timeChart(
  name: string,
  unit: string,
  at: readonly number[],
  curves: readonly Curve[],
  begun: number | null,
): string {
  const known = curves.filter(({ values }) => values.some((value) => value !== null));
  if (known.length === 0 || at.length < 2) return "";
  const most = niceMax(Math.max(...known.flatMap(({ values }) => values.map((value) => value ?? 0))));
  const [from, to] = [at[0] as number, at.at(-1) as number];
  const x = (seconds: number) => LEFT + ((seconds - from) / Math.max(1e-9, to - from)) * (WIDTH - LEFT - 8);
  const y = (value: number) => TOP + (1 - Math.max(0, value) / most) * (HEIGHT - TOP - BOTTOM);
  const paths = known.map(
    ({ values, color, name }) =>
      `<path d="${pathOf(values, (i) => x(at[i] as number), y)}" stroke="${color}"><title>${name}</title></path>`,
  );
  const mark =
    begun === null
      ? ""
      : `<line class="mark" x1="${fixed(x(begun))}" x2="${fixed(x(begun))}" y1="${TOP}" y2="${HEIGHT - BOTTOM}"><title>measured from here</title></line>`;
  const ends = `<text x="${LEFT}" y="${HEIGHT - 6}">${from.toFixed(0)} s</text><text x="${WIDTH - 8}" y="${HEIGHT - 6}" class="end">${to.toFixed(0)} s</text>`;
  return figure(`${name}${unit === "" ? "" : `, ${unit}`}`, known, grid(most, y) + mark + paths.join("") + ends);
}

/** How many messages took how long, on a logarithmic scale of time. */
function histogram(filled: LoadResult["histogram"]): string {
  const bars = filled.filter(([ms]) => ms > 0);
  if (bars.length === 0) return "";
  const [least, longest] = [
    Math.log10((bars[0] as [number, number])[0]),
    Math.log10((bars.at(-1) as [number, number])[0]),
  ];
  const [low, high] = [Math.floor(least), Math.max(Math.floor(least) + 1, Math.ceil(longest))];
  const most = niceMax(Math.max(...bars.map(([, count]) => count)));
  const x = (ms: number) => LEFT + ((Math.log10(ms) - low) / (high - low)) * (WIDTH - LEFT - 8);
  const y = (value: number) => TOP + (1 - value / most) * (HEIGHT - TOP - BOTTOM);
  const floor = HEIGHT - BOTTOM;
  const columns = bars.map(
    ([ms, count]) =>
      `<line class="bar" x1="${fixed(x(ms))}" x2="${fixed(x(ms))}" y1="${floor}" y2="${fixed(y(count))}"><title>${ms} ms: ${count}</title></line>`,
  );
  const powers = Array.from({ length: high - low + 1 }, (_, i) => low + i);
  const scale = powers.map(
    (power) =>
      `<text x="${fixed(x(10 ** power))}" y="${HEIGHT - 6}" class="middle">${Number((10 ** power).toPrecision(1))}</text>`,
  );
  return figure("Messages by latency, ms", [], grid(most, y) + columns.join("") + scale.join(""));
}

function figure(title: string, curves: readonly Curve[], inside: string): string {
  const legend =
    curves.length < 2
      ? ""
      : ` <small>${curves.map(({ name, color }) => `<span style="color:${color}">■</span> ${name}`).join(" ")}</small>`;
  return `<h2>${title}${legend}</h2><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}">${inside}</svg>`;
}

function grid(most: number, y: (value: number) => number): string {
  return Array.from({ length: TICKS + 1 }, (_, i) => (most * i) / TICKS)
    .map(
      (value) =>
        `<line class="grid" x1="${LEFT}" x2="${WIDTH - 8}" y1="${fixed(y(value))}" y2="${fixed(y(value))}"/><text x="${LEFT - 6}" y="${fixed(y(value) + 4)}" class="end">${number(value)}</text>`,
    )
    .join("");
}

/** Interrupted where there is no value. */
function pathOf(values: readonly (number | null)[], x: (i: number) => number, y: (value: number) => number): string {
  return values
    .map((value, i) =>
      value === null ? "" : `${i === 0 || values[i - 1] === null ? "M" : "L"}${fixed(x(i))} ${fixed(y(value))}`,
    )
    .join("");
}

/** The next of 1, 2 or 5 times a power of ten. */
function niceMax(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5, 10].find((step) => step * power >= value) ?? 10) * power;
}

function fixed(value: number): string {
  return value.toFixed(1);
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

const STYLE = `
:root{color-scheme:light dark;--a:#1668c7;--b:#c2570c;--c:#7a7f87;--line:#8884;--ok:#137a3a;--bad:#c01c28}
@media(prefers-color-scheme:dark){:root{--a:#6cb2ff;--b:#ff9f5a;--c:#9aa0a8;--ok:#58c27d;--bad:#ff7b72}}
body{font:15px/1.5 system-ui,sans-serif;margin:0}main{max-width:760px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}small{font-weight:400}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .6rem .2rem 0;border-bottom:1px solid var(--line);vertical-align:top}
.ok{color:var(--ok)}.bad{color:var(--bad)}svg{width:100%;height:auto;overflow:visible}
path{fill:none;stroke-width:1.5}.grid{stroke:var(--line)}.mark{stroke:var(--c);stroke-dasharray:3 3}.bar{stroke:var(--a);stroke-width:2}
text{font-size:11px;fill:currentColor}.end{text-anchor:end}.middle{text-anchor:middle}pre{overflow:auto;font-size:12px}
`;
