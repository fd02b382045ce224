import process from "node:process";
import type { ReplayProgress } from "../sim/replay.ts";

/** A line on a terminal that each call replaces; null ends it. Undefined where nobody looks. */
export function progressLine(): ((text: string | null) => void) | undefined {
  if (!process.stderr.isTTY) return undefined;
  return (text) => void process.stderr.write(text === null ? "\r\x1b[K" : `\r\x1b[K${text}`);
}

/** How far a replay is, for a terminal. */
export function replayProgress(): ((progress: ReplayProgress) => void) | undefined {
  const line = progressLine();
  if (line === undefined) return undefined;
  return ({ messages, changes, pt, round }) =>
    line(
      `${messages.toLocaleString("en")} messages, ${changes.toLocaleString("en")} changes, at ${new Date(pt).toISOString()}${round > 1 ? `, round ${round}` : ""}`,
    );
}
