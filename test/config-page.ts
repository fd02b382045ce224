/** docs/CONFIG.md, made of the schema. `node bin/bun.js test/config-page.ts` writes it anew; a test says when that is due. */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Option, options } from "../src/config.ts";

export function configPage(): string {
  return `# Configuration

A JSON file, given to \`oddswire serve --config FILE\`; \`oddswire check --config FILE\` judges it without starting anything and names every mistake.
What the environment sets wins over the file. Lists can only stand in the file. A door that is not named is not opened (\`http\` and \`websocket\` always are). This page is made of the schema in \`src/config.ts\`.

| option | type | default | environment | what for |
| --- | --- | --- | --- | --- |
${options().map(row).join("\n")}
`;
}

function row(option: Option): string {
  const fallback = option.default === null ? (option.required ? "must be given" : "") : `\`${option.default}\``;
  const env = option.env === null ? "" : `\`${option.env}\``;
  return `| \`${option.path}\` | ${option.type.replaceAll("|", "\\|")} | ${fallback} | ${env} | ${option.help} |`;
}

if (import.meta.main) writeFileSync(fileURLToPath(new URL("../docs/CONFIG.md", import.meta.url)), configPage());
