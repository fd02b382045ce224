/** What leaves by one door, for all its connections together: plain counters, read by ops. */
export class Traffic {
  /** Connections taken, and those of them that are over. */
  opened = 0;
  closed = 0;
  /** Messages framed for users, replies and heartbeats included. */
  frames = 0;
  /** Calls of a socket's write, and the bytes that were taken by them; TLS comes on top. */
  writes = 0;
  bytes = 0;
}
