// A peer of bench W8: uWebSockets on Node. node uwebsockets.js FOLDER PORT MESSAGES, where FOLDER has it installed; a line on standard input is a flush.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [folder, port, file] = process.argv.slice(2);
const uWS = createRequire(`${folder}/`)("uwebsockets");
const messages = JSON.parse(readFileSync(file, "utf8"));
const app = uWS.App();
app.ws("/*", { compression: uWS.DISABLED, idleTimeout: 0, open: (socket) => void socket.subscribe("prices") });
app.listen("127.0.0.1", Number(port), (listening) => console.log(listening ? "listening" : "cannot listen"));
createInterface({ input: process.stdin }).on("line", () => {
  for (const message of messages) app.publish("prices", message, false);
});
