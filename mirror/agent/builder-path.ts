import type { Registry } from '../../common/oci/reference.ts';
import type { OciRefusal } from '../registry/oci-error.ts';
import { type OciPath, parseOciPath } from '../registry/oci-path.ts';

/** No host has an underscore before its port; a path of an image reference holds no colon. */
const HOST = String.raw`(?:(?:[a-z0-9-]+\.)+[a-z0-9-]+|localhost)`;
/** `/v2/registry.example_5000/` */
const HOST_UNDERSCORE_PORT = new RegExp(String.raw`^/v2/(${HOST})_(\d{1,5})/`);
/** `/v2/ns/registry.example/`: kaniko takes what looks like a host at the beginning of a path for where to go itself. */
const NS_HOST = new RegExp(String.raw`^/v2/ns/(?=${HOST}(?:[_:]\d{1,5})?/)`);

/**
 * What a program in a pod asks for. The registry is in `?ns=` (containerd, BuildKit), or goes before the repository, where its port
 * may come after an underscore and `ns/` before it (what mirror settings with a path take), or is nowhere (dockerd): then it is the default one.
 */
export function parseBuilderPath(
  target: string,
  defaultRegistry: Registry,
): OciPath | { readonly refused: OciRefusal } {
  const hasNamespace = /[?&]ns=/.test(target);
  const path = parseOciPath(
    hasNamespace ? target : target.replace(NS_HOST, '/v2/').replace(HOST_UNDERSCORE_PORT, '/v2/$1:$2/'),
  );
  if ('refused' in path || path.kind === 'base' || path.registry !== undefined) return path;
  return { ...path, registry: defaultRegistry };
}
