import process from "node:process";
import { runCommand } from "./cli/command.ts";
import { endWithLauncher } from "./cli/signals.ts";

endWithLauncher();
// Who reads our output may end before us: `oddswire watch … | head`, or a collector of logs, which a gateway is to outlive.
process.stdout.on("error", () => process.exit(0));
process.stderr.on("error", () => {});
// Left to itself, Bun prints what nobody caught and goes on, a timer or a promise short. We end, for a supervisor to start us anew.
process.on("uncaughtException", ourMistake).on("unhandledRejection", ourMistake);

process.exit(await runCommand(process.argv.slice(2)));

function ourMistake(error: unknown): never {
  console.error("oddswire: a mistake of ours ended this process. Please report it, with what follows:", error);
  process.exit(70);
}
