import { readFileSync } from "node:fs";
import { OddswireError } from "./errors.ts";

/** A file's text. Throws FILE_NOT_FOUND, naming the file and what is wrong with it. */
export function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const { code = "error", message } = error as NodeJS.ErrnoException;
    throw new OddswireError("FILE_NOT_FOUND", `${path}: ${IN_WORDS[code] ?? message}`);
  }
}

const IN_WORDS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file; check the path",
  EISDIR: "is a folder; name a file",
  EACCES: "may not be read by this user; check its permissions",
};
