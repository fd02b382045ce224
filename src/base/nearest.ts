/** Of the known words the one that a typo most likely meant; null where none is at most a third of its letters, or two, away. */
export function nearest(word: string, known: readonly string[]): string | null {
  const [best] = known.map((name) => ({ name, away: distance(word, name) })).sort((a, b) => a.away - b.away);
  return best !== undefined && best.away <= Math.max(2, word.length / 3) ? best.name : null;
}

/** Letters to add, take away or exchange to get from one to the other. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
