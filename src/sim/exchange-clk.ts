/**
 * The two clocks of a subscription as this exchange writes them. Opaque to clients; told apart here:
 * initialClk names this exchange's life and the criteria asked for, clk how far the messages went.
 */
export function initialClkOf(epoch: string, criteria: string): string {
  return `${epoch}/${hash(criteria)}`;
}

export function clkOf(position: number): string {
  return `AA${position.toString(36)}`;
}

/** The position a clk stands for, or null when it is none of ours. */
export function positionOf(clk: string): number | null {
  return /^AA[0-9a-z]{1,10}$/.test(clk) ? Number.parseInt(clk.slice(2), 36) : null;
}

/** FNV-1a, 32 bits: two criteria that share one are a chance in four thousand million. */
function hash(text: string): string {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return (h >>> 0).toString(36);
}
