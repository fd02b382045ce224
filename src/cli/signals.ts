import process from "node:process";

/** Resolves when the process is asked to end (Ctrl-C, SIGTERM). */
export function untilStopped(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
  });
}

const LAUNCHER_CHECK_MS = 200;

/** Ends the process when the launcher that started it is gone: killed, it could pass no signal on, and its ports would stay taken. */
export function endWithLauncher(): void {
  const launcher = Number(process.env.ODDSWIRE_LAUNCHER);
  if (!Number.isInteger(launcher) || process.ppid !== launcher) return;
  setInterval(() => process.ppid !== launcher && process.exit(1), LAUNCHER_CHECK_MS).unref();
}
