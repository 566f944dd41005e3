import assert from 'node:assert/strict';

type Json = Record<string, unknown> | unknown[];

/** Applies the `add` operations of https://www.rfc-editor.org/rfc/rfc6902 as strictly as the apiserver does. */
export function applyPatch<T>(
  document: T,
  patch: readonly { readonly op: 'add'; readonly path: string; readonly value: unknown }[],
): T {
  const result = structuredClone(document);
  for (const { op, path, value } of patch) {
    assert.equal(op, 'add');
    const parts = path
      .split('/')
      .slice(1)
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
    const last = parts.pop() as string;
    let parent = result as Json;
    for (const part of parts) {
      assert.ok(Object.hasOwn(parent, part), `${path}: there is no ${part}`);
      parent = (parent as Record<string, Json>)[part] as Json;
    }
    if (Array.isArray(parent)) {
      const index = last === '-' ? parent.length : Number(last);
      assert.ok(index <= parent.length, `${path}: there is no such place`);
      parent.splice(index, 0, structuredClone(value));
    } else parent[last] = structuredClone(value);
  }
  return result;
}
