// A peer of bench W8: socket.io on Node. node socketio.js FOLDER PORT MESSAGES, where FOLDER has it installed; a line on standard input is a flush.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [folder, port, file] = process.argv.slice(2);
const { Server } = createRequire(`${folder}/`)("socket.io");
const messages = JSON.parse(readFileSync(file, "utf8"));
const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, pingInterval: 300_000 });
io.on("connection", (socket) => socket.join("prices"));
http.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 }, () => console.log("listening"));
createInterface({ input: process.stdin }).on("line", () => {
  for (const message of messages) io.to("prices").emit("prices", message);
});
