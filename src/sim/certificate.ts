import { generate } from "selfsigned";

/** A certificate for loopback that vouches for itself, PEM: for demos and tests, where it is also what the client trusts. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

const DAYS = 30;

/** Makes a new one; good for localhost, 127.0.0.1 and these names, where a hosts file sends them to an address of ours. */
export async function loopbackCertificate(names: readonly string[] = []): Promise<Certificate> {
  const now = Date.now();
  const pems = await generate([{ name: "commonName", value: "localhost" }], {
    keyType: "ec",
    algorithm: "sha256",
    notBeforeDate: new Date(now - 3_600_000),
    notAfterDate: new Date(now + DAYS * 86_400_000),
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      {
        name: "subjectAltName",
        altNames: [
          ...["localhost", ...names].map((value) => ({ type: 2 as const, value })),
          { type: 7, ip: "127.0.0.1" },
        ],
      },
    ],
  });
  return { cert: pems.cert, key: pems.private };
}
