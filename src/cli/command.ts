import { parseArgs } from "node:util";
import { OddswireError } from "../base/errors.ts";

/** One option of a command, as `--help` shows it. */
export interface OptionSpec {
  /** Absent: a flag. */
  readonly value?: string;
  /** May be given more than once. */
  readonly many?: boolean;
  readonly help: string;
  readonly default?: string;
}

export interface CommandSpec {
  readonly name: string;
  readonly summary: string;
  /** Names of what stands after the options, such as "FILE…". */
  readonly operands?: string;
  readonly options: Readonly<Record<string, OptionSpec>>;
  readonly examples: readonly string[];
}

/** What a command was called with. */
export interface Call {
  readonly operands: readonly string[];
  text(name: string): string | undefined;
  flag(name: string): boolean;
  /** All values of an option that may be given more than once. */
  list(name: string): readonly string[];
  /** A number within bounds; throws what is wrong with it in words. */
  number(name: string, least: number, most: number): number | undefined;
}

export interface Command extends CommandSpec {
  /** Does it; resolves to the exit code. */
  run(call: Call): Promise<number>;
}

/** A mistake in how a command was called: one line that says what to do, exit code 2. */
export class UsageError extends Error {}

/** Reads a command's arguments. Throws UsageError. */
export function readCall(spec: CommandSpec, argv: readonly string[]): Call {
  const entries = Object.entries<OptionSpec>({ ...spec.options, help: HELP });
  const options = Object.fromEntries(
    entries.map(([name, { value, many = false }]) => [
      name,
      { type: value === undefined ? ("boolean" as const) : ("string" as const), multiple: many },
    ]),
  );
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({
      args: [...argv],
      options,
      allowPositionals: spec.operands !== undefined,
      strict: true,
    }) as typeof parsed;
  } catch (error) {
    throw new UsageError((error as Error).message.split(". ")[0] ?? String(error));
  }
  const text = (name: string) => (parsed.values[name] as string | undefined) ?? spec.options[name]?.default;
  return {
    operands: parsed.positionals,
    text,
    list: (name) => (parsed.values[name] as string[] | undefined) ?? [],
    flag: (name) => parsed.values[name] === true,
    number(name, least, most) {
      const given = text(name);
      if (given === undefined) return undefined;
      const value = Number(given);
      if (given.trim() === "" || !(value >= least && value <= most))
        throw new UsageError(`--${name} takes a number from ${least} to ${most}, not "${given}"`);
      return value;
    },
  };
}

const HELP: OptionSpec = { help: "Shows this." };

/** The --config option's value. Throws UsageError when there is none. */
export function configPath(call: Call): string {
  const path = call.text("config");
  if (path === undefined) throw new UsageError("--config FILE is needed");
  return path;
}

/** A command's own page of help. */
export function helpOf(spec: CommandSpec): string {
  const entries = Object.entries({ ...spec.options, help: HELP });
  const left = entries.map(([name, option]) => `--${name}${option.value === undefined ? "" : ` ${option.value}`}`);
  const width = Math.max(...left.map((words) => words.length));
  const rows = entries.map(([, option], i) => {
    const given = option.default === undefined ? "" : ` (default ${option.default})`;
    return `  ${(left[i] as string).padEnd(width)}  ${option.help}${given}`;
  });
  return [
    `oddswire ${spec.name}: ${spec.summary}`,
    "",
    `Usage: oddswire ${spec.name} [options]${spec.operands === undefined ? "" : ` ${spec.operands}`}`,
    "",
    "Options:",
    ...rows,
    "",
    "Examples:",
    ...spec.examples.map((example) => `  ${example}`),
  ].join("\n");
}

/** The first page of help. */
export function overview(commands: readonly CommandSpec[]): string {
  const width = Math.max(...commands.map(({ name }) => name.length));
  return [
    "oddswire: one connection to the exchange in, live prices to every user out.",
    "",
    "Usage: oddswire COMMAND [options]",
    "",
    "Commands:",
    ...commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    "",
    "`oddswire COMMAND --help` shows a command's options and examples. New here? Try `oddswire demo`.",
  ].join("\n");
}

/** Commands and where they live; each is loaded when it is asked for, as a gateway has no need of a simulator in its memory. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  demo: async () => (await import("./demo.ts")).demo,
  serve: async () => (await import("./serve.ts")).serve,
  simulate: async () => (await import("./simulate.ts")).simulate,
  watch: async () => (await import("./watch.ts")).watch,
  verify: async () => (await import("./verify.ts")).verify,
  check: async () => (await import("./check.ts")).check,
};

/** Runs what was asked for; resolves to the exit code. Mistakes are one line on standard error that says what to do; 2 for usage. */
export async function runCommand(
  argv: readonly string[],
  print = console.log,
  complain = console.error,
): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    print(overview(await Promise.all(Object.values(COMMANDS).map((load) => load()))));
    return name === undefined ? 2 : 0;
  }
  const load = COMMANDS[name];
  if (load === undefined) {
    complain(`oddswire: there is no command "${name}". Commands: ${Object.keys(COMMANDS).join(", ")}.`);
    return 2;
  }
  const command = await load();
  if (rest.includes("--help") || rest.includes("-h")) {
    print(helpOf(command));
    return 0;
  }
  try {
    return await command.run(readCall(command, rest));
  } catch (error) {
    if (error instanceof UsageError) {
      complain(`oddswire ${name}: ${error.message}. See \`oddswire ${name} --help\`.`);
      return 2;
    }
    if (!(error instanceof OddswireError)) throw error;
    complain(`oddswire ${name}: ${error.code}: ${error.message}`);
    return 1;
  }
}
