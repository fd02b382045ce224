import { type Option, options, readConfig } from "../config.ts";
import { type Command, configPath } from "./command.ts";

export const check: Command = {
  name: "check",
  summary: "judges a configuration without starting anything",
  options: {
    config: { value: "FILE", help: "The configuration (JSON)." },
    json: { help: "Prints the configuration in force, defaults and environment included: secrets too." },
    options: { help: "Lists everything that a configuration may hold, with defaults and environment names." },
  },
  examples: ["oddswire check --config oddswire.json", "oddswire check --options"],
  async run(call) {
    if (call.flag("options")) {
      console.log(options().map(described).join("\n"));
      return 0;
    }
    const path = configPath(call);
    const config = readConfig(path, process.env);
    if (call.flag("json")) {
      console.log(JSON.stringify(config));
      return 0;
    }
    const { exchange, visitors, role } = config;
    console.log(
      `${path} is good: role ${role}, exchange ${exchange.host}:${exchange.port}${exchange.tls ? "" : " WITHOUT TLS"}, ${visitors.length} visitors${visitors.length === 0 ? ", so nobody may come in" : ""}.`,
    );
    return 0;
  },
};

function described({ path, env, type, default: standard, required, help }: Option): string {
  const given = required ? "required" : standard === null ? "optional" : `default ${standard}`;
  return `${path} (${type}; ${given}${env === null ? "" : `; ${env}`})\n    ${help}`;
}
