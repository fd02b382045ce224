import process from "node:process";
import { runCommand } from "./cli/command.ts";

process.exit(await runCommand(process.argv.slice(2)));
