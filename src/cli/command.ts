import { parseArgs } from "node:util";
import packageJson from "../../package.json" with { type: "json" };
import { OddswireError } from "../base/errors.ts";
import { LOG_LEVELS, type LogLevel } from "../base/log.ts";
import { nearest } from "../base/nearest.ts";

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
  /** A whole number within bounds (`any`: or what lies between two). Throws UsageError, as `word` does. */
  number(name: string, least: number, most: number, step?: "whole" | "any"): number | undefined;
  /** One of these words. */
  word<Word extends string>(name: string, words: readonly Word[]): Word | undefined;
  /** The options that were said, and do not stand there by default. */
  readonly said: readonly string[];
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
    parsed = parseArgs({ args: [...argv], options, allowPositionals: true, strict: true }) as typeof parsed;
  } catch (error) {
    throw new UsageError(inWords(error as ParseError, Object.keys(options)));
  }
  if (spec.operands === undefined && parsed.positionals.length > 0)
    throw new UsageError(`"${parsed.positionals[0]}" is not an option, and nothing else is taken`);
  const text = (name: string) => (parsed.values[name] as string | undefined) ?? spec.options[name]?.default;
  return {
    operands: parsed.positionals,
    text,
    list: (name) => (parsed.values[name] as string[] | undefined) ?? [],
    flag: (name) => parsed.values[name] === true,
    said: Object.keys(parsed.values),
    number(name, least, most, step = "whole") {
      const given = text(name);
      if (given === undefined) return undefined;
      const value = Number(given);
      const fits = value >= least && value <= most && (step === "any" || Number.isInteger(value));
      if (given.trim() === "" || !fits) {
        const kind = step === "any" ? "number" : "whole number";
        throw new UsageError(`--${name} takes a ${kind} from ${least} to ${most}, not "${given}"`);
      }
      return value;
    },
    word(name, words) {
      const given = text(name);
      const found = words.find((word) => word === given);
      if (given !== undefined && found === undefined)
        throw new UsageError(`--${name} is one of ${words.join(", ")}, not "${given}"`);
      return found;
    },
  };
}

type ParseError = Error & { readonly code?: string };

/** What `parseArgs` has against the arguments, with what was probably meant. */
function inWords({ code, message }: ParseError, names: readonly string[]): string {
  const [, option = ""] = /'(?:-\w, )?(--?[^'\s]+)/.exec(message) ?? [];
  if (code === "ERR_PARSE_ARGS_UNKNOWN_OPTION") {
    const meant = nearest(option.replace(/^-+/, ""), names);
    return `there is no option ${option}${meant === null ? "" : `; did you mean --${meant}?`}`;
  }
  if (message.includes("does not take")) return `${option} takes no value: leave it out, or say ${option} alone`;
  return `${option} needs a value; one that begins with a dash is written ${option}=-1`;
}

/** The --log option, which `demo` and `simulate` share. */
export const LOG_OPTION: OptionSpec = {
  value: "LEVEL",
  help: `Log lines on standard error: ${LOG_LEVELS.join(", ")}.`,
  default: "warn",
};

/** Its value. Throws UsageError. */
export function logLevel(call: Call): LogLevel {
  return call.word("log", LOG_LEVELS) as LogLevel;
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
    "`oddswire COMMAND --help` shows a command's options and examples; `oddswire --version` says which this is.",
    "New here? Try `oddswire demo`.",
  ].join("\n");
}

/** Commands and where they live; each is loaded when it is asked for, as a gateway has no need of a simulator in its memory. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  demo: async () => (await import("./demo.ts")).demo,
  serve: async () => (await import("./serve.ts")).serve,
  simulate: async () => (await import("./simulate.ts")).simulate,
  watch: async () => (await import("./watch.ts")).watch,
  verify: async () => (await import("./verify.ts")).verify,
  shadow: async () => (await import("./shadow.ts")).shadow,
  loadtest: async () => (await import("./loadtest.ts")).loadtest,
  check: async () => (await import("./check.ts")).check,
  password: async () => (await import("./password.ts")).password,
};

/** Runs what was asked for; resolves to the exit code. Mistakes are one line on standard error that says what to do; 2 for usage. */
export async function runCommand(
  argv: readonly string[],
  print = console.log,
  complain = console.error,
): Promise<number> {
  const [name, ...rest] = argv[0] === "help" ? [...argv.slice(1, 2), "--help"] : argv;
  if (name === undefined || name === "--help" || name === "-h") {
    print(overview(await Promise.all(Object.values(COMMANDS).map((load) => load()))));
    return name === undefined ? 2 : 0;
  }
  if (name === "--version" || name === "version") {
    print(`oddswire ${packageJson.version}`);
    return 0;
  }
  const load = COMMANDS[name];
  if (load === undefined) {
    const meant = nearest(name, Object.keys(COMMANDS));
    const hint = meant === null ? `Commands: ${Object.keys(COMMANDS).join(", ")}.` : `Did you mean \`${meant}\`?`;
    complain(`oddswire: there is no command "${name}". ${hint} See \`oddswire --help\`.`);
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
      const end = error.message.endsWith("?") ? "" : ".";
      complain(`oddswire ${name}: ${error.message}${end} See \`oddswire ${name} --help\`.`);
      return 2;
    }
    if (!(error instanceof OddswireError)) throw error;
    complain(`oddswire ${name}: ${error.code}: ${error.message}`);
    return 1;
  }
}
