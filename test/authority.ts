import { generate } from "selfsigned";
import type { Certificate } from "../src/sim/certificate.ts";

/** One that signs client certificates, made for a test. */
export interface Authority {
  /** PEM. */
  readonly cert: string;
  sign(commonName: string): Promise<Certificate>;
}

const OPTIONS = { keyType: "ec", algorithm: "sha256" } as const;

export async function authority(): Promise<Authority> {
  const { cert, private: key } = await generate([{ name: "commonName", value: "An authority" }], {
    ...OPTIONS,
    extensions: [{ name: "basicConstraints", cA: true, critical: true }],
  });
  return {
    cert,
    async sign(commonName) {
      const pems = await generate([{ name: "commonName", value: commonName }], { ...OPTIONS, ca: { cert, key } });
      return { cert: pems.cert, key: pems.private };
    },
  };
}
