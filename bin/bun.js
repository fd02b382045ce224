#!/usr/bin/env node
// Runs the pinned Bun that `npm ci` brought, whether or not install scripts were allowed to run:
// the npm package `bun` only links the binary in a postinstall step, so we look the platform's package up ourselves.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";

const require = createRequire(import.meta.url);

/** The path of the pinned Bun, or null where no package fits this platform. */
export function bunPath() {
  const base = `@oven/bun-${process.platform === "win32" ? "windows" : process.platform}-${process.arch === "arm64" ? "aarch64" : process.arch}`;
  for (const name of [base, `${base}-musl`]) {
    try {
      const path = join(
        dirname(require.resolve(`${name}/package.json`)),
        "bin",
        process.platform === "win32" ? "bun.exe" : "bun",
      );
      if (existsSync(path)) return path;
    } catch {
      // not installed: the next one may be
    }
  }
  return null;
}

/** Runs Bun with these arguments in this terminal; passes signals on and exits as it exits. */
export function runBun(args) {
  const bun = bunPath();
  if (bun === null) {
    console.error(
      `oddswire: no Bun for ${process.platform}-${process.arch} in node_modules. Run \`npm ci\` here, with optional packages allowed.`,
    );
    process.exit(1);
  }
  const child = spawn(bun, args, { stdio: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
}

if (process.argv[1] && import.meta.url === new URL(`file://${process.argv[1]}`).href) runBun(process.argv.slice(2));
