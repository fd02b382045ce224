import { OddswireError } from "../base/errors.ts";

const ANSWER_MS_MAX = 5_000;
const CLOSES = /^oddswire_closes_total\{code="([^"]*)"\} (\S+)$/gm;

/** Why connections ended, by the server's own count, of all these `/metrics` together. Throws CONNECTION_FAILED. */
export async function closesAt(urls: readonly string[], get: typeof fetch): Promise<Record<string, number>> {
  const closes: Record<string, number> = {};
  for (const url of urls) {
    const text = await get(url, { signal: AbortSignal.timeout(ANSWER_MS_MAX) })
      .then((response) => (response.ok ? response.text() : ""))
      .catch(() => "");
    if (!text.includes("oddswire_closes_total"))
      throw new OddswireError("CONNECTION_FAILED", `there are no metrics of an Oddswire at ${url}: look at --metrics`);
    for (const [, code, value] of text.matchAll(CLOSES)) {
      const name = code as string;
      closes[name] = (closes[name] ?? 0) + Number(value);
    }
  }
  return closes;
}

/** What was counted since; those of which there were none are left out. */
export function countedSince(before: Readonly<Record<string, number>>, after: Readonly<Record<string, number>>) {
  const since = Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)] as const);
  return Object.fromEntries(since.filter(([, count]) => count > 0));
}
