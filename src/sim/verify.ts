import { OddswireError } from "../base/errors.ts";
import { Playthrough, type SampledState } from "./judge.ts";
import { type Asked, EVERYTHING } from "./onlooker.ts";
import { playThrough, type Stage, type Through } from "./playthrough.ts";

/** Differences named a file; the rest is counted. */
const DIFFERENCES_NAMED_MAX = 5;
const PROGRESS_EVERY_MS = 250;

export interface VerifyOptions {
  readonly files: readonly string[];
  readonly through: Through;
  /** What the client asks for; by default everything, as it comes. */
  readonly asked?: Asked;
  /** Print every state that came through as a JSON line; the table then goes where notes go. */
  readonly dump: boolean;
}

/** Where `verify` prints. */
export interface Printer {
  /** A line of the result. */
  print(line: string): void;
  /** A line beside it (standard error). */
  note(line: string): void;
  /** How far it is, for a terminal: each replaces the last, null clears. Absent where nobody looks. */
  progress?(text: string | null): void;
}

/**
 * `oddswire verify`: plays each recording through the house and compares what comes out with the naive book.
 * A row a file, then the sum; a file that cannot be played counts as failed and the others go on. Returns the exit code.
 */
export async function verify(options: VerifyOptions, stage: Stage, printer: Printer): Promise<0 | 1> {
  const { conflateMs } = options.asked ?? EVERYTHING;
  const table = options.dump ? printer.note : printer.print;
  const nameWidth = Math.max(4, ...options.files.map((file) => file.length));
  let [failed, bytes] = [0, 0];
  table(row(nameWidth, "file", ["messages", "markets", "states", "differences", "seconds"]));
  for (const file of options.files) {
    const went = new Playthrough();
    const began = stage.clock.monotonic();
    const error = await playOne(file, options, stage, printer, went);
    const seconds = ((stage.clock.monotonic() - began) / 1000).toFixed(2);
    const counts = [went.messages, went.markets, went.states, went.differences.length].map(thousands);
    table(row(nameWidth, file, [...counts, seconds]));
    for (const line of complaints(went, conflateMs, error)) table(`  ${line}`);
    if (error !== null || went.differences.length > 0 || went.isTooQuickFor(conflateMs)) failed++;
    bytes += went.bytes;
  }
  table(`${thousands(bytes)} bytes of JSON came through`);
  table(`${options.files.length - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

/** Null when it was played to its end. */
async function playOne(
  file: string,
  options: VerifyOptions,
  stage: Stage,
  printer: Printer,
  went: Playthrough,
): Promise<OddswireError | null> {
  const came = (state: SampledState) => void (options.dump && printer.print(JSON.stringify(state)));
  const stopProgress = showProgress(file, stage, printer, went);
  try {
    const { through, asked = EVERYTHING } = options;
    await playThrough(file, { through, asked }, stage, went, came);
    return null;
  } catch (error) {
    if (error instanceof OddswireError) return error;
    // A mistake of ours: one file's, for all we know, and the stack is what its report needs.
    return new OddswireError("UNEXPECTED_ERROR", (error as Error).stack ?? String(error));
  } finally {
    stopProgress();
  }
}

function showProgress(file: string, stage: Stage, printer: Printer, went: Playthrough): () => void {
  const { progress } = printer;
  if (progress === undefined) return () => {};
  const show = () => {
    const share = went.changesOf === 0 ? "counting" : `${Math.floor((100 * went.changes) / went.changesOf)} %`;
    progress(`${file}: ${share}, ${thousands(went.messages)} messages, ${went.states} states`);
    timer = stage.clock.after(PROGRESS_EVERY_MS, show);
  };
  let timer = stage.clock.after(PROGRESS_EVERY_MS, show);
  return () => {
    timer.cancel();
    progress(null);
  };
}

function complaints(went: Playthrough, conflateMs: number, error: OddswireError | null): string[] {
  const named = went.differences.slice(0, DIFFERENCES_NAMED_MAX);
  const lines = named.map(({ market, n, of, where }) => `${market} after change ${n} of ${of}: ${where} came`);
  const more = went.differences.length - named.length;
  if (more > 0) lines.push(`and ${thousands(more)} more`);
  if (went.isTooQuickFor(conflateMs))
    lines.push(`${went.flushes} messages in ${Math.round(went.flushesMs)} ms are not one in ${conflateMs} ms`);
  if (went.reconnects > 0) lines.push(`the client had to connect again ${went.reconnects} times, though nobody cut it`);
  if (error !== null) lines.push(`${error.code}: ${error.message}`);
  return lines;
}

function row(nameWidth: number, name: string, columns: readonly string[]): string {
  return `${name.padEnd(nameWidth)}${columns.map((column) => column.padStart(13)).join("")}`;
}

function thousands(count: number): string {
  return count.toLocaleString("en-US");
}
