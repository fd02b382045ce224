/**
 * What the betting API says when it refuses, in both of its dialects.
 *
 * The exchange has two kinds of words. `ANGX-…` is its own exception (APINGException), told apart by its errorCode; the number is the code's place in the
 * exchange's interface definition. `DSC-…` comes from the framework below it, before the operation has seen anything: not JSON, a parameter missing or of
 * another type, no such operation.
 */
const EXCEPTIONS = {
  TOO_MUCH_DATA: { number: 1, http: 400 },
  INVALID_INPUT_DATA: { number: 2, http: 400 },
  INVALID_SESSION_INFORMATION: { number: 3, http: 400 },
  NO_APP_KEY: { number: 4, http: 400 },
  NO_SESSION: { number: 5, http: 400 },
  UNEXPECTED_ERROR: { number: 6, http: 500 },
  INVALID_APP_KEY: { number: 7, http: 400 },
  TOO_MANY_REQUESTS: { number: 8, http: 400 },
  SERVICE_BUSY: { number: 9, http: 503 },
  REQUEST_SIZE_EXCEEDS_LIMIT: { number: 14, http: 400 },
  ACCESS_DENIED: { number: 15, http: 400 },
} as const;

const FRAMEWORK = {
  /** Not JSON. */
  "DSC-0008": { rpc: -32700, http: 400 },
  /** A value of another type, or none of an enum's. */
  "DSC-0009": { rpc: -32602, http: 400 },
  /** A parameter that must be there is not. */
  "DSC-0018": { rpc: -32602, http: 400 },
  /** No such operation. */
  "DSC-0021": { rpc: -32601, http: 404 },
  /** JSON, but not a request. */
  "DSC-0024": { rpc: -32600, http: 400 },
} as const;

export type ExceptionCode = keyof typeof EXCEPTIONS;
export type FrameworkCode = keyof typeof FRAMEWORK;

/** Why a call is refused; `details` are words for the person at the other end. */
export type BettingFault =
  | { readonly kind: "exception"; readonly code: ExceptionCode; readonly details: string }
  | { readonly kind: "framework"; readonly code: FrameworkCode; readonly details: string };

export function exception(code: ExceptionCode, details: string): BettingFault {
  return { kind: "exception", code, details };
}

export function isExceptionCode(code: string): code is ExceptionCode {
  return Object.hasOwn(EXCEPTIONS, code);
}

/** The id that a JSON-RPC answer carries: the call's, where that is a text or a number. What else it is, however deep, is no id. */
export function rpcId(id: unknown): unknown {
  return typeof id === "object" ? null : id;
}

/** The `error` member of a JSON-RPC answer. */
export function rpcError(fault: BettingFault, requestUuid: string): object {
  if (fault.kind === "framework")
    return { code: FRAMEWORK[fault.code].rpc, message: fault.code, data: { message: fault.details } };
  return { code: -32099, message: exceptionNumber(fault.code), data: exceptionDetail(fault, requestUuid) };
}

/** The whole answer of the REST form, with its HTTP status. */
export function restFault(fault: BettingFault, requestUuid: string): { status: number; body: object } {
  if (fault.kind === "framework") {
    const body = { faultcode: "Client", faultstring: fault.code, detail: { message: fault.details } };
    return { status: FRAMEWORK[fault.code].http, body };
  }
  const { http } = EXCEPTIONS[fault.code];
  const faultcode = http >= 500 ? "Server" : "Client";
  const detail = exceptionDetail(fault, requestUuid);
  return { status: http, body: { faultcode, faultstring: exceptionNumber(fault.code), detail } };
}

function exceptionNumber(code: ExceptionCode): string {
  return `ANGX-${String(EXCEPTIONS[code].number).padStart(4, "0")}`;
}

function exceptionDetail({ code, details }: BettingFault, requestUUID: string): object {
  return { APINGException: { requestUUID, errorCode: code, errorDetails: details }, exceptionname: "APINGException" };
}
