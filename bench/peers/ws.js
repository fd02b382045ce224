// A peer of bench W8: `ws` on Node. node ws.js FOLDER PORT MESSAGES, where FOLDER has it installed; a line on standard input is a flush.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [folder, port, file] = process.argv.slice(2);
const { WebSocketServer } = createRequire(`${folder}/`)("ws");
const messages = JSON.parse(readFileSync(file, "utf8"));
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(port), backlog: 4096, perMessageDeflate: false });
server.on("listening", () => console.log("listening"));
server.on("connection", (socket) => socket.on("error", () => {}));
createInterface({ input: process.stdin }).on("line", () => {
  for (const message of messages) for (const socket of server.clients) socket.send(message);
});
