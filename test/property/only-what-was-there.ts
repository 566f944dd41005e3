/** What we write on a pod, corrected where somebody else wrote it. */
const OURS = ['miroir.dev/admitted', 'miroir.dev/gate-applied', 'miroir.dev/sidecar-applied'];
/** What we put before what is there. */
const AGENT = 'miroir-agent';

/** A patched document with nothing but what the original has: keys by name, items of lists by their place. */
export function onlyWhatWasThere(patched: unknown, original: unknown): unknown {
  if (Array.isArray(original)) {
    const items = patched as unknown[];
    const isOurs = nameOf(items[0]) === AGENT && nameOf(original[0]) !== AGENT;
    return original.map((item, index) => onlyWhatWasThere(items[isOurs ? index + 1 : index], item));
  }
  if (typeof original !== 'object' || original === null) return patched;
  return Object.fromEntries(
    Object.entries(original).map(([key, value]) => [
      key,
      OURS.includes(key) ? value : onlyWhatWasThere((patched as Record<string, unknown>)[key], value),
    ]),
  );
}

function nameOf(item: unknown): unknown {
  return (item as { readonly name?: unknown } | null | undefined)?.name;
}
