import process from "node:process";
import { runCommand } from "./cli/command.ts";
import { endWithLauncher } from "./cli/signals.ts";

endWithLauncher();
process.exit(await runCommand(process.argv.slice(2)));
