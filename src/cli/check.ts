import { type Option, options, readConfig } from "../config.ts";
import { type Call, type Command, UsageError } from "./command.ts";

export const check: Command = {
  name: "check",
  summary: "judges a configuration without starting anything",
  options: {
    config: { value: "FILE", help: "The configuration (JSON)." },
    options: { help: "Lists everything that a configuration may hold, with defaults and environment names." },
  },
  examples: ["oddswire check --config oddswire.json", "oddswire check --options"],
  async run(call) {
    if (call.flag("options")) {
      console.log(options().map(described).join("\n"));
      return 0;
    }
    const path = configPath(call);
    const { exchange, visitors, role } = readConfig(path, process.env);
    console.log(
      `${path} is good: role ${role}, exchange ${exchange.host}:${exchange.port}${exchange.tls ? "" : " WITHOUT TLS"}, ${visitors.length} visitors.`,
    );
    return 0;
  },
};

/** The --config option's value. Throws UsageError when there is none. */
export function configPath(call: Call): string {
  const path = call.text("config");
  if (path === undefined) throw new UsageError("--config FILE is needed");
  return path;
}

function described({ path, env, type, default: standard, required, help }: Option): string {
  const given = required ? "required" : standard === null ? "optional" : `default ${standard}`;
  return `${path} (${type}; ${given}${env === null ? "" : `; ${env}`})\n    ${help}`;
}
