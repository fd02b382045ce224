import { expect, test } from "bun:test";
import { fileURLToPath } from "node:url";
import { Passwords } from "../tenancy/passwords.ts";

const MAIN = fileURLToPath(new URL("../main.ts", import.meta.url));

/** `oddswire password` with this on its standard input. */
async function hashOf(input: string) {
  const child = Bun.spawn([process.execPath, MAIN, "password"], {
    stdin: new TextEncoder().encode(input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [printed, complaint] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code: await child.exited, printed, complaint };
}

test("`oddswire password` prints a hash of the line, whole and without its end", async () => {
  const passwords = new Passwords(crypto);
  for (const end of ["", "\n", "\r\n"]) {
    const { code, printed, complaint } = await hashOf(` pass wörd ${end}`);
    expect([code, complaint]).toEqual([0, ""]);
    const held = passwords.hold({ passwordHash: printed.trimEnd() });
    expect([await passwords.verify(" pass wörd ", held), await passwords.verify("pass wörd", held)]).toEqual([
      true,
      false,
    ]);
  }
});

test("`oddswire password` takes one line of a fitting length, and repeats none of it", async () => {
  for (const [input, says] of [
    ["", "this one 0"],
    ["seven77\n", "this one 7"],
    ["x".repeat(1_025), "this one 1025"],
    ["secret-one\nsecret-two\n", "one line"],
  ] as const) {
    const { code, printed, complaint } = await hashOf(input);
    expect([code, printed]).toEqual([2, ""]);
    expect(complaint).toContain(says);
    expect(complaint).not.toContain("secret");
  }
});
