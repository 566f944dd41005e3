/** One operation of https://www.rfc-editor.org/rfc/rfc6902. Only `add`: what users wrote is never replaced or removed. */
export interface AddOperation {
  readonly op: 'add';
  readonly path: string;
  readonly value: unknown;
}

/** Adds at a path. The last part may be `-`, which is the end of a list. */
export function add(path: readonly (string | number)[], value: unknown): AddOperation {
  return { op: 'add', path: path.map((part) => `/${escapePart(String(part))}`).join(''), value };
}

/** https://www.rfc-editor.org/rfc/rfc6901#section-3 */
function escapePart(part: string): string {
  return part.replaceAll('~', '~0').replaceAll('/', '~1');
}
