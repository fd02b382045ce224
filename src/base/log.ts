import type { Clock } from "./clock.ts";

export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** What a room may say about itself; secrets never go in as fields. */
export interface Log {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
}

/** Says nothing: for tests and the simulator. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };

const LEVELS = { debug: 20, info: 30, warn: 40, error: 50 } as const;
export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** JSON lines as pino writes them (level 20 to 50, time, fields, msg), from `least` on; `write` takes a line with its end. */
export function jsonLog(least: LogLevel, { wall }: Pick<Clock, "wall">, write: (line: string) => void): Log {
  if (least === "silent") return silentLog;
  const at = (name: keyof typeof LEVELS) => {
    const level = LEVELS[name];
    if (level < LEVELS[least]) return () => {};
    return (fields: LogFields, message: string) =>
      write(`${JSON.stringify({ level, time: new Date(wall()).toISOString(), ...fields, msg: message })}\n`);
  };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}
