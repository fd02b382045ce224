import { readFileSync } from "node:fs";
import { OddswireError } from "./errors.ts";

/** A file's text. Throws FILE_NOT_FOUND, naming the file and what is wrong with it. */
export function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new OddswireError(
      "FILE_NOT_FOUND",
      `${path}: ${missing ? "there is no such file" : (error as Error).message}`,
    );
  }
}
