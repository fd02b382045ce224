import { median, type Report } from "./table.ts";

const WIDTH = 900;
const LABELS = 350;
const NUMBERS = 190;
const TOP = 34;
const BAR = 14;
const GAP = 14;
/** What lies beyond so many times the limit is cut off there. */
const TIMES_MAX = 2;
const OURS = "#1a7f5a";
const OTHER = "#9aa4b2";
const MISSED = "#c2410c";
const INK = "#1f2937";

/** Each measure that has a limit as a share of it: the median as a bar, the least and the most as a line over it. Null: there is none. SVG. */
export function chart({ bench, rows }: Report): string | null {
  const bars = rows.flatMap(({ name, bar }) => (bar === undefined ? [] : [{ name, bar }]));
  if (bars.length === 0) return null;
  const parts: string[] = [];
  let y = TOP;
  for (const { name, bar } of bars) {
    parts.push(text(LABELS - 12, y + BAR - 3, name, "end"));
    parts.push(
      ...line(y, bar.ours, bar.limit, median(bar.ours) <= bar.limit ? OURS : MISSED, `of ${figure(bar.limit)}`),
    );
    y += BAR + 2;
    if (bar.other !== undefined) {
      parts.push(...line(y, bar.other.values, bar.limit, OTHER, bar.other.name));
      y += BAR + 2;
    }
    y += GAP;
  }
  const height = y + 6;
  const at = x(1);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="system-ui, sans-serif" font-size="12" role="img">`,
    `<title>${escaped(`${bench}: medians as a share of what was to be reached`)}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    ...parts,
    `<line x1="${at}" x2="${at}" y1="${TOP - 8}" y2="${height - 8}" stroke="${INK}" stroke-dasharray="4 3"/>`,
    text(at, TOP - 14, "limit", "middle"),
    "</svg>",
    "",
  ].join("\n");
}

function line(y: number, values: readonly number[], limit: number, fill: string, beside: string): string[] {
  const middle = median(values);
  const [from, to] = [x(Math.min(...values) / limit), x(Math.max(...values) / limit)];
  const half = y + BAR / 2;
  const end = x(middle / limit);
  return [
    `<rect x="${LABELS}" y="${y}" width="${Math.max(1, end - LABELS)}" height="${BAR}" fill="${fill}"/>`,
    `<line x1="${from}" x2="${to}" y1="${half}" y2="${half}" stroke="${INK}" stroke-width="1.5"/>`,
    text(WIDTH - NUMBERS + 12, y + BAR - 3, `${figure(middle)} ${beside}${middle > limit * TIMES_MAX ? " →" : ""}`),
  ];
}

function x(share: number): number {
  const width = WIDTH - LABELS - NUMBERS;
  return Math.round((LABELS + (width * Math.min(TIMES_MAX, Math.max(0, share))) / TIMES_MAX) * 10) / 10;
}

function text(at: number, y: number, words: string, anchor = "start"): string {
  return `<text x="${at}" y="${y}" fill="${INK}" text-anchor="${anchor}">${escaped(words)}</text>`;
}

function figure(value: number): string {
  return String(Number(value.toPrecision(3)));
}

function escaped(words: string): string {
  return words.replace(/[&<>]/g, (letter) => `&#${letter.charCodeAt(0)};`);
}
