import type { dlopen } from 'node:ffi';

type Definitions = NonNullable<Parameters<typeof dlopen>[1]>;

export interface Native<T extends Definitions> {
  readonly functions: ReturnType<typeof dlopen<T>>['functions'];
  /** Where memory is, for structures that point to it: it must outlive them, which nothing but a reference sees to. */
  readonly addressOf: (memory: ArrayBuffer) => bigint;
}

/**
 * Functions of the C library and of OpenSSL that this process has in it anyway, for what Node's own modules do at several times the
 * cost. Undefined where they cannot be had: a Node without node:ffi, which is experimental, another C library, another OpenSSL.
 * Whoever calls this must have another way, and must see to it that no call waits.
 */
export function openNative<const T extends Definitions>(definitions: T): Native<T> | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    const ffi = withoutWarning(() => process.getBuiltinModule('node:ffi'));
    return ffi && { functions: ffi.dlopen(null, definitions).functions, addressOf: ffi.getRawPointer };
  } catch {
    return undefined;
  }
}

/** That node:ffi is experimental is known, and no news for who runs a mirror: a line on stderr is one that something is to be done about. */
function withoutWarning<T>(act: () => T): T {
  const emitWarning = process.emitWarning.bind(process);
  process.emitWarning = () => {};
  try {
    return act();
  } finally {
    process.emitWarning = emitWarning;
  }
}
