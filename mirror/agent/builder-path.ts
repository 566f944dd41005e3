import type { Registry } from '../../common/oci/reference.ts';
import type { OciRefusal } from '../registry/oci-error.ts';
import { type OciPath, parseOciPath } from '../registry/oci-path.ts';

/** `/v2/registry.example_5000/`: a path of an image reference holds no colon, and no host has an underscore before its port. */
const HOST_UNDERSCORE_PORT = /^\/v2\/((?:[a-z0-9-]+\.)+[a-z0-9-]+|localhost)_(\d{1,5})\//;

/**
 * What a program in a pod asks for. The registry is in `?ns=` (containerd, BuildKit), or goes before the repository, where its port
 * may come after an underscore (what mirror settings with a path take), or is nowhere (dockerd): then it is the default one.
 */
export function parseBuilderPath(
  target: string,
  defaultRegistry: Registry,
): OciPath | { readonly refused: OciRefusal } {
  const hasNamespace = /[?&]ns=/.test(target);
  const path = parseOciPath(hasNamespace ? target : target.replace(HOST_UNDERSCORE_PORT, '/v2/$1:$2/'));
  if ('refused' in path || path.kind === 'base' || path.registry !== undefined) return path;
  return { ...path, registry: defaultRegistry };
}
