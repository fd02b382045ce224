import { deflateRawSync, inflateRawSync } from "node:zlib";
import type { MarketFacts } from "./filter.ts";

/**
 * What nearly every market definition repeats. Deflate with it as a dictionary packs the recordings' definitions to a tenth (917 bytes to 90 on
 * average, 9 us; 2.8 us to unpack), without it to a half: 20,000 definitions in 3 MB instead of 18.
 * The most frequent comes last, as deflate likes it.
 */
const DICTIONARY = Buffer.from(
  '"raceType":"Flat","venue":"Ascot","bettingType":"ASIAN_HANDICAP_DOUBLE_LINE","ASIAN_HANDICAP_SINGLE_LINE","LINE","lineMaxUnit":,"lineMinUnit":,"lineInterval":,' +
    '"eachWayDivisor":4,"keyLineDefinition":{"kl":[{"id":,"hc":-0.5}]},"priceLadderDefinition":{"type":"FINEST"},"LINE_RANGE","suspendReason":"Goal","settledTime":"2026-01-01T12:00:00.000Z",' +
    '"betDelayModels":["PASSIVE"],"status":"CLOSED","status":"INACTIVE","marketType":"OVER_UNDER_25","BOTH_TEAMS_TO_SCORE","CORRECT_SCORE","TO_WIN_THE_TOSS","PLACE","EACH_WAY","WIN","removalDate":"2026-01-01T12:00:00.000Z",' +
    '"timezone":"Europe/London","Asia/Kolkata","Australia/Sydney","US/Eastern","UTC","countryCode":"US","countryCode":"AU","countryCode":"IN","eventTypeId":"1","eventTypeId":"2","eventTypeId":"7","eventTypeId":"4339",' +
    '"hc":0},{"status":"REMOVED","sortPriority":,"WINNER","LOSER","PLACED","bsp":,"adjustmentFactor":,"name":"The Draw","eventName":"A v B","name":"Match Odds",' +
    '"bspMarket":true,"turnInPlayEnabled":false,"bspReconciled":true,"complete":false,"inPlay":true,"crossMatching":false,"runnersVoidable":true,"discountAllowed":false,"status":"SUSPENDED","betDelay":1,"betDelay":5,' +
    '{"bspMarket":false,"turnInPlayEnabled":true,"persistenceEnabled":true,"marketBaseRate":5,"eventId":"31573045","eventTypeId":"4","numberOfWinners":1,"bettingType":"ODDS","marketType":"MATCH_ODDS",' +
    '"marketTime":"2026-07-11T11:00:00.000Z","suspendTime":"2026-07-11T11:00:00.000Z","bspReconciled":false,"complete":true,"inPlay":false,"crossMatching":true,"runnersVoidable":false,"numberOfActiveRunners":2,"betDelay":0,' +
    '"status":"OPEN","runners":[{"status":"ACTIVE","sortPriority":1,"id":228749},{"status":"ACTIVE","sortPriority":2,"id":2857977},{"status":"ACTIVE","sortPriority":10,"id":47972}],"regulators":["MR_INT"],"countryCode":"GB",' +
    '"discountAllowed":true,"timezone":"GMT","openDate":"2026-07-11T11:00:00.000Z","version":4638141907,"priceLadderDefinition":{"type":"CLASSIC"}}',
);
/** `chunkSize`: zlib allocates one for each call, 16 KB if not told otherwise: 320 MB for the collector while 20,000 definitions come in. */
const OPTIONS = { dictionary: DICTIONARY, windowBits: 12, memLevel: 4, chunkSize: 1024 } as const;

/** Packs a definition's JSON text, which must be ASCII, to a few dozen bytes. */
export function packDefinition(json: string): Uint8Array {
  return deflateRawSync(Buffer.from(json, "latin1"), OPTIONS);
}

/** The text that `packDefinition` was given, to the byte. */
export function unpackDefinition(packed: Uint8Array): string {
  return inflateRawSync(packed, OPTIONS).toString("latin1");
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
  marketTime: null,
  bspMarket: null,
  turnInPlayEnabled: null,
};

/**
 * The facts of a definition, from its JSON text; a value of another type than the exchange's counts as not said.
 *
 * Reads along the text, past whatever lies deeper, instead of parsing it: 20,000 parsed definitions are 100 MB of objects for the collector while an
 * image comes in. The text must be JSON; whoever takes it in has checked that.
 */
export function factsOf(json: string): MarketFacts {
  const facts: Record<string, string | number | boolean | null> = { ...NO_FACTS };
  let at = json.indexOf("{") + 1;
  for (;;) {
    const from = json.indexOf('"', at) + 1;
    if (from === 0) return facts as unknown as MarketFacts;
    const to = endOfString(json, from);
    const start = startOfValue(json, to + 1);
    const end = endOfValue(json, start);
    const name = NAMES.find((known) => known.length === to - from && json.startsWith(known, from));
    if (name !== undefined) facts[name] = valueIn(json, start, end, TYPES[name]);
    at = end;
  }
}

const TYPES = {
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
  marketTime: "string",
  bspMarket: "boolean",
  turnInPlayEnabled: "boolean",
} as const satisfies Record<keyof MarketFacts, string>;
const NAMES = Object.keys(TYPES) as (keyof MarketFacts)[];

function valueIn(json: string, start: number, end: number, type: string): string | number | boolean | null {
  const value = JSON.parse(json.slice(start, end)) as unknown;
  if (typeof value !== type) return null;
  return typeof value === "string" ? intern(value) : (value as number | boolean);
}

/** Where the string that begins before `from` has its closing quote. */
function endOfString(json: string, from: number): number {
  let to = json.indexOf('"', from);
  while (to > 0 && isEscaped(json, to)) to = json.indexOf('"', to + 1);
  return to < 0 ? json.length : to;
}

function isEscaped(json: string, at: number): boolean {
  let slashes = 0;
  while (json.charCodeAt(at - 1 - slashes) === 92) slashes++;
  return slashes % 2 === 1;
}

function startOfValue(json: string, from: number): number {
  let at = json.indexOf(":", from) + 1;
  while (json.charCodeAt(at) <= 32) at++;
  return at;
}

/** Where the value that begins at `start` ends: at the comma or the brace behind it. */
function endOfValue(json: string, start: number): number {
  let depth = 0;
  for (let at = start; at < json.length; at++) {
    const c = json.charCodeAt(at);
    if (c === 34) at = endOfString(json, at + 1);
    else if (c === 123 || c === 91) depth++;
    else if (c === 125 || c === 93) {
      if (depth === 0) return at;
      depth--;
    } else if (c === 44 && depth === 0) return at;
  }
  return json.length;
}

/** Few different words make up the facts of all markets: each is kept once. Starts anew when full, so that it stays bounded. */
const words = new Map<string, string>();
const WORDS_MAX = 50_000;

function intern(word: string): string {
  const known = words.get(word);
  if (known !== undefined) return known;
  if (words.size >= WORDS_MAX) words.clear();
  words.set(word, word);
  return word;
}
