import { configInvalid } from '../common/config/mistake.ts';
import { type ProxyEnv, parseProxyEnv } from '../mirror/upstream/proxy-env.ts';
import type { ProgramDeps } from './program.ts';

/** How registries are asked, from the variables that other programs read too. Throws ERR_CONFIG_INVALID. */
export function readProxy(env: ProgramDeps['env']): ProxyEnv {
  const proxy = parseProxyEnv(env);
  if (!('name' in proxy)) return proxy;
  const fix = 'name one by http:// or https://, or unset it';
  throw configInvalid([{ name: proxy.name, source: 'environment', wrong: 'it is no URL of a proxy for HTTP', fix }]);
}
