/** Words further apart than this share of their length are different words, not a typo. */
const TYPO_SHARE_MAX = 0.4;

/** The candidate that a mistyped word was probably meant to be. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: { readonly candidate: string; readonly distance: number } | undefined;
  for (const candidate of candidates) {
    // No need to look closer, which also bounds the work for over-long words.
    if (Math.abs(candidate.length - word.length) > candidate.length * TYPO_SHARE_MAX) continue;
    const distance = editDistance(word, candidate);
    if (distance > Math.max(word.length, candidate.length) * TYPO_SHARE_MAX) continue;
    if (best === undefined || distance < best.distance) best = { candidate, distance };
  }
  return best?.candidate;
}

/** Levenshtein's distance: how many single characters to insert, delete or replace. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const replaced = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(replaced, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
