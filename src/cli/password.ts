import process from "node:process";
import { hashPassword } from "../tenancy/passwords.ts";
import { PASSWORD_LENGTH_MAX } from "../tenancy/sessions.ts";
import { type Command, UsageError } from "./command.ts";

const LENGTH_MIN = 8;

export const password: Command = {
  name: "password",
  summary: "a password's hash for the configuration (visitors[].passwordHash), from standard input",
  options: {},
  examples: ["oddswire password", "oddswire password < password.txt"],
  async run() {
    const typed = process.stdin.isTTY ? await typedUnseen() : await piped();
    if (typed.length < LENGTH_MIN || typed.length > PASSWORD_LENGTH_MAX)
      throw new UsageError(
        `a password has ${LENGTH_MIN} to ${PASSWORD_LENGTH_MAX} characters, this one ${typed.length}`,
      );
    console.log(await hashPassword(typed, crypto));
    return 0;
  },
};

/** The first line; its end is no part of a password, whatever else is. */
async function piped(): Promise<string> {
  let text = "";
  process.stdin.setEncoding("utf8");
  for await (const piece of process.stdin) {
    text += piece;
    if (text.length > 4 * PASSWORD_LENGTH_MAX) break;
  }
  const [line = "", ...more] = text.replace(/\r?\n$/, "").split(/\r?\n/);
  if (more.length > 0) throw new UsageError("a password is one line, and here are several");
  return line;
}

/** Asks on standard error, so that standard output is the hash and nothing else; what is typed is not shown. */
function typedUnseen(): Promise<string> {
  const { stdin, stderr } = process;
  stderr.write("Password (not shown): ");
  stdin.setEncoding("utf8");
  stdin.setRawMode(true);
  return new Promise((resolve, reject) => {
    let typed = "";
    const done = (how: () => void) => {
      stdin.setRawMode(false);
      stdin.off("data", type).pause();
      stderr.write("\n");
      how();
    };
    const type = (keys: string) => {
      for (const key of keys) {
        if (key === "\r" || key === "\n" || key === "\x04") return done(() => resolve(typed));
        if (key === "\x03") return done(() => reject(new UsageError("given up")));
        typed = key === "\x7f" || key === "\b" ? [...typed].slice(0, -1).join("") : typed + key;
      }
    };
    stdin.on("data", type);
  });
}
