/** The part of seek-bzip that we use: its own `decode` wants the whole output in memory, its block steps do not. */
declare module "seek-bzip" {
  interface ByteStream {
    readByte(): number;
    writeByte(byte: number): void;
  }
  export default class Bunzip {
    static readonly Stream: new () => ByteStream;
    constructor(input: ByteStream, output: ByteStream);
    /** The CRC of all blocks so far. */
    readonly streamCRC: number;
    readonly reader: { read(bits: number): number };
    /** Reads a block in; false at the end of the stream. Throws on damage. */
    _init_block(): boolean;
    /** Writes the block out and checks its CRC. */
    _read_bunzip(): number;
    /** Reads the header of a (further) stream. */
    _start_bunzip(input: ByteStream, output: ByteStream): void;
  }
}
