import { clientFrame, type OddFrame } from "./testing.ts";
import { MESSAGE_BYTES_MAX } from "./websocket.ts";

/**
 * RFC 6455 as a table, numbered after the cases of the Autobahn test suite: parts 1 to 7, 9 and 10 whole, and a few of our own.
 *
 * Autobahn judges by the echo of what it sent. This server answers JSON, so a message that came through whole shows
 * - by its status, where it is a heartbeat request, padded with blanks to the length wanted ("ok 1": SUCCESS of request 1);
 * - by its text, where it is an op that there is none of, since the refusal repeats it (`echo ${GREEK}`), and the connection stays open.
 * Other words: "failed X", "pong HEX", "close CODE", and "open": a wait has passed and the connection still stands.
 */
export interface Case {
  readonly id: string;
  readonly what: string;
  /** What leaves, chop by chop. Made only as it is sent: some are sixteen megabytes. */
  readonly send: () => Iterable<Chop>;
  readonly answer: readonly string[];
  /** How many connections do it, one after the other; 1. */
  readonly connections?: number;
}

/** Bytes for one write; or a pause: until the next answer, for a little while, or until the server has closed (which must come soon). */
export type Chop = Uint8Array | "await answer" | "wait" | "await close";

/** Where ours answers otherwise than an echo server would, and why. None of it is the runtime's: framing is ours. */
export const DEVIATIONS: readonly { readonly cases: RegExp; readonly reason: string }[] = [
  { cases: /^(1\.2|9\.[2468])\.\d+$/, reason: "binary messages are not spoken here: 1003" },
  { cases: /^(9\.1\.[456]|9\.3\.\d)$/, reason: "longer than the longest message that the door takes, 1 MiB: 1009" },
  { cases: /^(1\.1\.1|6\.1\.[12]|9\.7\.1)$/, reason: "an empty message came through whole, but is no JSON: 4100" },
  { cases: /^6\.7\.1$/, reason: "a NUL is good UTF-8, but must not stand in JSON: 4100" },
  { cases: /^9\.7\.[2-6]$/, reason: "a connection may ask 300 times in 10 s: 1,000 round trips are four times 250" },
];

const TEXT = 1;
const MORE = 0;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const KIB = 1024;
const MIB = 1024 * KIB;
/** What is sent "at once" leaves in writes of so much. */
const BLOCK_BYTES = 64 * KIB;
/** How a request begins whose refusal repeats its op. */
const PREFIX = '{"op":"';
/** κόσμε with its accent in the old place, U+1F79, so that there is a character of three bytes in it. */
const GREEK = Buffer.from("cebae1bdb9cf83cebcceb5", "hex");

export const CASES: readonly Case[] = [
  ...framing(),
  ...pings(),
  ...reservedBits(),
  ...opcodes(),
  ...fragments(),
  ...textInFragments(),
  ...textNotUtf8(),
  ...characters(),
  ...closing(),
  ...limits(),
  row("10.1.1", "64 KiB, fragmented at every 1300 bytes", () => cut(request(1, 65_536), 1300), "ok 1"),
  ...ours(),
];

function framing(): Case[] {
  const sizes = [0, 125, 126, 127, 128, 65_535, 65_536];
  const texts = sizes.map((size, n) =>
    size === 0
      ? row("1.1.1", "an empty message", () => [text("")], "failed INVALID_INPUT", "close 4100")
      : row(`1.1.${n + 1}`, `a message of ${size} bytes`, () => [text(request(1, size))], "ok 1"),
  );
  const binaries = sizes.map((size, n) =>
    row(`1.2.${n + 1}`, `a binary message of ${size} bytes`, () => [binary(size)], "close 1003"),
  );
  return [
    ...texts,
    chopped("1.1.8", "a message of 65536 bytes in chops of 997", 997, () => [text(request(1, 65_536))], "ok 1"),
    ...binaries,
    chopped("1.2.8", "a binary message of 65536 bytes in chops of 997", 997, () => [binary(65_536)], "close 1003"),
  ];
}

function pings(): Case[] {
  const bytes = Buffer.from([0, 255, 254, 253, 252, 251, 0, 255]);
  const full = Buffer.alloc(125, 254);
  const pong = (payload = ""): OddFrame => ({ opcode: PONG, payload });
  const ten = Array.from({ length: 10 }, (_, i) => `payload-${i}`);
  const answers = ten.map((payload) => `pong ${hex(payload)}`);
  return [
    row("2.1", "a ping", () => [ping()], "pong "),
    row("2.2", "a ping with text", () => [ping("Hello, world!")], `pong ${hex("Hello, world!")}`),
    row("2.3", "a ping with bytes", () => [ping(bytes)], `pong ${hex(bytes)}`),
    row("2.4", "a ping of 125 bytes", () => [ping(full)], `pong ${hex(full)}`),
    row("2.5", "a ping of 126 bytes", () => [ping(Buffer.alloc(126, 254))], "close 1002"),
    chopped("2.6", "a ping of 125 bytes, octet by octet", 1, () => [ping(full)], `pong ${hex(full)}`),
    row("2.7", "a pong nobody asked for", () => [pong()]),
    row("2.8", "a pong nobody asked for, with payload", () => [pong("unsolicited")]),
    row("2.9", "a pong, then a ping", () => [pong("unsolicited"), ping("payload")], `pong ${hex("payload")}`),
    row("2.10", "ten pings", () => ten.map(ping), ...answers),
    chopped("2.11", "ten pings, octet by octet", 1, () => ten.map(ping), ...answers),
  ];
}

function reservedBits(): Case[] {
  const good = text(request(1));
  const odd = (reserved: number): OddFrame => ({ ...text(request(2)), reserved });
  return [
    row("3.1", "a message with bit 3", () => [odd(1)], "close 1002"),
    row("3.2", "a good one, one with bit 2, a ping", () => [good, odd(2), ping()], "ok 1", "close 1002"),
    framewise("3.3", "the same with bits 2 and 3, frame by frame", () => [good, odd(3), ping()], "ok 1", "close 1002"),
    chopped("3.4", "the same with bit 1, octet by octet", 1, () => [good, odd(4), ping()], "ok 1", "close 1002"),
    row("3.5", "a binary message with bits", () => [{ ...binary(8), reserved: 5 }], "close 1002"),
    row("3.6", "a ping with bits", () => [{ ...ping("x"), reserved: 6 }], "close 1002"),
    row("3.7", "a close with bits", () => [{ ...close(1000), reserved: 7 }], "close 1002"),
  ];
}

/** Five reserved codes for data and five for control, asked alike. */
function opcodes(): Case[] {
  return [3, 11].flatMap((first, part) => {
    const of = (n: number, payload = ""): OddFrame => ({ opcode: first + n - 1, payload });
    const good = text(request(1));
    const id = (n: number) => `4.${part + 1}.${n}`;
    const kind = part === 0 ? "data" : "control";
    return [
      row(id(1), `the reserved ${kind} opcode ${first}`, () => [of(1)], "close 1002"),
      row(id(2), `opcode ${first + 1} with payload`, () => [of(2, "reserved")], "close 1002"),
      row(id(3), `a message, opcode ${first + 2}, a ping`, () => [good, of(3), ping()], "ok 1", "close 1002"),
      row(id(4), `opcode ${first + 3} with payload`, () => [good, of(4, "reserved"), ping()], "ok 1", "close 1002"),
      chopped(id(5), `opcode ${first + 4}, octetwise`, 1, () => [good, of(5, "x"), ping()], "ok 1", "close 1002"),
    ];
  });
}

function fragments(): Case[] {
  const two = pieces(request(1), 9);
  const [first, second] = two as [OddFrame, OddFrame];
  const between = [first, ping("mid"), second];
  const pong = `pong ${hex("mid")}`;
  const control = (opcode: number) => [{ opcode, payload: "a", fin: false }, more("b")];
  const nothing = (fin: boolean) => [more("x", fin), text(request(1))];
  const five = pieces(request(1), 5, 9, 12, 15);
  const [a, b, c, d, e] = five as [OddFrame, OddFrame, OddFrame, OddFrame, OddFrame];
  const pongs = [`pong ${hex("1")}`, `pong ${hex("2")}`] as const;
  return [
    row("5.1", "a ping in two fragments", () => control(PING), "close 1002"),
    row("5.2", "a pong in two fragments", () => control(PONG), "close 1002"),
    row("5.3", "a message in two fragments", () => two, "ok 1"),
    framewise("5.4", "frame by frame", () => two, "ok 1"),
    chopped("5.5", "octet by octet", 1, () => two, "ok 1"),
    row("5.6", "a ping between fragments", () => between, pong, "ok 1"),
    framewise("5.7", "frame by frame", () => between, pong, "ok 1"),
    chopped("5.8", "octet by octet", 1, () => between, pong, "ok 1"),
    row("5.9", "nothing to continue, then a message", () => nothing(true), "close 1002"),
    framewise("5.10", "frame by frame", () => nothing(true), "close 1002"),
    chopped("5.11", "octet by octet", 1, () => nothing(true), "close 1002"),
    row("5.12", "nothing to continue and not the last", () => nothing(false), "close 1002"),
    framewise("5.13", "frame by frame", () => nothing(false), "close 1002"),
    chopped("5.14", "octet by octet", 1, () => nothing(false), "close 1002"),
    row(
      "5.15",
      "two fragments, then nothing to continue, then a message",
      () => [...two, more("x", false), text(request(2))],
      "ok 1",
      "close 1002",
    ),
    row("5.16", "nothing to continue, not the last, twice", () => [...nothing(false), ...nothing(false)], "close 1002"),
    row("5.17", "nothing to continue, twice", () => [...nothing(true), ...nothing(true)], "close 1002"),
    row("5.18", "a message within another", () => [first, text(request(2))], "close 1002"),
    raw(
      "5.19",
      "five fragments, pings between, and a wait",
      () => [bytes(a, b, ping("1")), "await answer", "wait", bytes(c, d, ping("2"), e)],
      pongs[0],
      "open",
      pongs[1],
      "ok 1",
    ),
    framewise("5.20", "the same without the wait", () => [a, b, ping("1"), c, d, ping("2"), e], ...pongs, "ok 1"),
  ];
}

function textInFragments(): Case[] {
  const german = "Hello-µ@ßöäüàá-UTF-8!!";
  const cutAt = PREFIX.length + Buffer.byteLength("Hello-µ@ßöä");
  const empty = (opcode: number, fin: boolean): OddFrame => ({ opcode, fin });
  const asked = (opcode: number, fin: boolean): OddFrame => ({ opcode, fin, payload: request(1) });
  const no = ["failed INVALID_INPUT", "close 4100"] as const;
  return [
    row("6.1.1", "an empty message", () => [text("")], ...no),
    row("6.1.2", "three empty fragments", () => [empty(TEXT, false), empty(MORE, false), empty(MORE, true)], ...no),
    row("6.1.3", "empty, full, empty", () => [empty(TEXT, false), asked(MORE, false), empty(MORE, true)], "ok 1"),
    row("6.2.1", "characters of two bytes", () => [text(holding(german))], `echo ${german}`),
    row("6.2.2", "cut between two characters", () => pieces(holding(german), cutAt), `echo ${german}`),
    row("6.2.3", "cut at every byte", () => cut(holding(german), 1), `echo ${german}`),
    row("6.2.4", "a Greek word, cut at every byte", () => cut(holding(GREEK), 1), `echo ${GREEK}`),
  ];
}

/** What cannot become UTF-8 is refused at the byte that makes it so, before the rest was sent: `await close` stands in front of that. */
function textNotUtf8(): Case[] {
  const surrogate = holding(GREEK, [0xed, 0xa0, 0x80], "edited");
  const past = holding(GREEK, [0xf4, 0x90, 0x80, 0x80], "edited");
  const at = PREFIX.length + GREEK.length;
  const inFrames = (from: number, to: number) => {
    const [first, second, third] = pieces(past, from, to).map((piece) => bytes(piece));
    return [first, "wait", second, "await close", third] as Chop[];
  };
  const inChops = (from: number, to: number) => {
    const frame = bytes(text(past));
    const header = frame.length - past.length;
    const [one, two] = [header + from, header + to];
    return [frame.subarray(0, one), "wait", frame.subarray(one, two), "await close", frame.subarray(two)] as Chop[];
  };
  return [
    row("6.3.1", "a surrogate", () => [text(surrogate)], "close 1007"),
    row("6.3.2", "a surrogate, cut at every byte", () => cut(surrogate, 1), "close 1007"),
    raw("6.4.1", "a good fragment, then a code past the last", () => inFrames(at, at + 4), "open", "close 1007"),
    raw("6.4.2", "the second up to the wrong byte", () => inFrames(at + 1, at + 2), "open", "close 1007"),
    raw("6.4.3", "6.4.1 in one frame, in chops", () => inChops(at, at + 4), "open", "close 1007"),
    raw("6.4.4", "6.4.2 in one frame, in chops", () => inChops(at + 1, at + 2), "open", "close 1007"),
  ];
}

/** Markus Kuhn's stress test of decoders. Parts of a line: bytes in hex, good where a plus stands before. */
function characters(): Case[] {
  const lonely = (first: number, end: number) => hex(range(first, end).flatMap((byte) => [byte, 0x20]));
  const short = ["c0", "e080", "f08080", "f8808080", "fc80808080", "df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf"];
  const planes = range(1, 17).flatMap((plane) => [(plane << 16) | 0xfffe, (plane << 16) | 0xffff]);
  const outside = planes.map((code) => `+${hex(String.fromCodePoint(code))}`).join(" ");
  const prefixes = range(1, 12).map((n) => `${[2, 5, 7, 9, 11].includes(n) ? "+" : ""}${hex(GREEK.subarray(0, n))}`);
  const whole = ["$", "¢", "€", "\u{24b62}"].map((middle) => `+${hex(`hello${middle}world`)}`);
  const lines: readonly (readonly [number, string, string])[] = [
    [5, "good text", `${whole.join(" ")} +${hex(GREEK)}`],
    [6, "the beginnings of a good text", prefixes.join(" ")],
    [7, "the first of a length", "+00 +c280 +e0a080 +f0908080"],
    [8, "the first of a length that there is none of", "f888808080 fc8480808080"],
    [9, "the last of a length", "+7f +dfbf +efbfbf +f48fbfbf"],
    [10, "the last of a length that there is none of", "f7bfbfbf fbbfbfbfbf fdbfbfbfbfbf"],
    [11, "other bounds", "+ed9fbf +ee8080 +efbfbd +f48fbfbf f4908080"],
    [12, "continuation bytes alone", `80 bf 80bf 80bf80 80bf80bf 80bf80bf80 80bf80bf80bf ${hex(range(0x80, 0xbf))}`],
    [
      13,
      "lead bytes alone",
      [
        [0xc0, 0xdf],
        [0xe0, 0xef],
        [0xf0, 0xf7],
        [0xf8, 0xfb],
        [0xfc, 0xfd],
      ]
        .map(([a, b]) => lonely(a as number, b as number))
        .join(" "),
    ],
    [14, "the last byte missing", short.join(" ")],
    [15, "all of these in a row", short.join("")],
    [16, "bytes that never stand", "fe ff fefeffff"],
    [17, "a slash overlong", "c0af e080af f08080af f8808080af fc80808080af"],
    [18, "the longest overlong", "c1bf e09fbf f08fbfbf f887bfbfbf fc83bfbfbfbf"],
    [19, "NUL overlong", "c080 e08080 f0808080 f880808080 fc8080808080"],
    [20, "single surrogates", "eda080 edadbf edae80 edafbf edb080 edbe80 edbfbf"],
    [
      21,
      "surrogates in pairs",
      ["eda080", "edadbf", "edae80", "edafbf"].flatMap((high) => [`${high}edb080`, `${high}edbfbf`]).join(" "),
    ],
    [22, "codes that are no characters", `+efbfbe +efbfbf ${outside}`],
    [23, "specials", "+efbfb9 +efbfba +efbfbb +efbfbc +efbfbd +efbfbe +efbfbf"],
  ];
  return lines.flatMap(([part, what, all]) =>
    all.split(" ").map((one, n) => character(`6.${part}.${n + 1}`, what, one)),
  );
}

function character(id: string, what: string, sign: string): Case {
  const payload = Buffer.from(sign.replace("+", ""), "hex");
  const send = () => [text(holding(payload))];
  const words = `${what}: ${hex(payload).slice(0, 32)}`;
  if (!sign.startsWith("+")) return row(id, words, send, "close 1007");
  return payload[0] === 0
    ? row(id, words, send, "failed INVALID_INPUT", "close 4100")
    : row(id, words, send, `echo ${payload.toString()}`);
}

function closing(): Case[] {
  const [first, second] = pieces(request(1), 9) as [OddFrame, OddFrame];
  const good = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
  const bad = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];
  const big = [text(request(1, 256 * KIB)), text(request(2)), close(1000), ping()];
  return [
    row("7.1.1", "a message, then a close", () => [text(request(1)), close(1000)], "ok 1", "close 1000"),
    row("7.1.2", "two closes", () => [close(1000), close(1001)], "close 1000"),
    row("7.1.3", "a ping after the close", () => [close(1000), ping()], "close 1000"),
    row("7.1.4", "a message after the close", () => [close(1000), text(request(1))], "close 1000"),
    row("7.1.5", "a close within a message", () => [first, close(1000), second], "close 1000"),
    row("7.1.6", "256 KiB, a message, a close, a ping", () => big, "ok 1", "ok 2", "close 1000"),
    row("7.3.1", "an empty close", () => [{ opcode: CLOSE }], "close"),
    row("7.3.2", "a close of one byte", () => [{ opcode: CLOSE, payload: "a" }], "close 1002"),
    row("7.3.3", "a close with a code", () => [close(1000)], "close 1000"),
    row("7.3.4", "a close with a reason", () => [close(1000, "Hello World!")], "close 1000"),
    row("7.3.5", "a close with the longest reason", () => [close(1000, "*".repeat(123))], "close 1000"),
    row("7.3.6", "a close with too long a reason", () => [close(1000, "*".repeat(124))], "close 1002"),
    row("7.5.1", "a reason that is not UTF-8", () => [close(1000, Buffer.from("cebaeda080", "hex"))], "close 1007"),
    ...good.map((code, n) => row(`7.7.${n + 1}`, `the code ${code}`, () => [close(code)], `close ${code}`)),
    ...bad.map((code, n) => row(`7.9.${n + 1}`, `${code}, which nobody may send`, () => [close(code)], "close 1002")),
    row("7.13.1", "5000, past all codes", () => [close(5000)], "close 1002"),
    row("7.13.2", "65535, the last that fits", () => [close(65_535)], "close 1002"),
  ];
}

function limits(): Case[] {
  const sizes = [64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB];
  const fragmentSizes = [64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB];
  const chops = [64, 128, 256, 512, 1024, 2048];
  const trips = [16, 64, 256, 1024, 4096];
  const kib = (size: number) => (size < KIB ? `${size} bytes` : `${size / KIB} KiB`);
  return [
    ...sizes.map((size, n) =>
      row(
        `9.1.${n + 1}`,
        `a message of ${kib(size)}`,
        () => [text(request(1, size))],
        size > MESSAGE_BYTES_MAX ? "close 1009" : "ok 1",
      ),
    ),
    ...sizes.map((size, n) =>
      row(`9.2.${n + 1}`, `a binary message of ${kib(size)}`, () => [binary(size)], "close 1003"),
    ),
    ...fragmentSizes.map((size, n) =>
      row(`9.3.${n + 1}`, `4 MiB in fragments of ${kib(size)}`, () => cut(request(1, 4 * MIB), size), "close 1009"),
    ),
    ...fragmentSizes.map((size, n) =>
      row(`9.4.${n + 1}`, `the same, binary: ${kib(size)}`, () => cut(request(1, 4 * MIB), size, BINARY), "close 1003"),
    ),
    ...chops.map((size, n) =>
      chopped(`9.5.${n + 1}`, `1 MiB in chops of ${size}`, size, () => [text(request(1, MIB))], "ok 1"),
    ),
    ...chops.map((size, n) =>
      chopped(`9.6.${n + 1}`, `the same, binary: ${size}`, size, () => [binary(MIB)], "close 1003"),
    ),
    row("9.7.1", "there and back with nothing", () => [text("")], "failed INVALID_INPUT", "close 4100"),
    ...trips.map((size, n) => roundTrips(`9.7.${n + 2}`, size)),
    ...[0, ...trips].map((size, n) =>
      row(`9.8.${n + 1}`, `there and back, binary: ${size}`, () => [binary(size)], "close 1003"),
    ),
  ];
}

/** Sixteen bytes are too few for a heartbeat request, and just enough for one that is refused by its id. */
function roundTrips(id: string, size: number): Case {
  const small = size < request(1).length;
  const message = bytes(text(small ? '{"id":1,"op":""}' : request(1, size)));
  const send = () => range(0, 250).flatMap(() => [message, "await answer" as const]);
  const answer = range(0, 250).map(() => (small ? "echo " : "ok 1"));
  return { id, what: `250 times ${size} bytes there and back`, send, answer, connections: 4 };
}

/** What the Autobahn suite does not ask. */
function ours(): Case[] {
  const [first, second] = pieces(request(1), 9) as [OddFrame, OddFrame];
  const announced = [BigInt(MESSAGE_BYTES_MAX + 1), 2n ** 32n, 2n ** 40n, 2n ** 53n, 2n ** 63n - 1n];
  const long = (frame: OddFrame, length: bigint): OddFrame => ({ ...frame, length, lengthBytes: 8 });
  const codes = [1012, 1013, 1014];
  const one = MESSAGE_BYTES_MAX + 1;
  const rows: readonly (readonly [string, () => Iterable<OddFrame>, ...string[]])[] = [
    ["a length in more bytes than it needs", () => [{ ...text(request(1)), lengthBytes: 8 }], "ok 1"],
    ["a message that is not masked", () => [{ ...text(request(1)), masked: false }], "close 1002"],
    ["a ping that is not masked", () => [{ ...ping(), masked: false }], "close 1002"],
    ["a pong of 126 bytes", () => [{ opcode: PONG, payload: Buffer.alloc(126) }], "close 1002"],
    ["two messages in fragments", () => [...pieces(request(1), 4), ...pieces(request(2), 8)], "ok 1", "ok 2"],
    ["a pong between fragments", () => [first, { opcode: PONG, payload: "mid" }, second], "ok 1"],
    ["a binary message within another", () => [first, { opcode: BINARY }], "close 1003"],
    ["a character begun by the last fragment", () => pieces(Buffer.from([0x20, 0xe1]), 1), "close 1007"],
    ["the largest message in one fragment and the rest", () => pieces(request(1, MIB), 4096, 500_000), "ok 1"],
    ["one byte more", () => [text(request(1, one))], "close 1009"],
    ["one byte more, in the last fragment", () => pieces(request(1, one), 4096, MESSAGE_BYTES_MAX), "close 1009"],
    ["a length of 2^63", () => [long(text(""), 2n ** 63n)], "close 1002"],
    ["a length of 2^64 - 1", () => [long(text(""), 2n ** 64n - 1n)], "close 1002"],
    ["a ping that announces 2^40 bytes", () => [long(ping(), 2n ** 40n)], "close 1002"],
  ];
  const all = [
    ...rows,
    ...announced.map((n) => [`a header that announces ${n}`, () => [long(text(""), n)], "close 1009"] as const),
    ...codes.map((code) => [`the close code ${code}`, () => [close(code)], `close ${code}`] as const),
    ...[64, 1024, 65_536].map(
      (size) => [`the largest message in fragments of ${size}`, () => cut(request(1, MIB), size), "ok 1"] as const,
    ),
  ];
  return all.map(([what, send, ...answer], n) => row(`ours ${n + 1}`, what, send, ...answer));
}

// ---- how a row is sent ----

/** As fast as the socket takes it. */
function row(id: string, what: string, frames: () => Iterable<OddFrame>, ...answer: string[]): Case {
  return { id, what, send: () => blocks(frames()), answer };
}

/** A write for each frame. */
function framewise(id: string, what: string, frames: () => OddFrame[], ...answer: string[]): Case {
  return { id, what, send: () => frames().map((frame) => clientFrame(frame)), answer };
}

/** Writes of so many bytes. */
function chopped(id: string, what: string, size: number, frames: () => OddFrame[], ...answer: string[]): Case {
  return { id, what, send: () => chopsOf(bytes(...frames()), size), answer };
}

function raw(id: string, what: string, send: () => Iterable<Chop>, ...answer: string[]): Case {
  return { id, what, send, answer };
}

function* blocks(frames: Iterable<OddFrame>): Iterable<Uint8Array> {
  let waiting: Uint8Array[] = [];
  let length = 0;
  for (const frame of frames) {
    waiting.push(clientFrame(frame));
    length += (waiting.at(-1) as Uint8Array).length;
    if (length < BLOCK_BYTES) continue;
    yield Buffer.concat(waiting);
    waiting = [];
    length = 0;
  }
  yield Buffer.concat(waiting);
}

function* chopsOf(whole: Uint8Array, size: number): Iterable<Uint8Array> {
  for (let from = 0; from < whole.length; from += size) yield whole.subarray(from, from + size);
}

// ---- frames ----

export function ping(payload: Uint8Array | string = ""): OddFrame {
  return { opcode: PING, payload };
}

export function text(payload: Uint8Array | string): OddFrame {
  return { opcode: TEXT, payload };
}

function binary(size: number): OddFrame {
  return { opcode: BINARY, payload: Buffer.alloc(size, 0xfe) };
}

function more(payload: string, fin = true): OddFrame {
  return { opcode: MORE, payload, fin };
}

function close(code: number, reason: Uint8Array | string = ""): OddFrame {
  return { opcode: CLOSE, payload: Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]) };
}

/** A message in fragments, cut at these places. */
function pieces(message: Uint8Array, ...cuts: number[]): OddFrame[] {
  return [0, ...cuts].map((from, i) => ({
    opcode: i === 0 ? TEXT : MORE,
    fin: i === cuts.length,
    payload: message.subarray(from, cuts[i] ?? message.length),
  }));
}

/** A message in fragments of one size. */
function* cut(message: Uint8Array, size: number, opcode = TEXT): Generator<OddFrame> {
  for (let from = 0; from < message.length; from += size) {
    const fin = from + size >= message.length;
    yield { opcode: from === 0 ? opcode : MORE, fin, payload: message.subarray(from, from + size) };
  }
}

// ---- messages ----

/** A heartbeat request of `size` bytes. */
function request(id: number, size = 0): Buffer {
  return Buffer.from(`{"op":"heartbeat","id":${id}}`.padEnd(size, " "));
}

/** A request whose refusal repeats these. */
function holding(...parts: readonly (string | Uint8Array | readonly number[])[]): Buffer {
  return Buffer.concat([PREFIX, ...parts, '","id":1}'].map((part) => Buffer.from(part as string)));
}

function bytes(...frames: OddFrame[]): Buffer {
  return Buffer.concat(frames.map((frame) => clientFrame(frame)));
}

export function hex(bytes: Uint8Array | string | readonly number[]): string {
  return Buffer.from(bytes as string).toString("hex");
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}
