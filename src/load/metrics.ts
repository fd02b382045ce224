import { OddswireError } from "../base/errors.ts";

const ANSWER_MS_MAX = 5_000;
/** One line for each process where several are one server. */
const CLOSES = /^oddswire_closes_total\{(?:worker="[^"]*",)?code="([^"]*)"\} (\S+)$/gm;
const BEHIND_BYTES = /^oddswire_behind_bytes(?:\{worker="[^"]*"\})? (\S+)$/gm;

/** What a server counts itself, and nobody else can. */
export interface ServerCounts {
  /** Why connections ended, by code. */
  readonly closes: Readonly<Record<string, number>>;
  /** Bytes that wait for users who are behind, in the process and not in its kernel. */
  readonly behindBytes: number;
}

/** Of all these `/metrics` together. Throws CONNECTION_FAILED. */
export async function countsAt(urls: readonly string[], get: typeof fetch): Promise<ServerCounts> {
  const closes: Record<string, number> = {};
  let behindBytes = 0;
  for (const url of urls) {
    const text = await get(url, { signal: AbortSignal.timeout(ANSWER_MS_MAX) })
      .then((response) => (response.ok ? response.text() : ""))
      .catch(() => "");
    if (!text.includes("oddswire_closes_total"))
      throw new OddswireError("CONNECTION_FAILED", `there are no metrics of an Oddswire at ${url}: look at --metrics`);
    for (const [, bytes] of text.matchAll(BEHIND_BYTES)) behindBytes += Number(bytes);
    for (const [, code, value] of text.matchAll(CLOSES)) {
      const name = code as string;
      closes[name] = (closes[name] ?? 0) + Number(value);
    }
  }
  return { closes, behindBytes };
}

/** What was counted since; those of which there were none are left out. */
export function countedSince(before: Readonly<Record<string, number>>, after: Readonly<Record<string, number>>) {
  const since = Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)] as const);
  return Object.fromEntries(since.filter(([, count]) => count > 0));
}
