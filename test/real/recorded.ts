import { type BookState, firstDifference, NaiveBook } from "../../src/sim/naive.ts";
import { type RecordingMessage, recordingMessages } from "../../src/sim/recording.ts";

/** The market recordings of a folder, by their path in it; single messages, other ops and the page about them left out. */
export async function marketRecordings(folder: string): Promise<string[]> {
  const files = [...new Bun.Glob("*/*").scanSync({ cwd: folder })].sort();
  const markets = await Promise.all(files.map(async (file) => (await firstOp(`${folder}/${file}`)) === "mcm"));
  return files.filter((_, at) => markets[at]);
}

/** A recording held in memory: what stands after its first `messages`, all of them by default. */
export class Recorded {
  readonly messages: readonly RecordingMessage[];

  constructor(messages: readonly RecordingMessage[]) {
    this.messages = messages;
  }

  static async read(path: string): Promise<Recorded> {
    const messages: RecordingMessage[] = [];
    for await (const { message } of recordingMessages(path)) messages.push(message);
    return new Recorded(messages);
  }

  /** The naive book's states, sorted by market id. */
  states(messages = this.messages.length): BookState[] {
    const books = new Map<string, NaiveBook>();
    for (const message of this.messages.slice(0, messages))
      for (const change of message.mc ?? []) {
        if (!books.has(change.id)) books.set(change.id, new NaiveBook(change.id));
        books.get(change.id)?.apply(change);
      }
    return [...books.values()].map((book) => book.state()).sort((a, b) => (a.market < b.market ? -1 : 1));
  }
}

/** Where two lists of books part first, in words, or null. */
export function bookDifference(ours: readonly BookState[], theirs: readonly BookState[]): string | null {
  const ids = (books: readonly BookState[]) => books.map((book) => book.market).join(" ");
  if (ids(ours) !== ids(theirs)) return `markets: ${ids(ours)} against ${ids(theirs)}`;
  for (const [at, book] of ours.entries()) {
    const found = firstDifference(withZeroVolumes(book), withZeroVolumes(theirs[at] as BookState));
    if (found !== null) return `${book.market} ${found}`;
  }
  return null;
}

/** betfairlightweight starts volumes at 0 where we say that nothing is known yet. */
function withZeroVolumes(book: BookState): BookState {
  const runners = book.runners.map((runner) => ({ ...runner, tv: runner.tv ?? 0 }));
  return { ...book, totalMatched: book.totalMatched ?? 0, runners };
}

async function firstOp(path: string): Promise<string | null> {
  if (/\.(md|json)$/.test(path)) return null;
  for await (const { message } of recordingMessages(path)) return message.op;
  return null;
}
