// A peer to compare with: a pairing server as one would write it on express and socket.io, with their defaults.
// It speaks the Purrr.chat dialect.
import { createServer } from "node:http";
import express from "express";
import { Server } from "socket.io";

/** Events that are passed on to the partner, and the names under which they arrive there. */
const PASSED_ON = {
  read_message: "mark_as_read",
  typing_start: "show_typing",
  typing_stop: "hide_typing",
  start_video_call: "recieve_video_call",
  accept_video_call: "accepted_video_call",
  refuse_video_call: "refused_video_calL",
  hang_video_call: "hanged_video_call",
  "chat message": "chat message",
  "image upload": "image upload",
};

const app = express();
app.get("/", (_request, response) => response.send("purrr"));
const http = createServer(app);
const io = new Server(http, {
  cors: { origin: "http://localhost:3000", methods: ["GET", "POST"] },
  maxHttpBufferSize: 12_000_000,
});

/** Sockets that look for a partner, in the order in which they came. */
const waiting = new Set();

io.on("connection", (socket) => {
  socket.on("init_user", ({ name, publicKey }) => {
    socket.data.name = name;
    socket.data.publicKey = publicKey;
  });

  socket.on("find_partner", () => {
    if (socket.data.partner || waiting.has(socket)) return;
    const [partner] = waiting;
    if (!partner) {
      waiting.add(socket);
      socket.emit("waiting");
      return;
    }
    waiting.delete(partner);
    match(socket, partner);
    match(partner, socket);
  });

  socket.on("send_message", ({ message, image, reply }) => {
    toPartner("receive_message", { from: socket.data.name, body: message, image, reply });
  });

  for (const [name, arrivesAs] of Object.entries(PASSED_ON)) {
    socket.on(name, (payload) => {
      if (payload === undefined) toPartner(arrivesAs);
      else toPartner(arrivesAs, payload);
    });
  }

  socket.on("disconnect_partner", () => {
    if (part()) socket.emit("partner_disconnected");
  });
  socket.on("disconnect", part);

  function toPartner(name, ...payload) {
    const { partner } = socket.data;
    if (partner) partner.emit(name, ...payload);
    else socket.emit("error", { message: "No partner found." });
  }

  /** Leaves the partner or the queue. Returns whether there was a partner. */
  function part() {
    waiting.delete(socket);
    const { partner } = socket.data;
    if (!partner) return false;
    partner.data.partner = undefined;
    socket.data.partner = undefined;
    partner.emit("partner_disconnected");
    return true;
  }
});

function match(socket, partner) {
  socket.data.partner = partner;
  socket.emit("matched", { partnerName: partner.data.name, partnerPk: partner.data.publicKey });
}

http.listen(Number(process.env.PORT ?? 3007), "127.0.0.1");
