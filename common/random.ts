/**
 * Numbers from 0 to below 1, as Math.random's, that the seed gives again: for ties, jitter and shuffles, so that what a
 * process decided by chance can be repeated. Never for secrets. Marsaglia's xorshift of 32 bits, "Xorshift RNGs" (2003).
 */
export function createRandom(seed: number): () => number {
  // Seeds that are close must not start alike, and from zero there is no way out.
  let state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
