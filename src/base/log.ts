export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** What a room may say about itself. Shape of a pino logger, so that `app` can hand one in; secrets never go in as fields. */
export interface Log {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
}

/** Says nothing: for tests and the simulator. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };
