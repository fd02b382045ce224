#!/usr/bin/env node
import process from "node:process";
// `oddswire …`: hands over to src/main.ts under the pinned Bun.
import { fileURLToPath } from "node:url";
import { runBun } from "./bun.js";

runBun([fileURLToPath(new URL("../src/main.ts", import.meta.url)), ...process.argv.slice(2)]);
