/** What a market and its runners are called. */
export interface MarketNames {
  readonly name: string | null;
  readonly eventName: string | null;
  /** By id and handicap, "47972/-0.5". */
  readonly runners: ReadonlyMap<string, string>;
}

/** How long the gateway may take to tell, milliseconds. */
const NAMES_MS_MAX = 5_000;

interface Listed {
  readonly name: string | null;
  readonly eventName: string | null;
  readonly runners: readonly { readonly id: number; readonly hc: number; readonly name: string | null }[];
}

/** Asks a gateway's list what a market is called; null where it does not know (yet), or does not say: ids will do. */
export async function askNames(
  page: string,
  session: string,
  market: string,
  get: typeof fetch = fetch,
): Promise<MarketNames | null> {
  try {
    const url = new URL(`/v1/markets?marketIds=${encodeURIComponent(market)}`, page);
    const headers = { Authorization: `Bearer ${session}` };
    const response = await get(url, { headers, signal: AbortSignal.timeout(NAMES_MS_MAX) });
    if (!response.ok) return null;
    const [listed] = ((await response.json()) as { markets: readonly Listed[] }).markets;
    return listed === undefined || listed.name === null ? null : namesOf(listed);
  } catch {
    return null;
  }
}

function namesOf({ name, eventName, runners }: Listed): MarketNames {
  const named = runners.flatMap(({ id, hc, name }) => (name === null ? [] : [[`${id}/${hc}`, name] as const]));
  return { name, eventName, runners: new Map(named) };
}
