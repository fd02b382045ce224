import { accessSync, constants, statSync, writeFileSync } from "node:fs";
import { OddswireError } from "../base/errors.ts";
import { UsageError } from "./command.ts";

/** The files named, all of which must be there to be read. Throws FILE_NOT_FOUND. */
export function existingFiles(paths: readonly string[]): readonly string[] {
  if (paths.length === 0) throw new UsageError("name at least one file");
  for (const path of paths) {
    try {
      accessSync(path, constants.R_OK);
    } catch {
      throw new OddswireError("FILE_NOT_FOUND", `${path}: there is no such file, or it cannot be read`);
    }
    if (statSync(path).isDirectory())
      throw new OddswireError("FILE_NOT_FOUND", `${path} is a folder; name the files in it`);
  }
  return paths;
}

/** Writes a file anew. Throws FILE_NOT_FOUND, naming it and what is wrong with it. */
export function writeText(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code;
    throw new OddswireError(
      "FILE_NOT_FOUND",
      `${path} cannot be written (${reason}): name a file in a folder of yours`,
    );
  }
}
