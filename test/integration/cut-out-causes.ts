/** The body of an apiserver's refusal. */
export interface Refusal {
  readonly details?: { readonly causes?: readonly { readonly field?: string }[] };
}

/**
 * The object without what the apiserver says that it is refused for: each field by the path that it names, or what holds the field
 * where that is missing. Undefined when it names none.
 */
export function cutOutCauses<T extends object>(object: T, { details }: Refusal): T | undefined {
  const paths = (details?.causes ?? []).map(({ field = '' }) => field.match(/[^.[\]]+/g) ?? []);
  const result = structuredClone(object);
  let isCut = false;
  for (const path of paths) isCut = cutOut(result, path) || isCut;
  return isCut ? dropHoles(result) : undefined;
}

/** Whether there was anything to cut out. Lists keep their places until all is cut out, since paths count them. */
function cutOut(object: object, path: readonly string[]): boolean {
  const parents: [Record<string, unknown>, string][] = [];
  let place: unknown = object;
  for (const part of path) {
    if (typeof place !== 'object' || place === null) break;
    parents.push([place as Record<string, unknown>, part]);
    place = (place as Record<string, unknown>)[part];
  }
  const [holder, key] = parents.findLast(([parent, part]) => parent[part] !== undefined) ?? [];
  // The whole of a pod is not cut out.
  if (holder === undefined || key === undefined || holder === object) return false;
  holder[key] = undefined;
  return true;
}

function dropHoles<T>(value: T): T {
  if (Array.isArray(value)) return value.filter((item) => item !== undefined).map(dropHoles) as T;
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([, item]) => item !== undefined);
  return Object.fromEntries(kept.map(([key, item]) => [key, dropHoles(item)])) as T;
}
