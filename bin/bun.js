#!/usr/bin/env node
// Runs the pinned Bun that `npm ci` brought, whether or not install scripts were allowed to run: it comes in a package of its platform's,
// and the postinstall of the package `bun`, where it runs, moves it from there into its own folder.
import { spawn } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";

const require = createRequire(import.meta.url);

/** Less than this is not Bun, but the script that stands in its place until the postinstall has run. */
const BUN_BYTES_MIN = 1_000_000;

/** The path of the pinned Bun, or null where no package fits this platform. */
export function bunPath() {
  const [platform, end] = process.platform === "win32" ? ["windows", ".exe"] : [process.platform, ""];
  const base = `@oven/bun-${platform}-${process.arch === "arm64" ? "aarch64" : process.arch}`;
  const places = [
    [base, `bin/bun${end}`],
    [`${base}-musl`, "bin/bun"],
    ["bun", "bin/bun.exe"],
  ];
  for (const [name, file] of places) {
    try {
      const path = join(dirname(require.resolve(`${name}/package.json`)), file);
      if (existsSync(path) && statSync(path).size >= BUN_BYTES_MIN) return path;
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
  // Told who we are, it ends when we are killed without a chance to pass the signal on.
  const env = { ...process.env, ODDSWIRE_LAUNCHER: String(process.pid) };
  const child = spawn(bun, args, { stdio: "inherit", env });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  if (process.env.npm_command !== undefined) passOnTheEndOfNpm(child);
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
}

/** npm gives a signal to the shell between it and us, which dies of it and passes nothing on: that our parent is another one now is all we notice. */
function passOnTheEndOfNpm(child) {
  const shell = process.ppid;
  setInterval(() => process.ppid !== shell && child.kill("SIGTERM"), 200).unref();
}

if (process.argv[1] && import.meta.url === new URL(`file://${process.argv[1]}`).href) runBun(process.argv.slice(2));
