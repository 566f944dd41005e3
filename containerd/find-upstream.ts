import fs from 'node:fs/promises';
import path from 'node:path';
import type { Registry } from '../common/oci/reference.ts';
import { stripHosts } from './certs-change.ts';
import { DEFAULT_FOLDER, findFolder, folderNames, readFolders } from './certs-d.ts';
import type { ConfiguredRegistry } from './configure.ts';
import { defaultUpstream } from './hosts-merge.ts';
import { type HostSettings, type HostsFile, NO_HOSTS, parseHostsToml } from './hosts-toml.ts';

/** Where a registry itself answers, as containerd would reach it. */
export interface Upstream {
  /** The base of its API, `/v2` included, without a slash at its end. */
  readonly url: string;
  /** Authorities besides the usual ones, in PEM. */
  readonly ca: readonly string[];
  /** What is shown to a registry that wants to know who asks by TLS. */
  readonly client: readonly ClientCertificate[];
  /** False when containerd was told to take any certificate. */
  readonly isVerified: boolean;
}

/** In PEM. */
export interface ClientCertificate {
  readonly cert: string;
  readonly key: string;
}

export interface FindUpstreamOptions {
  readonly certsDir: string;
  /** Those whose upstream is not what their name says. */
  readonly registries: readonly ConfiguredRegistry[];
}

/** A bundle of all public authorities is a quarter of that. */
const PEM_BYTES_MAX = 1024 * 1024;

/**
 * The registry that a name stands for: what `registries` says, else `server` of its hosts.toml, else what containerd makes of the
 * name. `ca`, `client` and `skip_verify` are taken from hosts.toml, as far as the files can be read from here. Undefined when there
 * is no such URL. Throws ERR_HOSTS_FILE_INVALID.
 */
export async function findUpstream(
  { certsDir, registries }: FindUpstreamOptions,
  name: Registry,
): Promise<Upstream | undefined> {
  const folders = await readFolders(certsDir, [DEFAULT_FOLDER, ...folderNames(name)]);
  const folder = findFolder(folders, name) ?? folders.get(DEFAULT_FOLDER);
  // With our blocks: what they say was said by a person, or was the default.
  const text = folder?.hosts?.bytes.toString('utf8') ?? '';
  const isEmpty = folder === undefined || stripHosts(folder).base === '';
  const file: HostsFile = text === '' ? NO_HOSTS : parseHostsToml(text, path.join(folder?.path ?? '', 'hosts.toml'));
  const listed = registries.find((registry) => registry.name === name)?.upstream;
  const server = listed ?? file.server ?? defaultUpstream(name) ?? `http://${name}`;
  const settings: HostSettings = {
    ...(isEmpty && folder?.certificates),
    ...file.root,
    ...[...file.hosts].find(([url]) => originOf(url) === originOf(server))?.[1],
  };
  const url = apiUrl(server, settings.override_path === true);
  if (url === undefined) return undefined;
  const at = folder?.path ?? certsDir;
  const [ca, client] = await Promise.all([readAll(at, settings.ca), readPairs(at, settings.client)]);
  return { url, ca, client, isVerified: settings.skip_verify !== true };
}

/** As containerd makes it: `/v2` is put at the end, unless it is there or the path is said to be whole. */
function apiUrl(server: string, isPathWhole: boolean): string | undefined {
  const url = URL.parse(/^https?:\/\//.test(server) ? server : `https://${server}`);
  if (url === null || url.username !== '' || url.password !== '') return undefined;
  const base = url.pathname.replace(/\/+$/, '');
  return `${url.origin}${isPathWhole || base.endsWith('/v2') ? base : `${base}/v2`}`;
}

function originOf(url: string): string | undefined {
  return URL.parse(/^https?:\/\//.test(url) ? url : `https://${url}`)?.origin;
}

/** What cannot be read here may be readable on the node: then the registry's certificate is not trusted, and it is not asked. */
async function readAll(folder: string, files: HostSettings['ca']): Promise<readonly string[]> {
  const paths = files === undefined ? [] : typeof files === 'string' ? [files] : files;
  return (await Promise.all(paths.map((file) => readPem(folder, file)))).filter((text) => text !== '');
}

/** A file alone holds the certificate and its key. Of a pair that cannot be read whole nothing is shown. */
async function readPairs(folder: string, files: HostSettings['client']): Promise<readonly ClientCertificate[]> {
  const entries = files === undefined ? [] : typeof files === 'string' ? [files] : files;
  const pairs = entries.map(async (entry) => {
    const [certFile = '', keyFile = certFile] = typeof entry === 'string' ? [entry] : entry;
    const [cert, key] = await Promise.all([readPem(folder, certFile), readPem(folder, keyFile)]);
    return { cert, key };
  });
  return (await Promise.all(pairs)).filter(({ cert, key }) => cert !== '' && key !== '');
}

/** Empty when it cannot be read. */
async function readPem(folder: string, file: string): Promise<string> {
  const real = path.resolve(folder, file);
  try {
    return (await fs.stat(real)).size > PEM_BYTES_MAX ? '' : await fs.readFile(real, 'utf8');
  } catch {
    return '';
  }
}
