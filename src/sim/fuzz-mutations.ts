import { pick, type Random, randomInt } from "../base/random.ts";
import { clientFrame } from "../edge/testing.ts";
import { FIELD_FLAGS } from "./exchange-fields.ts";
import { APP_KEY, SESSION } from "./two-doors.ts";

/** A client's message that went through the mill: what is written, one write after the other. */
export type Writes = readonly Uint8Array[];

/** So many are left as they are, and many more are well formed, so that the rooms behind the parser are reached as well. */
const VALID = 0.25;
const STRUCTURE_MUTATIONS = [0, 0, 1, 1, 2, 3];
const BYTE_MUTATIONS_MAX = 3;
const PIECES_MAX = 6;
/** Once in so many messages, the same over and over, more often than anybody may ask; and once in so many, one that no door takes. */
const FLOOD_EVERY = 2_000;
const FLOOD_TIMES = 400;
const HUGE_EVERY = 5_000;
const HUGE_BYTES = 1_200_000;

/** A valid message of some op, changed or not, as lines for the ESA door. */
export function mutatedLines(random: Random): Writes {
  const lines = Array.from({ length: pick(random, [1, 1, 1, 2, 5]) }, () =>
    Buffer.concat([mutatedMessage(random), Buffer.from(pick(random, LINE_ENDS))]),
  );
  if (random.next() < 1 / FLOOD_EVERY) return [Buffer.concat(Array(FLOOD_TIMES).fill(lines[0]))];
  return inPieces(random, mutatedBytes(random, Buffer.concat(lines), 0.1));
}

/** The same as frames for the WebSocket door. */
export function mutatedFrames(random: Random): Writes {
  const frames = Array.from({ length: pick(random, [1, 1, 1, 2, 4]) }, () => mutatedFrame(random));
  return inPieces(random, mutatedBytes(random, Buffer.concat(frames), 0.1));
}

/** An upgrade request to the WebSocket door. */
export function mutatedUpgrade(random: Random): Writes {
  return inPieces(random, mutatedBytes(random, Buffer.from(UPGRADE), 1));
}

export const UPGRADE = [
  "GET /v1/ws HTTP/1.1",
  ...["Host: house", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"],
  ...["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""],
].join("\r\n");

/** Now and then without an end, so that the next message joins it. */
const LINE_ENDS = [...Array(12).fill("\r\n"), "\n", "\n", "\r\n\r\n", "\r", "\n\r", "\r\r\n", "", "\0\r\n", " \r\n"];

export function validMessage(random: Random): Record<string, unknown> {
  const id = randomInt(random, 100);
  switch (randomInt(random, 12)) {
    case 0:
      return { op: "authentication", id, appKey: APP_KEY, session: SESSION };
    case 1:
      return { op: "heartbeat", id };
    case 2:
      return { op: "orderSubscription", id, orderFilter: { customerStrategyRefs: ["a"] }, ...someTerms(random) };
    case 3:
      return { op: pick(random, ["raceSubscription", "cricketSubscription"]), id };
    case 4:
      return { op: "unsubscribe", id, subscription: randomInt(random, 100) };
    default:
      return { op: "marketSubscription", id, ...someFilter(random), ...someTerms(random) };
  }
}

function someFilter(random: Random): Record<string, unknown> {
  const marketFilter = pick(random, [
    {},
    { marketIds: ["1.1", "1.404"] },
    { eventTypeIds: ["1"], bspMarket: true },
    { countryCodes: ["GB"], venues: null, turnInPlayEnabled: false },
  ]);
  const fields = FIELD_FLAGS.filter(() => random.next() < 0.5);
  return { marketFilter, marketDataFilter: { fields, ladderLevels: 1 + randomInt(random, 10) } };
}

function someTerms(random: Random): Record<string, unknown> {
  return {
    conflateMs: pick(random, [0, 0, 50, 1_000]),
    heartbeatMs: pick(random, [500, 5_000]),
    segmentationEnabled: random.next() < 0.5,
    initialClk: pick(random, [null, "e1.AAAAAAAAAAAA"]),
    clk: pick(random, [null, "1", "zzzzzz"]),
  };
}

function mutatedMessage(random: Random): Buffer {
  if (random.next() < 1 / HUGE_EVERY) return Buffer.alloc(HUGE_BYTES, pick(random, ["x", " ", "[", '{"a":']));
  const message = validMessage(random);
  if (random.next() < VALID) return Buffer.from(JSON.stringify(message));
  for (let n = pick(random, STRUCTURE_MUTATIONS); n > 0; n--) mutateStructure(random, message);
  return mutatedBytes(random, Buffer.from(encoded(random, mutatedText(random, JSON.stringify(message)))), 0.25);
}

/** Somewhere in the message, another value, key or shape. */
function mutateStructure(random: Random, message: Record<string, unknown>): void {
  let node = message;
  for (;;) {
    const keys = Object.keys(node);
    if (keys.length === 0) break;
    const key = pick(random, keys);
    const value = node[key];
    if (typeof value === "object" && value !== null && random.next() < 0.6) {
      node = value as Record<string, unknown>;
      continue;
    }
    const chance = random.next();
    if (chance < 0.15) delete node[key];
    else if (chance < 0.3) node[pick(random, ODD_KEYS)] = value;
    else node[key] = oddValue(random);
    return;
  }
}

const ODD_KEYS = [
  "__proto__",
  "constructor",
  "toString",
  "op",
  "id",
  "",
  "x".repeat(300),
  "marketFilter",
  "\u0000",
  "é",
];

function oddValue(random: Random): unknown {
  switch (randomInt(random, 12)) {
    case 0:
      return null;
    case 1:
      return random.next() < 0.5;
    case 2:
      return pick(random, [0, -0, -1, 0.5, 1e308, -1e308, 2 ** 31, 2 ** 53, -(2 ** 63), 1e-320]);
    case 3:
      return pick(random, ["", "x", "\u0000", "\ud800", "\u{1f3cf}", "\u2028", "1.1", "true", "__proto__"]);
    case 4:
      return "y".repeat(randomInt(random, 3_000));
    case 5:
      return [];
    case 6:
      return {};
    case 7:
      return nested(1 + randomInt(random, 200));
    case 8:
      return Array(randomInt(random, 500)).fill("1.1");
    case 9:
      return [null, 1, "x", [], {}];
    case 10:
      return { constructor: { prototype: { polluted: 1 } } };
    default:
      return validMessage(random);
  }
}

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let i = 0; i < depth; i++) value = i % 2 === 0 ? [value] : { a: value };
  return value;
}

/** In the text: numbers that no double holds, keys said twice, brackets without end. */
function mutatedText(random: Random, text: string): string {
  switch (randomInt(random, 40)) {
    case 0:
      return text.replace(/\d+/, () =>
        pick(random, ["1e999", "-1e999", "9".repeat(400), "0x1F", "01", "1.", "+1", "NaN"]),
      );
    case 1:
      return text.replace("{", `{"id":${randomInt(random, 9)},"op":"heartbeat",`);
    case 2:
      return `${"[".repeat(1 + randomInt(random, 5_000))}${text}`;
    case 3:
      return `{"a":`.repeat(1 + randomInt(random, 2_000)) + text;
    case 4:
      return text.replace(/"/g, pick(random, ["'", '\\"', "", '""']));
    case 5:
      return text.repeat(1 + randomInt(random, 20));
    case 6:
      return text.replace(/,/g, pick(random, [",,", " , ", "\t,\t", ";", "\r\n"]));
    case 7:
      return pick(random, JUNK);
    default:
      return text;
  }
}

const JUNK = [
  "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
  "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
  "SSH-2.0-x",
  "null",
  "",
  "[]",
  "0",
];

function encoded(random: Random, text: string): Uint8Array {
  switch (randomInt(random, 60)) {
    case 0:
      return Buffer.from(text, "utf16le");
    case 1:
      return Buffer.from(text, "latin1");
    case 2:
      return Buffer.from(`\uFEFF${text}`);
    case 3:
      return Buffer.concat([Buffer.from([0xc0, 0x80, 0xf5]), Buffer.from(text)]);
    default:
      return Buffer.from(text);
  }
}

/** Bytes changed, taken out, put in, said again or cut off; `chance`: of any of it. */
function mutatedBytes(random: Random, bytes: Buffer, chance: number): Buffer {
  if (random.next() >= chance) return bytes;
  let result = bytes;
  for (let n = 1 + randomInt(random, BYTE_MUTATIONS_MAX); n > 0 && result.length > 0; n--)
    result = mutatedOnce(random, result);
  return result;
}

function mutatedOnce(random: Random, bytes: Buffer): Buffer {
  const at = randomInt(random, bytes.length);
  const end = Math.min(bytes.length, at + 1 + randomInt(random, 30));
  switch (randomInt(random, 7)) {
    case 0:
      return set(bytes, at, (bytes[at] as number) ^ (1 << randomInt(random, 8)));
    case 1:
      return set(bytes, at, pick(random, [0, 10, 13, 34, 44, 91, 92, 93, 123, 125, 127, 128, 192, 255]));
    case 2:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)]);
    case 3:
      return Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)]);
    case 4: {
      const fresh = Array.from({ length: 1 + randomInt(random, 8) }, () =>
        randomInt(random, random.next() < 0.9 ? 128 : 256),
      );
      return Buffer.concat([bytes.subarray(0, at), Buffer.from(fresh), bytes.subarray(at)]);
    }
    case 5:
      return bytes.subarray(0, at);
    default: {
      const times = Array(1 + randomInt(random, 200)).fill(bytes.subarray(at, end));
      return Buffer.concat([bytes.subarray(0, at), ...times, bytes.subarray(at)]);
    }
  }
}

function set(bytes: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = value;
  return copy;
}

function mutatedFrame(random: Random): Buffer {
  const payload = mutatedMessage(random);
  if (random.next() < 0.6) return clientFrame({ opcode: 1, payload });
  const half = randomInt(random, payload.length + 1);
  switch (randomInt(random, 6)) {
    case 0:
      return clientFrame({ opcode: randomInt(random, 16), payload });
    case 1:
      return clientFrame({ opcode: 1, payload, reserved: 1 + randomInt(random, 7) });
    case 2:
      return clientFrame({ opcode: 1, payload, masked: false });
    case 3: {
      const lengthBytes = pick(random, [2, 8] as const);
      return clientFrame({
        opcode: 1,
        payload,
        length: BigInt(randomInt(random, lengthBytes === 2 ? 65_536 : 2 ** 40)),
        lengthBytes,
      });
    }
    case 4: {
      const first = clientFrame({ opcode: 1, payload: payload.subarray(0, half), fin: false });
      const last = clientFrame({ opcode: pick(random, [0, 0, 0, 1]), payload: payload.subarray(half) });
      return Buffer.concat([first, last]);
    }
    default:
      return clientFrame({ opcode: pick(random, [8, 9, 10]), payload: payload.subarray(0, randomInt(random, 200)) });
  }
}

/** Mostly in one write. */
function inPieces(random: Random, bytes: Buffer): Writes {
  const pieces: Uint8Array[] = [];
  let rest = bytes;
  if (random.next() < 0.3)
    for (let n = randomInt(random, PIECES_MAX); n > 0 && rest.length > 1; n--) {
      const cut = 1 + randomInt(random, rest.length - 1);
      pieces.push(rest.subarray(0, cut));
      rest = rest.subarray(cut);
    }
  return [...pieces, rest];
}
