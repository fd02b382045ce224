import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import { crc32, createGunzip } from "node:zlib";
import Bunzip from "seek-bzip";
import { extract } from "tar-stream";
import { fromBufferPromise } from "yauzl";

/** How deep archives may lie in each other: a .bz2 in a .tar in a .gz is three. */
const NESTING_MAX = 5;
/** bzip2 and zip want their compressed bytes at hand; a file of either beyond this is refused. */
const COMPRESSED_BYTES_MAX = 512 * 1024 * 1024;
/** A tar's magic ends here: enough of a file to know every kind. */
const MAGIC_BYTES = 262;

/** One text file, however deep in archives it lay. `name` tells the way: "month.tar:1.23.bz2". */
export interface Member {
  readonly name: string;
  /** To be read to its end before the next member is asked for. */
  readonly bytes: AsyncIterable<Uint8Array>;
}

/**
 * The text files in a plain file, a .gz, .bz2, .zip or .tar, or any of these in each other; in file order.
 * The first bytes decide, not the name: files are renamed more often than repacked. Throws plain errors on damage.
 */
export function archiveMembers(path: string): AsyncGenerator<Member> {
  return unpack(path, createReadStream(path), 0);
}

async function* unpack(name: string, source: AsyncIterable<Uint8Array>, depth: number): AsyncGenerator<Member> {
  if (depth > NESTING_MAX) throw new Error(`archives lie in each other more than ${NESTING_MAX} deep`);
  const { head, bytes } = await peek(source);
  switch (kindOf(name, head)) {
    case "gzip":
      return yield* unpack(name, gunzip(bytes), depth + 1);
    case "bzip2":
      return yield* unpack(name, bunzip(await collect(bytes)), depth + 1);
    case "zip":
      return yield* unzip(name, await collect(bytes), depth + 1);
    case "tar":
      return yield* untar(name, bytes, depth + 1);
    case "plain":
      yield { name, bytes };
  }
}

type Kind = "gzip" | "bzip2" | "zip" | "tar" | "plain";

function kindOf(name: string, head: Buffer): Kind {
  if (head[0] === 0x1f && head[1] === 0x8b) return "gzip";
  const start = head.toString("latin1", 0, 4);
  if (/^BZh[1-9]/.test(start)) return "bzip2";
  if (start === "PK\x03\x04" || start === "PK\x05\x06") return "zip";
  // The oldest tars carry no magic; their name is all there is to go by.
  if (head.toString("latin1", 257, 262) === "ustar" || (name.endsWith(".tar") && head[0] !== 0x7b)) return "tar";
  return "plain";
}

/** The first bytes of a source, and the source with them still in it. */
async function peek(source: AsyncIterable<Uint8Array>): Promise<{ head: Buffer; bytes: AsyncIterable<Uint8Array> }> {
  const rest = source[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < MAGIC_BYTES) {
    const { value, done } = await rest.next();
    if (done === true) break;
    head = Buffer.concat([head, value]);
  }
  return { head, bytes: putBack(head, rest) };
}

async function* putBack(head: Buffer, rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    if (head.length > 0) yield head;
    for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
  } finally {
    await rest.return?.();
  }
}

async function collect(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of bytes) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > COMPRESSED_BYTES_MAX)
      throw new Error(`more than ${COMPRESSED_BYTES_MAX} compressed bytes in one file`);
  }
  return Buffer.concat(chunks, length);
}

function gunzip(bytes: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  const source = Readable.from(bytes);
  const gunzipped = createGunzip();
  source.on("error", (error) => gunzipped.destroy(error));
  return source.pipe(gunzipped);
}

/** Block by block (at most 900 kB before run-length coding), so that the text never lies in memory as a whole. */
async function* bunzip(compressed: Buffer): AsyncGenerator<Uint8Array> {
  const output = new GrowingOutput();
  let at = 0;
  const input = new Bunzip.Stream();
  input.readByte = () => {
    if (at >= compressed.length) throw new Error("the bzip2 data end in the middle");
    return compressed[at++] as number;
  };
  const bunzip = new Bunzip(input, output);
  for (;;) {
    while (bunzip._init_block()) {
      bunzip._read_bunzip();
      yield output.take();
    }
    if (bunzip.reader.read(32) >>> 0 !== bunzip.streamCRC) throw new Error("the bzip2 checksum is wrong");
    // Parallel compressors write one stream after the other.
    if (at >= compressed.length) return;
    bunzip._start_bunzip(input, output);
  }
}

class GrowingOutput extends Bunzip.Stream {
  #buffer = Buffer.alloc(1 << 20);
  #length = 0;

  override writeByte(byte: number): void {
    if (this.#length === this.#buffer.length) this.#buffer = Buffer.concat([this.#buffer], this.#length * 2);
    this.#buffer[this.#length++] = byte;
  }

  take(): Uint8Array {
    const taken = Buffer.from(this.#buffer.subarray(0, this.#length));
    this.#length = 0;
    return taken;
  }
}

async function* unzip(name: string, compressed: Buffer, depth: number): AsyncGenerator<Member> {
  const zip = await fromBufferPromise(compressed, { lazyEntries: true });
  for await (const entry of zip.eachEntry()) {
    if (entry.fileName.endsWith("/") || isDebris(entry.fileName)) continue;
    const stream = await zip.openReadStreamPromise(entry);
    yield* unpack(`${name}:${entry.fileName}`, checked(stream, entry.crc32), depth);
  }
}

/** yauzl checks lengths, not sums. */
async function* checked(bytes: AsyncIterable<Uint8Array>, expected: number): AsyncGenerator<Uint8Array> {
  let sum = 0;
  for await (const chunk of bytes) {
    sum = crc32(chunk, sum);
    yield chunk;
  }
  if (sum !== expected) throw new Error("the zip checksum is wrong");
}

async function* untar(name: string, bytes: AsyncIterable<Uint8Array>, depth: number): AsyncGenerator<Member> {
  const source = Readable.from(bytes);
  const tar = extract();
  source.on("error", (error) => tar.destroy(error));
  source.pipe(tar);
  for await (const entry of tar) {
    if (entry.header.type === "file" && !isDebris(entry.header.name)) {
      yield* unpack(`${name}:${entry.header.name}`, entry as AsyncIterable<Uint8Array>, depth);
    } else entry.resume();
  }
}

/** What a Mac leaves in archives. */
function isDebris(path: string): boolean {
  return path.startsWith("__MACOSX/") || (path.split("/").pop() as string).startsWith(".");
}
