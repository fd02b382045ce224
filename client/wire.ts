/** Something that carries whole messages to the server. */
export interface Wire {
  send(text: string): void;
  /** Lets go at once; nothing is reported afterwards. */
  close(): void;
}

export interface WireHandlers {
  open(): void;
  /** One whole message. */
  message(text: string): void;
  /** It is over, or was never made. Codes are the WebSocket's: 1006 where the other side just vanished. */
  close(code: number, reason: string): void;
}

/** Starts a connection and returns at once; no handler is called before it has returned. */
export type OpenWire = (handlers: WireHandlers) => Wire;

/** A wire over the platform's own WebSocket (browsers, Bun, Node 22 and later). */
export function webSocketWire(url: string): OpenWire {
  return (handlers) => {
    const socket = new WebSocket(url);
    socket.onopen = () => handlers.open();
    socket.onmessage = (event) => {
      if (typeof event.data === "string") handlers.message(event.data);
    };
    socket.onclose = (event) => handlers.close(event.code, event.reason);
    return { send: (text) => socket.send(text), close: () => socket.close(1000) };
  };
}
