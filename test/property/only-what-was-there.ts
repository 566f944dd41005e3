/** What we write on a pod, corrected where somebody else wrote it. */
const OURS = ['miroir.dev/admitted', 'miroir.dev/gate-applied'];

/** A patched document with nothing but what the original has: keys by name, items of lists by their place. */
export function onlyWhatWasThere(patched: unknown, original: unknown): unknown {
  if (Array.isArray(original))
    return original.map((item, index) => onlyWhatWasThere((patched as unknown[])[index], item));
  if (typeof original !== 'object' || original === null) return patched;
  return Object.fromEntries(
    Object.entries(original).map(([key, value]) => [
      key,
      OURS.includes(key) ? value : onlyWhatWasThere((patched as Record<string, unknown>)[key], value),
    ]),
  );
}
