import { asciiJson } from "../wire/text.ts";
import type { MarketOrders } from "./ledger.ts";
import type { Matched, Position, RunnerOrders } from "./runner.ts";
import type { Scope } from "./scope.ts";

/** What a reader knows already. */
export interface Since {
  /** The sequence up to which it was told. */
  readonly sequence: number;
  /** It is to forget what it has: everything there is comes, and of complete orders only those that it was not told of. */
  readonly isImage: boolean;
}

/**
 * What changed in a market since then, for one scope, as `oc` entries (JSON text, ASCII) of about `charsMax` at most: the one answer behind the next
 * message, a laggard's, a resume and an image. Applied in order to what the reader holds they give what the market holds now.
 *
 * A market or runner comes as `fullImage` where the reader has nothing of it yet, or where something went that cannot be told otherwise. A market of
 * which it had something and has nothing left comes empty in an image; one in which the scope never had anything does not come at all.
 */
export function ordersSince(market: MarketOrders, since: Since, scope: Scope, charsMax: number): string[] {
  if (!since.isImage && !movedSince(market, since.sequence, scope)) return [];
  const runners = [...market.runners.values()].filter((runner) => bornTo(runner, scope) < Number.POSITIVE_INFINITY);
  if (runners.length === 0) return [];
  const reopened = !market.isClosed && market.closedChanged > since.sequence;
  const isNew = runners.every((runner) => bornTo(runner, scope) > since.sequence);
  const isFull = since.isImage || reopened || isNew;
  const closes = market.isClosed && (isFull || market.closedChanged > since.sequence);
  const from = isFull ? { ...since, isImage: true } : since;
  const pieces = runners.flatMap((runner) => runnerSince(runner, from, scope, charsMax));
  if (pieces.length === 0 && !closes && !(since.isImage || reopened)) return [];
  return entries(market, scope, isFull, closes, pieces, charsMax);
}

/** Most changes are somebody else's: that is found out first. */
function movedSince(market: MarketOrders, since: number, scope: Scope): boolean {
  if (market.last <= since) return false;
  if (market.closedChanged > since) return true;
  for (const { last, partitions } of market.runners.values()) {
    if (last <= since) continue;
    if (scope.overall) return true;
    for (const partition of partitions.values()) if (partition.last > since && scope.sees(partition.ref)) return true;
  }
  return false;
}

/** Since when a scope has had something on a runner; never: infinity. */
function bornTo(runner: RunnerOrders, scope: Scope): number {
  let born = scope.overall && runner.overall.born > 0 ? runner.overall.born : Number.POSITIVE_INFINITY;
  for (const { ref, born: first } of runner.partitions.values()) if (first < born && scope.sees(ref)) born = first;
  return born;
}

function entries(
  { id, accountId }: MarketOrders,
  scope: Scope,
  isFull: boolean,
  closes: boolean,
  pieces: readonly string[],
  charsMax: number,
): string[] {
  const name = `{"id":${asciiJson(id)}${scope.isAccount && accountId !== null ? `,"accountId":${accountId}` : ""}`;
  const first = `${name}${isFull ? ',"fullImage":true' : ""}${closes ? ',"closed":true' : ""}`;
  if (pieces.length === 0) return [`${first}}`];
  return inGroups(pieces, charsMax).map((group, i) => `${i === 0 ? first : name},"orc":[${group.join(",")}]}`);
}

/** One runner as `orc` entries: one, but for very many orders. */
function runnerSince(runner: RunnerOrders, since: Since, scope: Scope, charsMax: number): string[] {
  if (runner.last <= since.sequence && !since.isImage) return [];
  const isFull = since.isImage || bornTo(runner, scope) > since.sequence || wentSince(runner, since.sequence, scope);
  const orders: string[] = [];
  const strategies: string[] = [];
  for (const partition of runner.partitions.values()) {
    if ((partition.last <= since.sequence && !isFull) || !scope.sees(partition.ref)) continue;
    for (const { text, isComplete, changed } of partition.orders.values())
      if (changed > since.sequence || (isFull && !isComplete)) orders.push(text);
    const matched = scope.strategies ? positionSince(partition.position, since.sequence, isFull) : "";
    if (matched !== "") strategies.push(`${asciiJson(partition.ref)}:{${matched}}`);
  }
  const overall = scope.overall ? positionSince(runner.overall, since.sequence, isFull) : "";
  const nothing = orders.length === 0 && strategies.length === 0 && overall === "";
  // In a market's image a runner that is not there has nothing.
  if (nothing && (since.isImage || !isFull)) return [];
  const name = `{"id":${runner.id}${runner.hc === 0 ? "" : `,"hc":${runner.hc}`}`;
  const first = `${name}${isFull ? ',"fullImage":true' : ""}${overall && `,${overall}`}`;
  const groups = [
    ...inGroups(orders, charsMax).map((group) => `,"uo":[${group.join(",")}]`),
    ...inGroups(strategies, charsMax).map((group) => `,"smc":{${group.join(",")}}`),
  ];
  const parts = inGroups(groups, charsMax).map((group) => group.join(""));
  return parts.length === 0 ? [`${first}}`] : parts.map((part, i) => `${i === 0 ? first : name}${part}}`);
}

function wentSince(runner: RunnerOrders, since: number, scope: Scope): boolean {
  if (scope.overall && runner.gone > since) return true;
  for (const { ref, gone } of runner.partitions.values()) if (gone > since && scope.sees(ref)) return true;
  return false;
}

/** `"mb":[…],"ml":[…]`, what there is of them; "" for nothing. */
function positionSince({ mb, ml }: Position, since: number, isFull: boolean): string {
  const backs = pricesSince(mb, since, isFull);
  const lays = pricesSince(ml, since, isFull);
  return [backs && `"mb":[${backs}]`, lays && `"ml":[${lays}]`].filter((part) => part !== "").join(",");
}

function pricesSince(prices: ReadonlyMap<number, Matched>, since: number, isFull: boolean): string {
  const changed: string[] = [];
  for (const [price, { size, changed: at }] of prices)
    if (isFull ? size !== 0 : at > since) changed.push(`[${price},${size}]`);
  return changed.join(",");
}

/** In order, as many together as stay within the bound; one that is larger by itself stays alone. */
function inGroups(texts: readonly string[], charsMax: number): string[][] {
  const groups: string[][] = [];
  let chars = Number.POSITIVE_INFINITY;
  for (const text of texts) {
    if (chars + text.length > charsMax) {
      groups.push([]);
      chars = 0;
    }
    (groups.at(-1) as string[]).push(text);
    chars += text.length + 1;
  }
  return groups;
}
