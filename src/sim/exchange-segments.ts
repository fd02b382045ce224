/** Where a message stands among the segments of a large one; null: it is whole. */
export type SegmentType = "SEG_START" | "SEG" | "SEG_END" | null;

export interface SegmentOfMessage {
  readonly type: SegmentType;
  /** `mc` entries joined by commas; empty when there is nothing to say. */
  readonly entries: string;
}

/** Groups the texts of `mc` entries into messages of about `bytesMax`, each holding at least one; lazily, so that an image of 20,000 markets is never in one piece. */
export function* segments(texts: Iterable<string>, bytesMax: number): Generator<SegmentOfMessage> {
  let entries: string[] = [];
  let bytes = 0;
  let before = 0;
  for (const text of texts) {
    if (entries.length > 0 && bytes + text.length > bytesMax) {
      yield { type: before++ === 0 ? "SEG_START" : "SEG", entries: entries.join(",") };
      [entries, bytes] = [[], 0];
    }
    entries.push(text);
    bytes += text.length + 1;
  }
  yield { type: before === 0 ? null : "SEG_END", entries: entries.join(",") };
}
