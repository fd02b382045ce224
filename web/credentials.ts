import { byId, setText } from "./dom.ts";

/** What `GET /v1/info` says: where the WebSocket door is, and in a demo how to get through it. */
export interface Info {
  readonly version: string;
  readonly websocket: { readonly url?: string; readonly port?: number; readonly path?: string };
  readonly demo?: Credentials;
}

export interface Credentials {
  readonly session: string;
  readonly appKey?: string;
}

const STORED = "oddswire.credentials";
/** How long the gateway may take to say what it is, milliseconds. */
const INFO_MS_MAX = 5_000;

/** Asks the gateway what it is. */
export async function fetchInfo(): Promise<Info> {
  const response = await fetch("/v1/info", { signal: AbortSignal.timeout(INFO_MS_MAX), cache: "no-store" });
  if (!response.ok) throw new Error(`the gateway answered ${response.status}`);
  return response.json();
}

export function webSocketUrl({ websocket }: Info): string {
  if (websocket.url) return websocket.url;
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const port = websocket.port ?? location.port;
  return `${scheme}://${location.hostname}${port === "" ? "" : `:${port}`}${websocket.path ?? "/"}`;
}

/** The demo's credentials, or those kept in this tab, or those that the visitor types in now. */
export async function credentialsFor(info: Info): Promise<Credentials> {
  return info.demo ?? storedCredentials() ?? (await askForCredentials(null));
}

/** Opens the form, with why the last ones were refused; they are kept until the tab closes. */
export function askForCredentials(refusal: string | null): Promise<Credentials> {
  sessionStorage.removeItem(STORED);
  const dialog = byId<HTMLDialogElement>("sign-in");
  const note = byId("sign-in-refusal");
  note.hidden = refusal === null;
  setText(note, refusal ?? "");
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(storeCredentials(dialog)), { once: true });
  });
}

function storeCredentials(dialog: HTMLDialogElement): Credentials {
  const form = new FormData(dialog.querySelector("form") as HTMLFormElement);
  const appKey = String(form.get("appKey") ?? "").trim();
  const credentials = { session: String(form.get("session") ?? "").trim(), ...(appKey && { appKey }) };
  sessionStorage.setItem(STORED, JSON.stringify(credentials));
  return credentials;
}

function storedCredentials(): Credentials | null {
  const stored = sessionStorage.getItem(STORED);
  return stored === null ? null : JSON.parse(stored);
}
