import type { MarketFacts } from "./filter.ts";

/**
 * What nearly every market definition repeats, at most 128 phrases of at least four characters. A definition is ASCII, so the upper half of a byte's values
 * is free to stand for them: packed so, the recordings' definitions take a quarter of their size.
 *
 * Deflate with a dictionary packs to a tenth, but made 10 KB of objects and buffers for each call: 200 MB for the collector while 20,000 markets
 * come in, and 25 MB more at the peak. This leaves nothing behind.
 */
const PHRASES = [
  '{"bspMarket":false',
  '{"bspMarket":true',
  ',"bspMarket":false',
  ',"bspMarket":true',
  ',"turnInPlayEnabled":true',
  ',"turnInPlayEnabled":false',
  ',"persistenceEnabled":true',
  ',"persistenceEnabled":false',
  ',"marketBaseRate":5',
  ',"marketBaseRate":2',
  ',"marketBaseRate":',
  ',"eventId":"',
  '","eventId":"',
  ',"eventTypeId":"',
  '","eventTypeId":"',
  ',"numberOfWinners":1',
  ',"numberOfWinners":',
  ',"bettingType":"ODDS","marketType":"',
  '"bettingType":"ODDS"',
  '"bettingType":"',
  '"ASIAN_HANDICAP_DOUBLE_LINE"',
  '"ASIAN_HANDICAP_SINGLE_LINE"',
  "ASIAN_HANDICAP",
  ',"marketType":"',
  '","marketType":"',
  'MATCH_ODDS","marketTime":"',
  'MATCH_ODDS"',
  "OVER_UNDER_",
  "BOTH_TEAMS_TO_SCORE",
  "CORRECT_SCORE",
  "HALF_TIME",
  '","marketTime":"',
  ',"marketTime":"',
  '00.000Z","suspendTime":"',
  '","suspendTime":"',
  ',"suspendTime":"',
  '00.000Z","bspReconciled":false,"complete":true,"inPlay":false,"crossMatching":true',
  '00.000Z","bspReconciled":false,"complete":true,"inPlay":false,"crossMatching":false',
  '00.000Z","bspReconciled":false,"complete":true,"inPlay":true,"crossMatching":true',
  '00.000Z","bspReconciled":false',
  ',"bspReconciled":false',
  ',"bspReconciled":true',
  ',"complete":true',
  ',"complete":false',
  ',"inPlay":false',
  ',"inPlay":true',
  ',"crossMatching":true',
  ',"crossMatching":false',
  ',"runnersVoidable":false,"numberOfActiveRunners":',
  ',"runnersVoidable":false',
  ',"runnersVoidable":true',
  ',"numberOfActiveRunners":',
  ',"betDelay":0,"status":"OPEN"',
  ',"betDelay":0,"status":"',
  ',"betDelay":1,"status":"',
  ',"betDelay":5,"status":"',
  ',"betDelay":',
  ',"status":"OPEN"',
  ',"status":"SUSPENDED"',
  ',"status":"CLOSED"',
  ',"status":"INACTIVE"',
  ',"status":"',
  ',"runners":[{"status":"ACTIVE","sortPriority":1,"id":',
  ',"runners":[{"status":"',
  ',"runners":[{',
  '},{"status":"ACTIVE","sortPriority":',
  '},{"status":"REMOVED","sortPriority":',
  '},{"status":"LOSER","sortPriority":',
  '},{"status":"WINNER","sortPriority":',
  '},{"status":"',
  '"status":"ACTIVE"',
  'ACTIVE","sortPriority":1,"id":',
  'WINNER","sortPriority":1,"id":',
  'LOSER","sortPriority":1,"id":',
  ',"sortPriority":',
  '","sortPriority":',
  '},{"adjustmentFactor":',
  ',"runners":[{"adjustmentFactor":',
  ',"adjustmentFactor":',
  ',"removalDate":"',
  ',"bsp":',
  ',"hc":0,"id":',
  ',"hc":',
  ',"id":',
  '{"id":',
  '},{"id":',
  ',"name":"',
  '","name":"',
  '"name":"',
  '}],"regulators":["MR_INT"],"countryCode":"GB","discountAllowed":',
  '}],"regulators":["MR_INT"],"countryCode":"',
  '}],"regulators":["MR_INT"]',
  '}],"regulators":["',
  '"regulators":["MR_INT"]',
  ',"venue":"',
  '","venue":"',
  ',"countryCode":"',
  '","countryCode":"',
  '","discountAllowed":false,"timezone":"',
  '","discountAllowed":true,"timezone":"',
  ',"discountAllowed":false',
  ',"discountAllowed":true',
  'false,"timezone":"',
  'true,"timezone":"',
  ',"timezone":"',
  'GMT","openDate":"',
  'Europe/London","openDate":"',
  '","openDate":"',
  ',"openDate":"',
  '00.000Z","version":',
  ',"version":',
  ',"priceLadderDefinition":{"type":"CLASSIC"}}',
  ',"priceLadderDefinition":{"type":"CLASSIC"}',
  ',"priceLadderDefinition":{"type":"',
  ',"settledTime":"',
  ',"raceType":"',
  ',"eventName":"',
  ',"suspendReason":"',
  ':00:00.000Z"',
  '.000Z"',
] as const;

if (PHRASES.length > 128) throw new Error("a byte has room for 128 phrases");

const HASH_BITS = 12;
/** By a hash of a phrase's first four characters: the phrases that begin so, longest first. */
const BY_PREFIX: (number[] | undefined)[] = new Array(1 << HASH_BITS);
const BYTES = PHRASES.map((phrase) => Buffer.from(phrase, "latin1"));
for (const index of [...PHRASES.keys()].sort((a, b) => (PHRASES[b] as string).length - (PHRASES[a] as string).length)) {
  const at = prefixHash(PHRASES[index] as string, 0);
  BY_PREFIX[at] = [...(BY_PREFIX[at] ?? []), index];
}

function prefixHash(text: string, at: number): number {
  const word =
    text.charCodeAt(at) |
    (text.charCodeAt(at + 1) << 8) |
    (text.charCodeAt(at + 2) << 16) |
    (text.charCodeAt(at + 3) << 24);
  return Math.imul(word, 0x9e3779b1) >>> (32 - HASH_BITS);
}

/** A buffer that is used again and again, and grows with what it is asked to hold. */
function scratch(): (bytes: number) => Buffer {
  let buffer = Buffer.alloc(4096);
  return (bytes) => {
    if (buffer.length < bytes) buffer = Buffer.alloc(bytes * 2);
    return buffer;
  };
}

const forPacking = scratch();
const forUnpacking = scratch();

/** Packs a definition's JSON text, which must be ASCII. The bytes are good until the next call. */
export function packDefinition(json: string): Uint8Array {
  const out = forPacking(json.length);
  let length = 0;
  for (let at = 0; at < json.length; ) {
    const phrase = phraseAt(json, at);
    out[length++] = phrase < 0 ? json.charCodeAt(at) : 128 + phrase;
    at += phrase < 0 ? 1 : (PHRASES[phrase] as string).length;
  }
  return out.subarray(0, length);
}

/** The longest phrase that stands there, -1 for none. */
function phraseAt(json: string, at: number): number {
  const candidates = BY_PREFIX[prefixHash(json, at)];
  if (candidates === undefined) return -1;
  for (const index of candidates) if (json.startsWith(PHRASES[index] as string, at)) return index;
  return -1;
}

/** The text that `packDefinition` was given, to the byte. */
export function unpackDefinition(packed: Uint8Array): string {
  let length = 0;
  for (const byte of packed) length += byte < 128 ? 1 : (BYTES[byte - 128] as Buffer).length;
  const out = forUnpacking(length);
  let at = 0;
  for (const byte of packed) {
    if (byte < 128) out[at++] = byte;
    else at += (BYTES[byte - 128] as Buffer).copy(out, at);
  }
  return out.toString("latin1", 0, length);
}

/** What is known of a market without a definition. */
export const NO_FACTS: MarketFacts = {
  status: null,
  inPlay: null,
  version: null,
  eventId: null,
  eventTypeId: null,
  marketType: null,
  bettingType: null,
  countryCode: null,
  venue: null,
  raceType: null,
  bspMarket: null,
  turnInPlayEnabled: null,
  marketTime: null,
};

/** The facts there are, and of what type the exchange gives each; a value of another type counts as not said. */
export const FACT_TYPES = {
  status: "string",
  inPlay: "boolean",
  version: "number",
  eventId: "string",
  eventTypeId: "string",
  marketType: "string",
  bettingType: "string",
  countryCode: "string",
  venue: "string",
  raceType: "string",
  bspMarket: "boolean",
  turnInPlayEnabled: "boolean",
  marketTime: "string",
} as const satisfies Record<keyof MarketFacts, "string" | "boolean" | "number">;

/** Few different words make up the facts of all markets but their events: each is kept once. Starts anew when full, so that it stays bounded. */
const words = new Map<string, string>();
const WORDS_MAX = 10_000;

/** The same word, the one copy of it that is kept. */
export function intern(word: string): string {
  const known = words.get(word);
  if (known !== undefined) return known;
  if (words.size >= WORDS_MAX) words.clear();
  words.set(word, word);
  return word;
}
